// A link between two hosts in virtual time that loses, delays, reorders, doubles and corrupts
// frames as a seed says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <queue>
#include <vector>

#include "stack/base/random.h"
#include "stack/base/time.h"
#include "stack/wire/bytes.h"
#include "stack/wire/checksum.h"

namespace usher::sim {

// Chances are in 1/1000.
struct LinkFaults {
  uint32_t loss = 0;
  uint32_t duplication = 0;
  uint32_t reordering = 0;  // held back by up to `reorder_delay`
  uint32_t corruption = 0;  // one bit
  Duration reorder_delay = Duration::Millis(5);
  Duration delay = Duration::Millis(1);
  Duration jitter;                    // added at random without overtaking
  uint64_t bytes_per_second = 0;      // 0: no limit
  uint32_t queue_bytes = 256 * 1024;  // what waits for the limit at most; the rest is lost
  uint32_t mark_bytes = 0;  // when more waits, packets that understand ECN are marked CE; 0: never
};

// Sets CE in an Ethernet frame whose IP header says that its ends understand ECN; false: it does
// not. IPv4's checksum is brought up to date.
inline bool MarkCe(std::vector<uint8_t>& frame) {
  constexpr size_t kIp = 14;
  const bool v4 = frame[12] == 0x08 && frame[13] == 0x00;
  uint8_t& byte = frame[kIp + 1];
  const int shift = v4 ? 0 : 4;  // IPv6's traffic class lies across two bytes
  if ((byte >> shift & 3) == 0) return false;
  byte = static_cast<uint8_t>(byte | 3 << shift);
  if (v4) {
    StoreRaw<uint16_t>(frame.data() + kIp + 10, 0);
    const uint32_t sum = checksum::Sum({frame.data() + kIp, size_t{(frame[kIp] & 15u) * 4u}});
    Store16(frame.data() + kIp + 10, checksum::Finish(sum));
  }
  return true;
}

// One direction of a link.
class Link {
 public:
  Link(const LinkFaults& faults, uint64_t seed) : faults_(faults), random_(seed) {}

  void Send(std::vector<uint8_t> frame, Instant now) {
    if (Chance(faults_.loss)) {
      ++lost_;
      return;
    }
    Instant leaves = now;
    if (faults_.bytes_per_second != 0) {
      const Instant free = std::max(now, free_at_);
      const auto waiting = static_cast<uint64_t>((free - now).us()) * faults_.bytes_per_second;
      if (waiting > uint64_t{faults_.queue_bytes} * 1'000'000) {
        ++lost_;
        return;
      }
      const uint64_t queue = waiting / 1'000'000;
      most_waiting_ = std::max(most_waiting_, queue);
      sum_waiting_ += queue;
      ++sent_;
      if (faults_.mark_bytes != 0 && queue > faults_.mark_bytes && MarkCe(frame)) ++marked_;
      leaves = free + Duration::Nanos(static_cast<int64_t>(frame.size() * 1'000'000'000 /
                                                           faults_.bytes_per_second));
      free_at_ = leaves;
    }
    Instant arrives = leaves + faults_.delay + Part(faults_.jitter);
    arrives = std::max(arrives, last_);
    last_ = arrives;
    if (Chance(faults_.corruption))
      frame[random_.Uniform(frame.size())] ^= static_cast<uint8_t>(1u << random_.Uniform(8));
    if (Chance(faults_.duplication)) Queue(frame, arrives + Part(faults_.reorder_delay));
    if (Chance(faults_.reordering)) arrives = arrives + Part(faults_.reorder_delay);
    Queue(std::move(frame), arrives);
  }

  Instant NextArrival() const { return queue_.empty() ? Instant::Never() : queue_.top().at; }

  // The next frame that is due at `now`; false if there is none.
  bool Take(Instant now, std::vector<uint8_t>* frame) {
    if (queue_.empty() || queue_.top().at > now) return false;
    *frame = queue_.top().bytes;
    queue_.pop();
    return true;
  }

  void set_faults(const LinkFaults& faults) { faults_ = faults; }
  uint64_t lost() const { return lost_; }
  // Of a link with a limit, since ForgetQueue: what a frame found waiting, at most and in the mean.
  uint64_t most_waiting_bytes() const { return most_waiting_; }
  uint64_t mean_waiting_bytes() const { return sent_ == 0 ? 0 : sum_waiting_ / sent_; }
  uint64_t marked() const { return marked_; }
  void ForgetQueue() { most_waiting_ = sum_waiting_ = sent_ = marked_ = 0; }

 private:
  struct Frame {
    Instant at;
    uint64_t number;  // equal times keep their order
    std::vector<uint8_t> bytes;
    bool operator<(const Frame& other) const {
      return at != other.at ? other.at < at : other.number < number;
    }
  };

  bool Chance(uint32_t per_mille) { return random_.Uniform(1000) < per_mille; }
  Duration Part(Duration whole) {
    if (whole.ns() == 0) return whole;
    return Duration::Nanos(
        static_cast<int64_t>(random_.Uniform(static_cast<uint64_t>(whole.ns()))));
  }
  void Queue(std::vector<uint8_t> frame, Instant at) {
    queue_.push({at, number_++, std::move(frame)});
  }

  LinkFaults faults_;
  SeededRandom random_;
  std::priority_queue<Frame> queue_;
  uint64_t number_ = 0;
  uint64_t lost_ = 0;
  uint64_t most_waiting_ = 0;
  uint64_t sum_waiting_ = 0;
  uint64_t sent_ = 0;
  uint64_t marked_ = 0;
  Instant last_;
  Instant free_at_;
};

}  // namespace usher::sim
