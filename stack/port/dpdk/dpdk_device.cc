#include "stack/port/dpdk/dpdk_device.h"

#include <rte_bus.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "stack/port/dpdk/eal_log.h"

namespace usher {
namespace {

constexpr uint64_t kWantedRss = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV4_TCP |
                                RTE_ETH_RSS_NONFRAG_IPV6_TCP;
constexpr uint64_t kRxChecksums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
constexpr uint16_t kTapRing = 32;      // net_tap has none; it chains this many buffers in vain
constexpr uint16_t kAfXdpRing = 2048;  // whatever is asked for, net_af_xdp fills one of this depth
constexpr uint16_t kFrameOverhead = RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN;
constexpr size_t kMaxRssKey = 64;
constexpr uint32_t kNegotiationMs = 5000;  // Ethernet over copper takes two to four seconds
constexpr uint32_t kJoinMs = 1000;         // a virtual cable whose other end is just being made

// Toeplitz with a key of one repeated half-word gives both directions of a flow the same hash
// (Woo and Park, "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling", 2012).
constexpr std::array<uint8_t, kMaxRssKey> kSymmetricKey = [] {
  std::array<uint8_t, kMaxRssKey> key{};
  for (size_t i = 0; i < key.size(); ++i) key[i] = i % 2 == 0 ? 0x6d : 0x5a;
  return key;
}();

absl::Status Failed(PortId port, const char* what, int error) {
  return absl::InternalError(absl::StrCat("port ", port, ": ", what, ": ", rte_strerror(-error)));
}

bool IsTap(const std::string& driver) { return driver == "net_tap"; }

// What the driver will really take from the pool.
DpdkDeviceConfig WithRingsOf(const std::string& driver, DpdkDeviceConfig config) {
  if (IsTap(driver)) config.rx_ring = kTapRing;
  if (driver == "net_af_xdp") config.rx_ring = config.tx_ring = kAfXdpRing;
  return config;
}

bool IsPci(const rte_eth_dev_info& info) {
  return std::string_view(rte_bus_name(rte_dev_bus(info.device))) == "pci";
}

bool HasHardware(const rte_eth_dev_info& info) {
  return IsPci(info) && !std::string_view(info.driver_name).starts_with("net_virtio");
}

// A spreading port has a table to spread by. PCI devices mean it, whether or not they tell the hash
// they spread by (virtio does not); of the others some only claim it.
bool Spreads(const rte_eth_dev_info& info) {
  return (info.flow_type_rss_offloads & kWantedRss) != 0 && info.reta_size > 0 &&
         (IsPci(info) || (info.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH) != 0);
}

// A line of its own per queue, which costs nothing while it is switched off: vfio-pci has one, the
// shared line of uio_pci_generic is none. A TAP has its file descriptors. The e1000e's driver takes
// the wish and raises none.
bool HasRxInterrupts(const rte_eth_dev_info& info) {
  if (IsTap(info.driver_name)) return true;
  if (!IsPci(info) || std::string_view(info.driver_name) == "net_e1000_em") return false;
  const std::string kernel_driver =
      absl::StrCat("/sys/bus/pci/devices/", rte_dev_name(info.device), "/driver");
  std::error_code error;
  return std::filesystem::read_symlink(kernel_driver, error).filename() == "vfio-pci";
}

bool PortComputes(ChecksumPolicy policy, const rte_eth_dev_info& info) {
  return policy == ChecksumPolicy::kPort || (policy == ChecksumPolicy::kAuto && HasHardware(info));
}

const char* ByWhom(bool port_sums_ip, bool port_sums_tcp) {
  if (port_sums_tcp) return port_sums_ip ? "port (IP, TCP)" : "port (TCP)";
  return port_sums_ip ? "port (IP)" : "stack";
}

uint16_t Clamp(uint16_t wanted, const rte_eth_desc_lim& limit) {
  uint16_t n = wanted;
  if (limit.nb_max != 0) n = std::min(n, limit.nb_max);
  n = std::max(n, limit.nb_min);
  if (limit.nb_align > 1) n = static_cast<uint16_t>(n / limit.nb_align * limit.nb_align);
  return n;
}

MacAddress FromRte(const rte_ether_addr& address) {
  MacAddress mac;
  std::copy(std::begin(address.addr_bytes), std::end(address.addr_bytes), mac.bytes.begin());
  return mac;
}

rte_ether_addr ToRte(const MacAddress& mac) {
  rte_ether_addr address;
  std::copy(mac.bytes.begin(), mac.bytes.end(), std::begin(address.addr_bytes));
  return address;
}

}  // namespace

// What the driver offers and how far the configuration lets us use it.
struct DpdkDevice::Abilities {
  rte_eth_dev_info info = {};
  rte_eth_conf conf = {};
  std::array<uint8_t, kMaxRssKey> key = kSymmetricKey;  // conf points here
};

uint32_t DpdkDevice::BuffersPerQueue(const DpdkDeviceConfig& config) {
  // In flight beside the rings and what is held: PacketPool's own stack, a burst being received,
  // one being built, and what the mempool's cache may keep from a driver's burst allocation.
  constexpr uint32_t kInFlight = 2 * kBurstSize + 2 * kBurstSize + 256;
  return config.rx_ring + config.tx_ring + config.held_buffers + kInFlight;
}

uint64_t DpdkDevice::MemoryNeeded(const DpdkDeviceConfig& config) {
  return uint64_t{config.queue_pairs} * BuffersPerQueue(config) * DpdkPool::BytesPerBuffer();
}

absl::StatusOr<std::unique_ptr<DpdkDevice>> DpdkDevice::Open(PortId port,
                                                             const DpdkDeviceConfig& config) {
  std::unique_ptr<DpdkDevice> device(new DpdkDevice(port));
  ScopedEalLog log;
  absl::Status status = device->Configure(config);
  if (status.ok()) status = device->StartQuietly();
  if (status.ok()) {
    device->WaitForLink(config.link_wait_ms.value_or(device->hardware_ ? kNegotiationMs : kJoinMs));
    return device;
  }
  const std::string why = log.Summary();
  log.Discard();
  if (why.empty()) return status;
  return absl::Status(status.code(), absl::StrCat(std::string(status.message()), " (", why, ")"));
}

absl::Status DpdkDevice::Configure(const DpdkDeviceConfig& config) {
  Abilities a;
  if (int e = rte_eth_dev_info_get(port_, &a.info); e != 0) return Failed(port_, "no device", e);
  driver_ = a.info.driver_name;
  hardware_ = HasHardware(a.info);
  const auto most = std::min(a.info.max_rx_queues, a.info.max_tx_queues);
  if (config.queue_pairs == 0 || config.queue_pairs > most)
    return absl::OutOfRangeError(absl::StrCat("port ", port_, " (", driver_, ") has 1 to ", most,
                                              " queue pairs, not ", config.queue_pairs));
  if (uint32_t{config.mtu} + kFrameOverhead > kBufferRoom - kBufferHeadroom)
    return absl::OutOfRangeError(absl::StrCat("mtu ", config.mtu, " is more than ",
                                              kBufferRoom - kBufferHeadroom - kFrameOverhead));

  rte_eth_rxmode& rx = a.conf.rxmode;
  rte_eth_txmode& tx = a.conf.txmode;
  rx.mtu = config.mtu;
  if (PortComputes(config.offloads.rx_checksum, a.info)) rx.offloads = kRxChecksums;
  if (PortComputes(config.offloads.tx_checksum, a.info)) {
    if (a.info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) {
      tx.offloads |= RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
      capabilities_.tx_flags |= kTxIpv4 | kTxTcpChecksum;
    }
    if (a.info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) {
      tx.offloads |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
      capabilities_.tx_flags |= kTxIpv4 | kTxIpChecksum;
    }
  }
  // Some drivers (virtio's) let no tagged frame through that they were not asked for.
  if (config.vlan != 0) rx.offloads |= RTE_ETH_RX_OFFLOAD_VLAN_FILTER;
  // What is sent on a queue is always of that queue's pool, with one reference.
  tx.offloads |= RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
  if (config.queue_pairs > 1 && Spreads(a.info)) {
    rx.mq_mode = RTE_ETH_MQ_RX_RSS;
    rx.offloads |= RTE_ETH_RX_OFFLOAD_RSS_HASH;
    const size_t key_size = a.info.hash_key_size == 0 ? 40 : a.info.hash_key_size;
    a.conf.rx_adv_conf.rss_conf = {.rss_key = key_size > kMaxRssKey ? nullptr : a.key.data(),
                                   .rss_key_len = static_cast<uint8_t>(key_size),
                                   .rss_hf = a.info.flow_type_rss_offloads & kWantedRss};
    capabilities_.rss = true;
    reta_size_ = a.info.reta_size;
  }
  if (config.offloads.tso) UseTso(a);
  rx.offloads &= a.info.rx_offload_capa;
  tx.offloads &= a.info.tx_offload_capa;
  if ((rx.offloads & RTE_ETH_RX_OFFLOAD_VLAN_FILTER) != 0) filtered_vlan_ = config.vlan;
  rx_checksums_ = rx.offloads & kRxChecksums;
  capabilities_.max_frame = config.mtu + RTE_ETHER_HDR_LEN;
  DpdkDeviceConfig adjusted = WithRingsOf(driver_, config);
  adjusted.rx_ring = Clamp(adjusted.rx_ring, a.info.rx_desc_lim);
  adjusted.tx_ring = Clamp(adjusted.tx_ring, a.info.tx_desc_lim);
  return SetUpQueues(adjusted, a);
}

// Segments of up to 64 KiB, which the port cuts. Not those of net_tap, whose driver cuts them
// itself and is slower at it than the stack.
void DpdkDevice::UseTso(Abilities& a) {
  constexpr uint64_t kNeeded =
      RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  if (IsTap(driver_) || (a.info.tx_offload_capa & kNeeded) != kNeeded) return;
  rte_eth_txmode& tx = a.conf.txmode;
  sums_ipv4_ = (a.info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0;
  tx.offloads |= kNeeded | (sums_ipv4_ ? RTE_ETH_TX_OFFLOAD_IPV4_CKSUM : 0);
  // A chain is not what fast freeing puts back as it is.
  tx.offloads &= ~RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
  // As large as Linux makes them, and as many buffers as the driver takes, of which the first holds
  // the headers.
  constexpr uint32_t kMost = 65'215;
  const uint32_t buffers = a.info.tx_desc_lim.nb_seg_max;
  capabilities_.tso_bytes =
      static_cast<uint16_t>(buffers == 0 ? kMost : std::min(kMost, (buffers - 1) * kBufferRoom));
}

// With receive interrupts, where they are wanted and the driver has them: without MSI-X some have
// none.
int DpdkDevice::ConfigureDriver(const DpdkDeviceConfig& config, const Abilities& a) {
  const uint16_t pairs = config.queue_pairs;
  rte_eth_conf conf = a.conf;
  if (config.rx_interrupts && HasRxInterrupts(a.info)) {
    conf.intr_conf.rxq = 1;
    rx_interrupts_ = rte_eth_dev_configure(port_, pairs, pairs, &conf) == 0;
    if (rx_interrupts_) return 0;
  }
  return rte_eth_dev_configure(port_, pairs, pairs, &a.conf);
}

absl::Status DpdkDevice::SetUpQueues(const DpdkDeviceConfig& config, const Abilities& a) {
  const uint16_t pairs = config.queue_pairs;
  if (int e = ConfigureDriver(config, a); e != 0) return Failed(port_, "configure", e);
  // Some drivers take it only here, some cannot change it and need not.
  if (int e = rte_eth_dev_set_mtu(port_, config.mtu); e != 0 && e != -ENOTSUP)
    return Failed(port_, "mtu", e);
  if (absl::Status s = ChooseMac(config); !s.ok()) return s;

  const int socket = rte_eth_dev_socket_id(port_);
  const ScopedTapSignalsTaken no_signals;
  for (uint16_t q = 0; q < pairs; ++q) {
    auto pool =
        DpdkPool::Create(absl::StrCat("usher-p", port_, "q", q), BuffersPerQueue(config), socket);
    if (absl::IsResourceExhausted(pool.status()))
      return absl::ResourceExhaustedError(
          absl::StrCat("port ", port_, " needs ", (MemoryNeeded(config) >> 20) + 1,
                       " MiB of DPDK memory for packets; ", std::string(pool.status().message())));
    if (!pool.ok()) return pool.status();
    rte_eth_rxconf rx = a.info.default_rxconf;
    rte_eth_txconf tx = a.info.default_txconf;
    rx.offloads = a.conf.rxmode.offloads;
    tx.offloads = a.conf.txmode.offloads;
    if (int e = rte_eth_rx_queue_setup(port_, q, config.rx_ring, socket, &rx, (*pool)->mempool());
        e != 0)
      return Failed(port_, "receive queue", e);
    if (int e = rte_eth_tx_queue_setup(port_, q, config.tx_ring, socket, &tx); e != 0)
      return Failed(port_, "transmit queue", e);
    ports_.push_back(std::make_unique<DpdkPort>(port_, q, **pool, mac_, capabilities_));
    ports_.back()->sums_ipv4_ = sums_ipv4_;
    pools_.push_back(*std::move(pool));
  }
  return absl::OkStatus();
}

absl::Status DpdkDevice::ChooseMac(const DpdkDeviceConfig& config) {
  rte_ether_addr address = {};
  if (int e = rte_eth_macaddr_get(port_, &address); e != 0) return Failed(port_, "address", e);
  const MacAddress own = FromRte(address);
  mac_ = config.mac.value_or(own);
  if (mac_.is_multicast())
    return absl::InvalidArgumentError(absl::StrCat(ToString(mac_), " is a multicast address"));
  if (mac_.is_zero())  // net_ring and the like
    mac_ = {{0x02, 'u', 's', 'h', static_cast<uint8_t>(port_ >> 8), static_cast<uint8_t>(port_)}};
  if (IsTap(driver_) && mac_ == own) {
    // The driver gives its address to the kernel's end of the cable; ours must be another.
    mac_.bytes[0] = static_cast<uint8_t>((mac_.bytes[0] | 0x02) ^ 0x04);
  }
  if (mac_ == own) return absl::OkStatus();
  // Setting it on a TAP would give it to the kernel's end too; there it is a second address, which
  // the driver's filter, if it has one, then knows. Drivers that take neither pass all or can be
  // made to.
  rte_ether_addr ours = ToRte(mac_);
  const bool filtered = (!IsTap(driver_) && rte_eth_dev_default_mac_addr_set(port_, &ours) == 0) ||
                        rte_eth_dev_mac_addr_add(port_, &ours, 0) == 0;
  mac_needs_promiscuous_ = !filtered;
  return absl::OkStatus();
}

absl::Status DpdkDevice::Start() {
  if (running_) return absl::OkStatus();
  const ScopedEalLog log;
  return StartQuietly();
}

absl::Status DpdkDevice::StartQuietly() {
  if (int e = rte_eth_dev_start(port_); e != 0) return Failed(port_, "start", e);
  running_ = true;
  if (mac_needs_promiscuous_) rte_eth_promiscuous_enable(port_);
  AcceptMulticast();
  if (filtered_vlan_ != 0) {
    if (int e = rte_eth_dev_vlan_filter(port_, filtered_vlan_, 1); e != 0)
      return Failed(port_, "VLAN filter", e);
  }
  LearnRss();
  for (uint16_t q = 0; q < queue_pairs(); ++q) {
    ports_[q]->rss_ = rss_ ? &*rss_ : nullptr;
    pools_[q]->FlushCache();
    ports_[q]->running_.store(true, std::memory_order_release);
  }
  return absl::OkStatus();
}

// Neighbour discovery needs multicast. A driver that knows neither way passes everything.
void DpdkDevice::AcceptMulticast() {
  if (rte_eth_allmulticast_enable(port_) != 0 && !mac_needs_promiscuous_)
    rte_eth_promiscuous_enable(port_);
}

// The key and the table that the port really uses: drivers have their own ideas of both.
void DpdkDevice::LearnRss() {
  if (!capabilities_.rss || rss_) return;
  std::array<uint8_t, kMaxRssKey> key;
  rte_eth_rss_conf conf = {.rss_key = key.data(), .rss_key_len = kMaxRssKey, .rss_hf = 0};
  std::vector<rte_eth_rss_reta_entry64> entries(reta_size_ / RTE_ETH_RETA_GROUP_SIZE + 1);
  for (rte_eth_rss_reta_entry64& e : entries) e.mask = UINT64_MAX;
  if (!std::has_single_bit(reta_size_) || rte_eth_dev_rss_hash_conf_get(port_, &conf) != 0 ||
      rte_eth_dev_rss_reta_query(port_, entries.data(), reta_size_) != 0)
    return;
  std::vector<uint16_t> reta(reta_size_);
  for (size_t i = 0; i < reta.size(); ++i)
    reta[i] = entries[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
  rss_.emplace(key, conf.rss_hf, std::move(reta));
}

void DpdkDevice::WaitForLink(uint32_t wait_ms) {
  constexpr uint32_t kStepMs = 10;
  for (uint32_t waited = 0; waited < wait_ms && !ports_[0]->LinkUp(); waited += kStepMs)
    rte_delay_us_sleep(kStepMs * 1000);
}

absl::Status DpdkDevice::Stop() {
  if (!running_) return absl::OkStatus();
  for (auto& port : ports_) port->running_.store(false, std::memory_order_release);
  running_ = false;
  if (int e = rte_eth_dev_stop(port_); e != 0) return Failed(port_, "stop", e);
  for (auto& pool : pools_) pool->FlushCache();
  return absl::OkStatus();
}

DpdkDevice::~DpdkDevice() {
  const ScopedEalLog log;
  Stop().IgnoreError();
  rte_eth_dev_close(port_);
}

std::string DpdkDevice::Describe() const {
  char name[RTE_ETH_NAME_MAX_LEN] = "?";
  rte_eth_dev_get_name_by_port(port_, name);
  const uint16_t tx = capabilities_.tx_flags;
  const std::string large =
      capabilities_.tso_bytes == 0
          ? ""
          : absl::StrCat(", segments of up to ", capabilities_.tso_bytes, " bytes cut by the port");
  rte_eth_link link = {};
  const bool up = rte_eth_link_get_nowait(port_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
  return absl::StrCat("port ", name, " (", driver_, ", ", ToString(mac_), "): ", queue_pairs(),
                      " queue pair", queue_pairs() == 1 ? "" : "s",
                      capabilities_.rss ? absl::StrCat(", RSS by a table of ", reta_size_) : "",
                      rx_interrupts_ ? ", receive interrupts" : "", "; received checksums by the ",
                      ByWhom((rx_checksums_ & RTE_ETH_RX_OFFLOAD_IPV4_CKSUM) != 0,
                             (rx_checksums_ & RTE_ETH_RX_OFFLOAD_TCP_CKSUM) != 0),
                      ", sent ones by the ",
                      ByWhom((tx & kTxIpChecksum) != 0, (tx & kTxTcpChecksum) != 0), large,
                      "; link ", up ? "up" : "down");
}

DpdkDevice::Stats DpdkDevice::stats() const {
  rte_eth_stats s = {};
  rte_eth_stats_get(port_, &s);
  return {.rx_packets = s.ipackets,
          .tx_packets = s.opackets,
          .rx_bytes = s.ibytes,
          .tx_bytes = s.obytes,
          .rx_missed = s.imissed,
          .rx_errors = s.ierrors,
          .rx_no_buffer = s.rx_nombuf,
          .tx_errors = s.oerrors};
}

}  // namespace usher
