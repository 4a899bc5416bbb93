#include "stack/listen/backlog.h"

#include <algorithm>
#include <bit>

namespace usher {
namespace {

// The table's size under linux-classic (reqsk_queue_alloc): a power of two above the smallest of
// the three, not less than 16.
uint32_t ClassicTableSize(uint32_t accept_limit, uint32_t max_syn_backlog) {
  const uint32_t entries = std::max(8u, std::min(accept_limit, max_syn_backlog));
  return std::max(16u, std::bit_ceil(entries + 1));
}

// sonewconn refuses when more than one and a half times the limit are there.
uint32_t BsdPlaces(uint32_t limit) {
  return static_cast<uint32_t>(std::min<uint64_t>(3 * uint64_t{limit} / 2 + 1, UINT32_MAX));
}

constexpr uint32_t kLongestTimeoutS = 120;  // TCP_DEFER_ACCEPT's unit ends there

uint8_t SmallestOf(uint32_t backlog, uint32_t somaxconn, uint32_t max_syn_backlog = UINT32_MAX) {
  const uint32_t least = std::min({backlog, somaxconn, max_syn_backlog});
  return static_cast<uint8_t>((backlog == least ? HeldBackBy::kBacklog : 0) |
                              (somaxconn == least ? HeldBackBy::kSomaxconn : 0) |
                              (max_syn_backlog == least ? HeldBackBy::kMaxSynBacklog : 0));
}

const char* NameOf(HeldBackBy::Bit limit) {
  switch (limit) {
    case HeldBackBy::kBacklog:
      return "backlog";
    case HeldBackBy::kSomaxconn:
      return "somaxconn";
    case HeldBackBy::kMaxSynBacklog:
      return "tcp_max_syn_backlog";
  }
  return "?";
}

}  // namespace

const char* ToString(ListenModel model) {
  switch (model) {
    case ListenModel::kLinuxClassic:
      return "linux-classic";
    case ListenModel::kLinux:
      return "linux";
    case ListenModel::kBsd:
      return "bsd";
  }
  return "?";
}

std::string HeldBackBy::ToString(uint8_t bits) {
  std::string text;
  for (const Bit limit : kAll) {
    if ((bits & limit) == 0) continue;
    if (!text.empty()) text += ',';
    text += NameOf(limit);
  }
  return text;
}

BacklogLimits ClampBacklog(ListenModel model, int backlog, int somaxconn, int max_syn_backlog) {
  const auto wanted = static_cast<uint32_t>(
      model == ListenModel::kBsd ? std::max(backlog, 0) : backlog);  // negative: a huge number
  const auto most = static_cast<uint32_t>(somaxconn);
  const auto syn_most = static_cast<uint32_t>(max_syn_backlog);
  BacklogLimits limits;
  limits.accept_limit = std::min(wanted, most);
  switch (model) {
    case ListenModel::kLinuxClassic:
      limits.half_open_capacity = ClassicTableSize(limits.accept_limit, syn_most);
      limits.held_back_by = SmallestOf(wanted, most, syn_most);
      break;
    case ListenModel::kLinux:
      limits.half_open_capacity = limits.accept_limit + 1;
      limits.held_back_by = SmallestOf(wanted, most);
      break;
    case ListenModel::kBsd:
      limits.half_open_capacity = BsdPlaces(limits.accept_limit);
      limits.held_back_by = SmallestOf(wanted, most);
      break;
  }
  return limits;
}

BacklogLimits WithoutCookies(BacklogLimits limits, int max_syn_backlog) {
  const int64_t wanted = int64_t{max_syn_backlog} - (max_syn_backlog >> 2) + 1;
  const auto most = static_cast<uint32_t>(std::max<int64_t>(wanted, 0));
  if (most > limits.half_open_capacity) return limits;
  limits.held_back_by = static_cast<uint8_t>(
      HeldBackBy::kMaxSynBacklog | (most == limits.half_open_capacity ? limits.held_back_by : 0));
  limits.half_open_capacity = most;
  return limits;
}

uint32_t PlacesOf(ListenModel model, const BacklogLimits& whole) {
  return model == ListenModel::kBsd ? BsdPlaces(whole.accept_limit) : whole.accept_limit + 1;
}

uint32_t DealtPlaces(uint32_t places, uint32_t index, uint32_t count) {
  return places / count + (index < places % count ? 1 : 0);
}

uint8_t DeferAcceptRetries(uint32_t seconds) {
  if (seconds == 0) return 0;
  uint32_t retries = 1;
  uint32_t timeout_s = 1;
  uint64_t period_s = timeout_s;
  while (seconds > period_s && retries < 255) {
    ++retries;
    timeout_s = std::min(timeout_s * 2, kLongestTimeoutS);
    period_s += timeout_s;
  }
  return static_cast<uint8_t>(retries);
}

uint32_t DeferAcceptSeconds(uint8_t retries) {
  if (retries == 0) return 0;
  uint32_t timeout_s = 1;
  uint32_t period_s = timeout_s;
  for (uint32_t i = 1; i < retries; ++i) {
    timeout_s = std::min(timeout_s * 2, kLongestTimeoutS);
    period_s += timeout_s;
  }
  return period_s;
}

}  // namespace usher
