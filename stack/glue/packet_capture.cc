#include "stack/glue/packet_capture.h"

#include <limits.h>
#include <poll.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_ring.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "absl/strings/str_cat.h"

namespace usher {
namespace {

constexpr uint32_t kRingFrames = 4096;
constexpr uint32_t kPoolFrames = kRingFrames + 511;  // beside the ring's: those on their way
constexpr uint16_t kBatch = 64;

// What is known of a copy, in its private area.
struct Note {
  uint64_t ns;        // since the epoch
  uint32_t original;  // bytes of the whole frame
  bool received;
};
constexpr uint16_t kNoteSize = RTE_ALIGN_CEIL(sizeof(Note), RTE_MBUF_PRIV_ALIGN);

Note* NoteOf(const rte_mbuf& copy) {
  return static_cast<Note*>(rte_mbuf_to_priv(const_cast<rte_mbuf*>(&copy)));
}

// DPDK's objects have names of their own.
std::string UniqueName(const char* kind) {
  static std::atomic<uint32_t> next = 0;
  return absl::StrCat("usher_", kind, next.fetch_add(1, std::memory_order_relaxed));
}

uint64_t WallClockNs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

absl::StatusOr<std::unique_ptr<PacketCapture>> PacketCapture::Start(uint32_t snaplen, int fd) {
  std::unique_ptr<PacketCapture> capture(new PacketCapture(snaplen, fd));
  absl::Status status = capture->MakePool();
  uint16_t port;
  RTE_ETH_FOREACH_DEV(port) {
    if (status.ok()) status = capture->Hang(port);
  }
  if (status.ok()) return capture;
  capture->Stop();
  // A thread may be in one of the callbacks at this moment: what they use stays.
  if (!capture->hooks_.empty()) (void)capture.release();
  return status;
}

absl::Status PacketCapture::MakePool() {
  const uint32_t room = RTE_PKTMBUF_HEADROOM + snaplen_;
  pool_ = rte_pktmbuf_pool_create(UniqueName("capture").c_str(), kPoolFrames, 0, kNoteSize,
                                  static_cast<uint16_t>(room), SOCKET_ID_ANY);
  ring_ =
      rte_ring_create(UniqueName("captured").c_str(), kRingFrames, SOCKET_ID_ANY, RING_F_SC_DEQ);
  if (pool_ != nullptr && ring_ != nullptr) return absl::OkStatus();
  const uint64_t bytes = uint64_t{kPoolFrames} * (room + kNoteSize + sizeof(rte_mbuf));
  return absl::ResourceExhaustedError(
      absl::StrCat("no DPDK memory for a capture: it takes ", (bytes >> 20) + 1,
                   " MB (EAL's -m), or less with a shorter snapshot length (-s)"));
}

absl::Status PacketCapture::Hang(uint16_t port) {
  rte_eth_dev_info info;
  std::array<char, RTE_ETH_NAME_MAX_LEN> name;
  if (rte_eth_dev_info_get(port, &info) != 0 ||
      rte_eth_dev_get_name_by_port(port, name.data()) != 0)
    return absl::OkStatus();  // going away
  interfaces_.push_back(port);
  writer_.Interface(name.data(), snaplen_);
  for (uint16_t q = 0; q < info.nb_rx_queues; ++q)
    hooks_.push_back({port, q, true, rte_eth_add_rx_callback(port, q, OnReceived, this)});
  for (uint16_t q = 0; q < info.nb_tx_queues; ++q)
    hooks_.push_back({port, q, false, rte_eth_add_tx_callback(port, q, OnSending, this)});
  if (std::any_of(hooks_.begin(), hooks_.end(), [](const Hook& h) { return !h.callback; }))
    return absl::InternalError(absl::StrCat("port ", port, ": ", rte_strerror(rte_errno)));
  return absl::OkStatus();
}

void PacketCapture::Stop() {
  for (const Hook& h : hooks_) {
    if (h.callback == nullptr) continue;
    if (h.receiving)
      rte_eth_remove_rx_callback(h.port, h.queue, h.callback);
    else
      rte_eth_remove_tx_callback(h.port, h.queue, h.callback);
  }
}

PacketCapture::~PacketCapture() {
  void* waiting;
  while (ring_ != nullptr && rte_ring_sc_dequeue(ring_, &waiting) == 0)
    rte_pktmbuf_free(static_cast<rte_mbuf*>(waiting));
  rte_ring_free(ring_);
  rte_mempool_free(pool_);
}

uint16_t PacketCapture::OnReceived(uint16_t port, uint16_t, rte_mbuf** packets, uint16_t count,
                                   uint16_t, void* self) {
  if (count != 0) static_cast<PacketCapture*>(self)->Copy(packets, count, port, true);
  return count;
}

uint16_t PacketCapture::OnSending(uint16_t port, uint16_t, rte_mbuf** packets, uint16_t count,
                                  void* self) {
  if (count != 0) static_cast<PacketCapture*>(self)->Copy(packets, count, port, false);
  return count;
}

// On a polling thread; several at once.
void PacketCapture::Copy(rte_mbuf** packets, uint16_t count, uint16_t port, bool received) {
  const uint64_t now = WallClockNs();
  for (uint16_t i = 0; i < count; ++i) {
    rte_mbuf* copy = rte_pktmbuf_copy(packets[i], pool_, 0, snaplen_);
    if (copy != nullptr) {
      copy->port = port;
      *NoteOf(*copy) = {now, packets[i]->pkt_len, received};
      if (rte_ring_mp_enqueue(ring_, copy) == 0) continue;
      rte_pktmbuf_free(copy);
    }
    dropped_.fetch_add(1, std::memory_order_relaxed);
  }
}

void PacketCapture::Append(const rte_mbuf& copy) {
  const auto at = std::find(interfaces_.begin(), interfaces_.end(), copy.port);
  const Note& note = *NoteOf(copy);
  // One segment: the pool's buffers have room for the longest.
  writer_.Packet(static_cast<uint32_t>(at - interfaces_.begin()), note.ns,
                 {rte_pktmbuf_mtod(&copy, const uint8_t*), copy.data_len}, note.original,
                 note.received ? PcapngWriter::Direction::kIn : PcapngWriter::Direction::kOut);
}

absl::StatusOr<uint32_t> PacketCapture::Drain(uint64_t most) {
  std::array<rte_mbuf*, kBatch> batch;
  uint32_t taken = 0;
  for (;;) {
    if (absl::Status s = Flush(); !s.ok()) return s;
    if (!bytes_.empty())
      return taken;  // the reader of a pipe is slow: what comes waits in the ring
    const auto wanted = static_cast<unsigned>(std::min<uint64_t>(kBatch, most - taken));
    const unsigned n =
        rte_ring_sc_dequeue_burst(ring_, reinterpret_cast<void**>(batch.data()), wanted, nullptr);
    if (n == 0) return taken;
    for (unsigned i = 0; i < n; ++i) Append(*batch[i]);
    rte_pktmbuf_free_bulk(batch.data(), n);
    taken += n;
  }
}

// As much as the file takes without waiting: a pipe that is ready takes PIPE_BUF bytes.
absl::Status PacketCapture::Flush() {
  size_t done = 0;
  pollfd file = {fd_, POLLOUT, 0};
  while (done < bytes_.size() && poll(&file, 1, 0) == 1) {
    const size_t chunk = std::min<size_t>(bytes_.size() - done, PIPE_BUF);
    const ssize_t n = ::write(fd_, bytes_.data() + done, chunk);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
      return absl::InternalError(absl::StrCat("the file: ", std::strerror(errno)));
    if (n > 0) done += static_cast<size_t>(n);
  }
  bytes_.erase(0, done);
  return absl::OkStatus();
}

}  // namespace usher
