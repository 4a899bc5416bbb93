// Floods: frames from made-up sources, straight to the port.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "stack/base/random.h"
#include "stack/base/time.h"
#include "stack/port/port.h"
#include "stack/wire/address.h"
#include "tools/load/cpu_meter.h"
#include "tools/load/frame_template.h"
#include "tools/load/options.h"
#include "tools/load/result.h"

namespace usher::load {

// What the floods of all cores share: where the frames go on the link. Any thread.
class FloodTarget {
 public:
  std::optional<MacAddress> mac() const;
  void set_mac(const MacAddress& mac);

 private:
  std::atomic<uint64_t> mac_ = 0;  // 0: not known yet
};

// One core's share, on its own queue pair. Is the host at our address and at every made-up one as
// far as ARP is concerned, so that a server that must ask where its answer goes gets one; takes
// every frame that comes, counts the answers and answers none of them. All on one thread.
class Flood {
 public:
  static constexpr Duration kPatience = Duration::Seconds(5);  // for the server's link address
  static constexpr Duration kAskAgain = Duration::Millis(200);
  static constexpr Duration kLastAnswers = Duration::Millis(500);  // waited for when all is sent

  // `options`, `port` and `target` outlive it.
  Flood(const LoadOptions& options, Port& port, FloodTarget& target, uint32_t shard,
        uint32_t shards, uint64_t seed);

  // As of Client.
  uint32_t BeforePass(Instant now, uint32_t work);
  Instant NextDeadline() const;
  void Stop(Instant now);
  bool done() const { return phase_ == Phase::kDone; }
  const Result& result() const { return result_; }

 private:
  enum class Phase : uint8_t { kBegin, kAsking, kWarmup, kMeasure, kLastAnswers, kDone };
  static constexpr uint32_t kMostBursts = 4;  // in one pass

  bool sending() const { return phase_ == Phase::kWarmup || phase_ == Phase::kMeasure; }
  void Advance(Instant now);
  void BeginSending(Instant now);
  void WaitForTarget(Instant now);
  void SendArp(uint16_t operation, const MacAddress& dst, const IpAddress& sender,
               const MacAddress& target_mac, const IpAddress& target);
  uint32_t ReceiveAll();
  void Receive(const Packet& packet);
  void HearArp(ByteSpan payload);
  uint32_t SendDue(Instant now);
  // Up to `count` frames; returns how many the port took.
  uint32_t SendBurst(uint32_t count);

  const LoadOptions& options_;
  Port& port_;
  FloodTarget& target_;
  const bool asks_;  // this core asks for the target's link address
  const double rate_;
  const IpAddress own_;
  const IpAddress next_hop_;
  const uint32_t source_mask_;  // bits of a source that are drawn
  SeededRandom random_;
  std::optional<FrameTemplate> frame_;
  CpuMeter meter_;
  Phase phase_ = Phase::kBegin;
  Instant phase_ends_ = Instant::Never();
  Instant ask_at_;
  Instant sending_since_;
  uint64_t sent_ = 0;  // of all phases
  Instant last_now_;
  bool stopped_ = false;
  Result result_;
};

}  // namespace usher::load
