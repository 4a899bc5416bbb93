// A DPDK ethdev: set up by the main thread, used queue pair by queue pair.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stack/port/dpdk/dpdk_pool.h"
#include "stack/port/dpdk/dpdk_port.h"
#include "stack/port/dpdk/eal.h"
#include "stack/port/dpdk/rss.h"
#include "stack/port/offloads.h"

namespace usher {

struct DpdkDeviceConfig {
  uint16_t queue_pairs = 1;
  uint16_t mtu = 1500;      // of IP; a VLAN tag comes on top
  uint16_t vlan = 0;        // the one whose frames are wanted; 0: untagged ones
  uint16_t rx_ring = 1024;  // descriptors; the driver's limits are applied
  uint16_t tx_ring = 1024;
  uint32_t held_buffers = 4096;  // per queue pair: most frames the stack holds or builds at once
  OffloadOptions offloads;
  bool rx_interrupts = false;     // have the driver tell of packets, if it can
  std::optional<MacAddress> mac;  // of the stack; without it the device's own, or near it (TAP)
  // How long Open waits for a carrier; without it as long as such a device needs to agree on one.
  std::optional<uint32_t> link_wait_ms;
};

// The device and its queue pairs, each with a pool of its own. Main thread only; its ports are
// handed to the shards after Start, and must be idle while Stop, Start or the destructor runs.
class DpdkDevice {
 public:
  struct Stats {
    uint64_t rx_packets, tx_packets, rx_bytes, tx_bytes;
    uint64_t rx_missed;     // by the device: its ring was full (imissed)
    uint64_t rx_errors;     // ierrors
    uint64_t rx_no_buffer;  // the pool was empty (rx_nombuf)
    uint64_t tx_errors;     // oerrors; for some drivers each frame not taken at once
  };

  // Sets `port` up and starts it. InvalidArgument or OutOfRange if the device cannot do what
  // `config` asks, ResourceExhausted if the buffers do not fit memory.
  static absl::StatusOr<std::unique_ptr<DpdkDevice>> Open(PortId port,
                                                          const DpdkDeviceConfig& config);
  // Stops and closes the device. What the stack holds of its buffers must have been freed.
  ~DpdkDevice();
  DpdkDevice(const DpdkDevice&) = delete;
  DpdkDevice& operator=(const DpdkDevice&) = delete;

  // Buffers Open makes for one queue pair where the driver takes the rings as configured, and the
  // bytes of DPDK memory for all of them.
  static uint32_t BuffersPerQueue(const DpdkDeviceConfig& config);
  static uint64_t MemoryNeeded(const DpdkDeviceConfig& config);

  PortId port() const { return port_; }
  const std::string& driver() const { return driver_; }
  const MacAddress& mac() const { return mac_; }
  // A packet raises an interrupt on its receive queue, if asked to.
  bool rx_interrupts() const { return rx_interrupts_; }
  uint16_t queue_pairs() const { return static_cast<uint16_t>(ports_.size()); }
  DpdkPort& queue(uint16_t i) { return *ports_[i]; }
  DpdkPool& pool(uint16_t i) { return *pools_[i]; }

  // Stop: frames under way are lost, ports receive and send nothing. Start: they do again.
  absl::Status Stop();
  absl::Status Start();

  // Any thread.
  Stats stats() const;
  // What was agreed with the driver, and the link's state, on one line for the operator.
  std::string Describe() const;

 private:
  struct Abilities;

  explicit DpdkDevice(PortId port) : port_(port) {}
  absl::Status Configure(const DpdkDeviceConfig& config);
  void UseTso(Abilities& abilities);
  int ConfigureDriver(const DpdkDeviceConfig& config, const Abilities& abilities);
  absl::Status SetUpQueues(const DpdkDeviceConfig& config, const Abilities& abilities);
  absl::Status StartQuietly();
  absl::Status ChooseMac(const DpdkDeviceConfig& config);
  void AcceptMulticast();
  void LearnRss();
  void WaitForLink(uint32_t wait_ms);

  const PortId port_;
  std::string driver_;
  MacAddress mac_;
  PortCapabilities capabilities_;
  bool sums_ipv4_ = false;  // of the segments it cuts
  bool mac_needs_promiscuous_ = false;
  bool running_ = false;
  bool rx_interrupts_ = false;
  bool hardware_ = false;       // a network card's, not a virtual device
  uint64_t rx_checksums_ = 0;   // those that the port checks, as DPDK's offloads
  uint16_t filtered_vlan_ = 0;  // let through by the driver's filter; 0: it has none to set
  uint16_t reta_size_ = 0;
  std::optional<RssTable> rss_;
  // In this order: a port uses its pool.
  std::vector<std::unique_ptr<DpdkPool>> pools_;
  std::vector<std::unique_ptr<DpdkPort>> ports_;
};

}  // namespace usher
