#include "stack/base/sysctl.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace usher {

namespace {

using Field =
    std::variant<int32_t Sysctls::*, uint32_t Sysctls::*, std::array<int32_t, 2> Sysctls::*,
                 std::array<int32_t, 3> Sysctls::*, std::array<uint64_t, 3> Sysctls::*,
                 std::string Sysctls::*, FastOpenKeys Sysctls::*>;

// One setting. The range is that of each of its numbers, both ends included.
struct Entry {
  const char* name;
  Field field;
  int64_t min;
  int64_t max;
  int32_t Sysctls::*at_most = nullptr;  // if given, the setting that is the upper end instead
};

constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();
constexpr int64_t kIntMin = std::numeric_limits<int32_t>::min();
constexpr int64_t kByteMax = 255;  // Linux stores these in a byte, without a closer check
constexpr int64_t kMaxSeconds = kIntMax / 1000;  // Linux counts these in ticks, up to 1000 a second
constexpr int64_t kMaxUnsignedSeconds = std::numeric_limits<uint32_t>::max() / 1000;

constexpr const char* kCongestionControls[] = {"bbr", "cubic", "dctcp", "reno"};

// Sorted by name. Ranges are what Linux 6.18 was seen to accept (tests/differential/errno-table
// compares them), negative numbers where it tests none included. DEVIATION(Linux): a Fast Open key
// that begins well but does not end so is an error. A first Fast Open key of zeros, which is what a
// namespace without one shows, leaves the keys as they are.
using S = Sysctls;
constexpr Entry kEntries[] = {
    {"net.core.rmem_max", &S::rmem_max, 2304, kIntMax},
    {"net.core.somaxconn", &S::somaxconn, 0, kIntMax},
    {"net.ipv4.icmp_echo_ignore_all", &S::icmp_echo_ignore_all, 0, 1},
    {"net.ipv4.icmp_echo_ignore_broadcasts", &S::icmp_echo_ignore_broadcasts, 0, 1},
    {"net.ipv4.icmp_msgs_burst", &S::icmp_msgs_burst, 0, kIntMax},
    {"net.ipv4.icmp_msgs_per_sec", &S::icmp_msgs_per_sec, 0, kIntMax},
    {"net.ipv4.icmp_ratelimit", &S::icmp_ratelimit, 0, kIntMax},
    {"net.ipv4.ip_default_ttl", &S::ip_default_ttl, 1, 255},
    {"net.ipv4.ip_local_port_range", &S::ip_local_port_range, 1024, 65'535},
    {"net.ipv4.ipfrag_time", &S::ipfrag_time, -kMaxSeconds, kMaxSeconds},
    {"net.ipv4.tcp_abort_on_overflow", &S::tcp_abort_on_overflow, 0, kByteMax},
    {"net.ipv4.tcp_adv_win_scale", &S::tcp_adv_win_scale, -31, 31},
    {"net.ipv4.tcp_app_win", &S::tcp_app_win, 0, 31},
    {"net.ipv4.tcp_autocorking", &S::tcp_autocorking, 0, 1},
    {"net.ipv4.tcp_base_mss", &S::tcp_base_mss, kIntMin, kIntMax},
    {"net.ipv4.tcp_challenge_ack_limit", &S::tcp_challenge_ack_limit, kIntMin, kIntMax},
    {"net.ipv4.tcp_congestion_control", &S::tcp_congestion_control, 0, 0},
    {"net.ipv4.tcp_dsack", &S::tcp_dsack, 0, kByteMax},
    {"net.ipv4.tcp_early_retrans", &S::tcp_early_retrans, 0, 4},
    {"net.ipv4.tcp_ecn", &S::tcp_ecn, 0, 2},
    {"net.ipv4.tcp_ecn_fallback", &S::tcp_ecn_fallback, 0, 1},
    {"net.ipv4.tcp_fastopen", &S::tcp_fastopen, kIntMin, kIntMax},
    {"net.ipv4.tcp_fastopen_key", &S::tcp_fastopen_key, 0, 0},
    {"net.ipv4.tcp_fin_timeout", &S::tcp_fin_timeout, -kMaxSeconds, kMaxSeconds},
    {"net.ipv4.tcp_frto", &S::tcp_frto, 0, kByteMax},
    {"net.ipv4.tcp_invalid_ratelimit", &S::tcp_invalid_ratelimit, 0, kIntMax},
    {"net.ipv4.tcp_keepalive_intvl", &S::tcp_keepalive_intvl, -kMaxSeconds, kMaxSeconds},
    {"net.ipv4.tcp_keepalive_probes", &S::tcp_keepalive_probes, 0, kByteMax},
    {"net.ipv4.tcp_keepalive_time", &S::tcp_keepalive_time, -kMaxSeconds, kMaxSeconds},
    {"net.ipv4.tcp_max_orphans", &S::tcp_max_orphans, kIntMin, kIntMax},
    {"net.ipv4.tcp_max_reordering", &S::tcp_max_reordering, 1, kIntMax},
    {"net.ipv4.tcp_max_syn_backlog", &S::tcp_max_syn_backlog, kIntMin, kIntMax},
    {"net.ipv4.tcp_max_tw_buckets", &S::tcp_max_tw_buckets, kIntMin, kIntMax},
    {"net.ipv4.tcp_mem", &S::tcp_mem, 0, std::numeric_limits<int64_t>::max()},
    {"net.ipv4.tcp_migrate_req", &S::tcp_migrate_req, 0, 1},
    {"net.ipv4.tcp_min_snd_mss", &S::tcp_min_snd_mss, 48, 65'535},
    {"net.ipv4.tcp_min_tso_segs", &S::tcp_min_tso_segs, 1, 255},
    {"net.ipv4.tcp_moderate_rcvbuf", &S::tcp_moderate_rcvbuf, 0, kByteMax},
    {"net.ipv4.tcp_mtu_probe_floor", &S::tcp_mtu_probe_floor, 48, 65'535},
    {"net.ipv4.tcp_mtu_probing", &S::tcp_mtu_probing, 0, kByteMax},
    {"net.ipv4.tcp_notsent_lowat", &S::tcp_notsent_lowat, 0, std::numeric_limits<uint32_t>::max()},
    {"net.ipv4.tcp_orphan_retries", &S::tcp_orphan_retries, 0, kByteMax},
    {"net.ipv4.tcp_pacing_ca_ratio", &S::tcp_pacing_ca_ratio, 0, 1000},
    {"net.ipv4.tcp_pacing_ss_ratio", &S::tcp_pacing_ss_ratio, 0, 1000},
    {"net.ipv4.tcp_probe_interval", &S::tcp_probe_interval, 0, kMaxUnsignedSeconds},
    {"net.ipv4.tcp_probe_threshold", &S::tcp_probe_threshold, kIntMin, kIntMax},
    {"net.ipv4.tcp_recovery", &S::tcp_recovery, 0, kByteMax},
    {"net.ipv4.tcp_reordering", &S::tcp_reordering, 1, kIntMax, &S::tcp_max_reordering},
    {"net.ipv4.tcp_retries1", &S::tcp_retries1, 0, kByteMax},
    {"net.ipv4.tcp_retries2", &S::tcp_retries2, 0, kByteMax},
    {"net.ipv4.tcp_rfc1337", &S::tcp_rfc1337, 0, kByteMax},
    {"net.ipv4.tcp_rmem", &S::tcp_rmem, 1, kIntMax},
    {"net.ipv4.tcp_rto_max_ms", &S::tcp_rto_max_ms, 1000, 120'000},
    {"net.ipv4.tcp_rto_min_us", &S::tcp_rto_min_us, 1, kIntMax},
    {"net.ipv4.tcp_sack", &S::tcp_sack, 0, kByteMax},
    {"net.ipv4.tcp_slow_start_after_idle", &S::tcp_slow_start_after_idle, 0, kByteMax},
    {"net.ipv4.tcp_stdurg", &S::tcp_stdurg, 0, kByteMax},
    {"net.ipv4.tcp_syn_linear_timeouts", &S::tcp_syn_linear_timeouts, 0, 127},
    {"net.ipv4.tcp_syn_retries", &S::tcp_syn_retries, 1, 127},
    {"net.ipv4.tcp_synack_retries", &S::tcp_synack_retries, 0, kByteMax},
    {"net.ipv4.tcp_syncookies", &S::tcp_syncookies, 0, kByteMax},
    {"net.ipv4.tcp_timestamps", &S::tcp_timestamps, 0, kByteMax},
    {"net.ipv4.tcp_tso_rtt_log", &S::tcp_tso_rtt_log, 0, kByteMax},
    {"net.ipv4.tcp_tw_reuse", &S::tcp_tw_reuse, 0, 2},
    {"net.ipv4.tcp_window_scaling", &S::tcp_window_scaling, 0, kByteMax},
    {"net.ipv4.tcp_wmem", &S::tcp_wmem, 1, kIntMax},
    {"net.ipv4.tcp_workaround_signed_windows", &S::tcp_workaround_signed_windows, 0, kByteMax},
};

const Entry* Find(const std::string& name) {
  std::string dotted = name;
  std::replace(dotted.begin(), dotted.end(), '/', '.');
  const auto it =
      std::lower_bound(std::begin(kEntries), std::end(kEntries), dotted,
                       [](const Entry& entry, const std::string& key) { return entry.name < key; });
  return it != std::end(kEntries) && dotted == it->name ? it : nullptr;
}

absl::Status UnknownName(const std::string& name) {
  return absl::NotFoundError(absl::StrCat(name, ": no such setting"));
}

absl::Status BadValue(const Entry& entry, const std::string& value, const std::string& allowed) {
  return absl::InvalidArgumentError(
      absl::StrCat(entry.name, ": bad value '", value, "', allowed: ", allowed));
}

bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

// The first numbers in `text`, `most` at most; what follows them after a blank is not looked at.
// False if something else stands among them.
bool ParseNumbers(const std::string& text, size_t most, std::vector<int64_t>* out) {
  const char* const text_end = text.c_str() + text.size();
  for (const char* p = text.c_str(); out->size() < most;) {
    while (IsBlank(*p)) ++p;
    if (p == text_end) return true;
    char* end = nullptr;
    errno = 0;
    const int64_t number = std::strtoll(p, &end, 0);
    if (*p == '+' || end == p || errno != 0 || (end != text_end && !IsBlank(*end))) return false;
    out->push_back(number);
    p = end;
  }
  return true;
}

std::string AllowedNumbers(const Entry& entry, size_t count) {
  return absl::StrCat(count > 1 ? absl::StrCat(count, " numbers from ") : std::string(), entry.min,
                      " to ", entry.max);
}

// Reads numbers into `target`, one value after the other; the first at least must be there.
template <class T>
absl::Status SetNumbers(const Entry& entry, const std::string& value, T* target, size_t count) {
  std::vector<int64_t> numbers;
  const auto in_range = [&entry](int64_t n) { return n >= entry.min && n <= entry.max; };
  if (!ParseNumbers(value, count, &numbers) || numbers.empty() ||
      !std::all_of(numbers.begin(), numbers.end(), in_range)) {
    return BadValue(entry, value, AllowedNumbers(entry, count));
  }
  std::transform(numbers.begin(), numbers.end(), target,
                 [](int64_t n) { return static_cast<T>(n); });
  return absl::OkStatus();
}

template <class T>
absl::Status Set(const Entry& entry, const std::string& value, T& target) {
  return SetNumbers(entry, value, &target, 1);
}

template <class T>
absl::Status Set(const Entry& entry, const std::string& value, std::array<T, 3>& target) {
  return SetNumbers(entry, value, target.data(), target.size());
}

// A range: its numbers in order.
absl::Status Set(const Entry& entry, const std::string& value, std::array<int32_t, 2>& target) {
  std::array<int32_t, 2> range = target;
  absl::Status status = SetNumbers(entry, value, range.data(), range.size());
  if (!status.ok()) return status;
  if (range[0] > range[1]) {
    return BadValue(entry, value,
                    absl::StrCat(AllowedNumbers(entry, 2), ", the second not below the first"));
  }
  target = range;
  return status;
}

std::string Trimmed(const std::string& value) {
  size_t begin = 0;
  size_t end = value.size();
  while (begin < end && IsBlank(value[begin])) ++begin;
  while (end > begin && IsBlank(value[end - 1])) --end;
  return value.substr(begin, end - begin);
}

absl::Status Set(const Entry& entry, const std::string& value, std::string& target) {
  const std::string name = value.substr(0, value.find('\n'));
  std::string allowed;
  for (const char* known : kCongestionControls) {
    if (name == known) {
      target = name;
      return absl::OkStatus();
    }
    absl::StrAppend(&allowed, allowed.empty() ? "" : " ", known);
  }
  return absl::NotFoundError(BadValue(entry, value, allowed).message());
}

// Four words in hex, of one to eight digits, with dashes between.
bool ParseKey(const std::string& text, FastOpenKeys::Key* key) {
  const char* p = text.c_str();
  for (size_t i = 0; i < key->size(); ++i) {
    if (i > 0 && *p++ != '-') return false;
    const char* const begin = p;
    uint64_t word = 0;
    for (; std::isxdigit(static_cast<unsigned char>(*p)) != 0; ++p)
      word = word << 4 | static_cast<uint64_t>(*p <= '9' ? *p - '0' : (*p | 0x20) - 'a' + 10);
    if (p == begin || p - begin > 8) return false;
    (*key)[i] = static_cast<uint32_t>(word);
  }
  return p == text.c_str() + text.size();
}

absl::Status Set(const Entry& entry, const std::string& value, FastOpenKeys& target) {
  const std::string text = Trimmed(value);
  const size_t comma = text.find(',');
  FastOpenKeys keys;
  bool good = ParseKey(text.substr(0, comma), &keys.primary);
  if (comma != std::string::npos) good &= ParseKey(text.substr(comma + 1), &keys.backup.emplace());
  if (!good) return BadValue(entry, value, "xxxxxxxx-xxxxxxxx-xxxxxxxx-xxxxxxxx[,the same]");
  target = keys;
  return absl::OkStatus();
}

std::string Text(const FastOpenKeys::Key& k) {
  return absl::StrFormat("%08x-%08x-%08x-%08x", k[0], k[1], k[2], k[3]);
}

std::string Get(const FastOpenKeys& keys) {
  return keys.backup ? absl::StrCat(Text(keys.primary), ",", Text(*keys.backup))
                     : Text(keys.primary);
}

template <class T>
std::string Get(const T& value) {
  return absl::StrCat(value);
}

template <class T, size_t kCount>
std::string Get(const std::array<T, kCount>& values) {
  std::string text;
  for (const T& value : values) absl::StrAppend(&text, text.empty() ? "" : "\t", value);
  return text;
}

}  // namespace

absl::Status SetSysctl(Sysctls& sysctls, const std::string& name, const std::string& value) {
  const Entry* found = Find(name);
  if (found == nullptr) return UnknownName(name);
  if (value.empty()) return absl::OkStatus();
  Entry entry = *found;
  if (entry.at_most != nullptr) entry.max = sysctls.*entry.at_most;
  return std::visit([&](auto field) { return Set(entry, value, sysctls.*field); }, entry.field);
}

absl::StatusOr<std::string> GetSysctl(const Sysctls& sysctls, const std::string& name) {
  const Entry* entry = Find(name);
  if (entry == nullptr) return UnknownName(name);
  return std::visit([&](auto field) { return Get(sysctls.*field); }, entry->field);
}

std::vector<std::string> SysctlNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

}  // namespace usher
