// What the ports receive and send, as a pcapng stream. Hung into DPDK's own callbacks, so that the
// data path has no trace of it while nobody captures.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "stack/wire/pcapng.h"

struct rte_eth_rxtx_callback;
struct rte_mbuf;
struct rte_mempool;
struct rte_ring;

namespace usher {

// Copies each frame of every port while it lives; several may live side by side. Frames that come
// faster than Drain takes them are counted as dropped. Checksums that the port computes are not in
// them yet, as in any capture above the driver. All calls from one thread.
class PacketCapture {
 public:
  // Begins at once. `snaplen`: most bytes kept of a frame. `fd` stays the caller's.
  // ResourceExhausted: no DPDK memory for the copies.
  static absl::StatusOr<std::unique_ptr<PacketCapture>> Start(uint32_t snaplen, int fd);
  // After Stop, and after every polling thread has been seen between two passes since.
  ~PacketCapture();
  PacketCapture(const PacketCapture&) = delete;
  PacketCapture& operator=(const PacketCapture&) = delete;

  // Takes at most `most` of the frames that wait and writes them, the head of the file first; how
  // many. Never blocks: what a slow reader does not take stays here, and no more is taken until it
  // does. Internal: as the system says of the file.
  absl::StatusOr<uint32_t> Drain(uint64_t most);
  // From the next pass of each polling thread on, nothing more is copied.
  void Stop();

  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct Hook {
    uint16_t port;
    uint16_t queue;
    bool receiving;
    const rte_eth_rxtx_callback* callback;
  };

  PacketCapture(uint32_t snaplen, int fd) : snaplen_(snaplen), fd_(fd), writer_(&bytes_) {}
  absl::Status MakePool();
  absl::Status Hang(uint16_t port);
  void Copy(rte_mbuf** packets, uint16_t count, uint16_t port, bool received);
  void Append(const rte_mbuf& copy);
  absl::Status Flush();
  static uint16_t OnReceived(uint16_t port, uint16_t queue, rte_mbuf** packets, uint16_t count,
                             uint16_t most, void* self);
  static uint16_t OnSending(uint16_t port, uint16_t queue, rte_mbuf** packets, uint16_t count,
                            void* self);

  const uint32_t snaplen_;
  const int fd_;
  std::string bytes_;  // not written yet
  PcapngWriter writer_;
  std::vector<uint16_t> interfaces_;  // the port of each interface of the file
  std::vector<Hook> hooks_;
  rte_mempool* pool_ = nullptr;
  rte_ring* ring_ = nullptr;
  std::atomic<uint64_t> dropped_ = 0;
};

}  // namespace usher
