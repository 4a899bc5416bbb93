#include "tests/differential/play.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "stack/wire/bytes.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"
#include "tests/differential/known.h"

namespace usher::differential {
namespace {

// Later than this against the schedule's times, timers may have fired on the wrong side of a step.
constexpr double kTolerableMs = 15;

std::string ErrorName(int error) { return error == 0 ? "0" : strerrorname_np(error); }

// A saved SYN as it was but for what echoes our timestamp, and the checksum over that.
Bytes WithoutEcho(Bytes headers, bool ipv6) {
  const size_t tcp = ipv6 ? size_t{Ipv6Header::kSize} : size_t{Ipv4Header::kSize};
  size_t at = tcp + TcpHeader::kSize;
  const auto blank = [&](size_t begin, size_t size) {
    if (begin + size <= headers.size())
      std::fill_n(headers.begin() + static_cast<ptrdiff_t>(begin), size, uint8_t{0});
  };
  while (at + 1 < headers.size() && headers[at] != 0) {
    if (headers[at] == 8) {
      blank(at + 6, 4);
      blank(tcp + 16, 2);
    }
    at += headers[at] == 1 ? 1 : std::max<size_t>(headers[at + 1], 2);
  }
  return headers;
}

std::string Summary(const Bytes& bytes) {
  uint32_t sum = 0;
  for (const uint8_t b : bytes) sum = sum * 31 + b;
  return absl::StrCat(bytes.size(), " bytes, sum ", sum);
}

class Player {
 public:
  Player(const Schedule& schedule, Subject& subject) : subject_(subject), ipv6_(schedule.ipv6) {
    for (uint8_t c = 0; c < kMaxClients; ++c) clients_.emplace_back(schedule.seed, ipv6_, c);
    counters_ = subject_.Counters();
  }

  StepResult Do(const Step& step, uint32_t number) {
    StepResult result;
    result.begin_ms = now_ms_;
    result.is_wait = step.kind == StepKind::kWait;
    if (step.kind == StepKind::kWait) {
      Wait(step.wait_ms);
    } else {
      Act(step, number, &result);
      now_ms_ += kStepMs;
    }
    result.end_ms = now_ms_;
    Observe(&result);
    return result;
  }
  double now_ms() const { return now_ms_; }

 private:
  // Clients with whom the server still has something outstanding end it, so that no retransmission
  // timer, whose time depends on the round trip, runs in the wait.
  void Wait(uint32_t ms) {
    for (Client& c : clients_)
      if (const auto packet = c.Settle()) subject_.Inject(*packet);
    now_ms_ += ms;
    subject_.SleepUntil(now_ms_);
  }

  void Act(const Step& step, uint32_t number, StepResult* result) {
    if (virtual_time_) subject_.SleepUntil(now_ms_);
    const auto told = [&](const std::string& call, int error) {
      result->facts.push_back(absl::StrCat(call, " = ", ErrorName(error)));
    };
    switch (step.kind) {
      case StepKind::kSysctl:
        subject_.SetSysctl(step.name, step.value);
        break;
      case StepKind::kListen:
        if (listeners_ != 0 && !step.reuseport) break;
        told("listen", subject_.Listen(step));
        listeners_ += result->facts.back() == "listen = 0";
        break;
      case StepKind::kBacklog:
        if (listeners_ != 0) told("listen again", subject_.SetBacklog(step.backlog));
        break;
      case StepKind::kCloseListener:
        if (listeners_ == 0) break;
        told("close", subject_.CloseListener());
        --listeners_;
        break;
      case StepKind::kSegment:
        subject_.Inject(clients_[step.segment.client].Make(step.segment, number));
        if ((step.segment.flags & TcpFlags::kFin) == 0) break;
        result->is_wait = true;
        now_ms_ += kFinMs;
        subject_.SleepUntil(now_ms_);
        break;
      case StepKind::kAccept: {
        if (listeners_ == 0) break;
        uint8_t client = 0;
        const int error = subject_.Accept(&client);
        told(error == 0 ? absl::StrCat("accept: c", client) : "accept", error);
        if (error != 0) break;
        if (const Bytes syn = subject_.SavedSyn(client); !syn.empty())
          result->facts.push_back(absl::StrCat("saved SYN: ", Summary(WithoutEcho(syn, ipv6_))));
        break;
      }
      case StepKind::kAcceptAll:
        result->facts.push_back("accepted:" + AcceptAll());
        break;
      case StepKind::kRead: {
        Bytes bytes;
        const int error = subject_.Read(step.client, &bytes);
        told(absl::StrCat("read: ", Summary(bytes)), error);
        break;
      }
      case StepKind::kClose:
        told("close connection", subject_.Close(step.client));
        break;
      case StepKind::kShutdown:
        told("shutdown", subject_.Shutdown(step.client));
        break;
      case StepKind::kWrite:
        told("write", subject_.Write(step.client, step.bytes));
        break;
      case StepKind::kWait:
        break;
    }
  }

  // Which listener of a group has which, each side's random key decides.
  std::string AcceptAll() {
    std::set<uint8_t> accepted;
    for (uint32_t i = 0; i < listeners_; ++i) {
      for (uint8_t client; subject_.Accept(&client) == 0;) accepted.insert(client);
      subject_.RotateListeners();
    }
    std::string text;
    for (const uint8_t client : accepted) absl::StrAppend(&text, " c", client);
    return text;
  }

  void Observe(StepResult* result) {
    const std::vector<SentPacket> sent = subject_.TakeSent();
    const CounterValues now = subject_.Counters();
    const bool synack_again = std::any_of(clients_.begin(), clients_.end(),
                                          [](const Client& c) { return c.synack_again(); });
    for (const auto& [name, value] : now) {
      const auto before = counters_.find(name);
      const auto rise =
          static_cast<int64_t>(value - (before == counters_.end() ? 0 : before->second));
      if (rise != 0 && !IsKnownCounter(name, synack_again)) result->counters[name] = rise;
    }
    counters_ = now;
    const bool cookie = result->counters.contains("TcpExtSyncookiesSent");
    for (const SentPacket& p : sent) {
      const size_t ip = ipv6_ ? 40 : 20;
      const uint8_t client =
          p.bytes.size() >= ip + 20
              ? static_cast<uint8_t>(Load16(p.bytes.data() + ip + 2) - ClientPort(0))
              : 0xff;
      std::string text = "a packet to nobody";
      if (client < kMaxClients) text = clients_[client].Read(p.bytes, cookie);
      result->packets.push_back({client, p.at_ms, text});
    }
    const SocketTable table = subject_.Sockets();
    if (table.listening)
      result->facts.push_back(
          absl::StrCat("accept queue ", table.accept_queue, "/", table.accept_limit));
    result->rows = table.rows;
  }

  Subject& subject_;
  const bool ipv6_;
  const bool virtual_time_ = subject_.LateBy(1e9) == 0;
  uint32_t listeners_ = 0;
  double now_ms_ = 0;
  std::vector<Client> clients_;
  CounterValues counters_;
};

std::string Texts(const std::vector<SeenPacket>& packets) {
  std::string text;
  for (const SeenPacket& p : packets)
    absl::StrAppend(&text, "      ", p.text, absl::StrFormat(" at %.1f ms\n", p.at_ms));
  return text;
}

bool SameTexts(const std::vector<SeenPacket>& a, const std::vector<SeenPacket>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const SeenPacket& x, const SeenPacket& y) { return x.text == y.text; });
}

// During a wait only the order of one client's packets counts: the kernel's timer wheel fires
// timers of one tick in any order, and later ones of a longer timeout up to an eighth late.
std::vector<SeenPacket> ByClient(std::vector<SeenPacket> packets) {
  std::stable_sort(packets.begin(), packets.end(),
                   [](const SeenPacket& a, const SeenPacket& b) { return a.client < b.client; });
  return packets;
}

bool SameTimes(const std::vector<SeenPacket>& kernel, const std::vector<SeenPacket>& usher) {
  for (size_t i = 0; i < kernel.size(); ++i) {
    const double late = kernel[i].at_ms - usher[i].at_ms;
    if (late < -20 || late > 80 + 0.14 * usher[i].at_ms) return false;
  }
  return true;
}

std::optional<std::string> Differs(const StepResult& k, const StepResult& u) {
  std::string text;
  const auto kp = k.is_wait ? ByClient(k.packets) : k.packets;
  const auto up = k.is_wait ? ByClient(u.packets) : u.packets;
  if (!SameTexts(kp, up) || (k.is_wait && !SameTimes(kp, up)))
    absl::StrAppend(&text, "    packets: kernel\n", Texts(kp), "    usher\n", Texts(up));
  if (k.facts != u.facts)
    absl::StrAppend(&text, "    calls: kernel ", absl::StrJoin(k.facts, ", "),
                    "\n           usher  ", absl::StrJoin(u.facts, ", "), "\n");
  if (k.rows != u.rows)
    absl::StrAppend(&text, "    sockets: kernel ", absl::StrJoin(k.rows, ", "),
                    "\n             usher  ", absl::StrJoin(u.rows, ", "), "\n");
  std::set<std::string> names;
  for (const auto& c : k.counters) names.insert(c.first);
  for (const auto& c : u.counters) names.insert(c.first);
  const auto of = [](const StepResult& r, const std::string& name) {
    const auto i = r.counters.find(name);
    return i == r.counters.end() ? 0 : i->second;
  };
  for (const std::string& name : names)
    if (of(k, name) != of(u, name))
      absl::StrAppend(&text, "    ", name, ": kernel ", of(k, name), ", usher ", of(u, name), "\n");
  if (text.empty()) return std::nullopt;
  return text;
}

}  // namespace

Trace Play(const Schedule& schedule, Subject& subject, bool* in_time) {
  Player player(schedule, subject);
  Trace trace;
  *in_time = true;
  for (size_t i = 0; i < schedule.steps.size(); ++i) {
    trace.push_back(player.Do(schedule.steps[i], static_cast<uint32_t>(i)));
    if (subject.LateBy(player.now_ms()) > kTolerableMs) *in_time = false;
  }
  return trace;
}

std::optional<Difference> Compare(const Trace& kernel, const Trace& usher) {
  for (size_t i = 0; i < kernel.size() && i < usher.size(); ++i)
    if (auto text = Differs(kernel[i], usher[i])) return Difference{i, *text};
  return std::nullopt;
}

std::string ToString(const StepResult& r) {
  std::string text = Texts(r.packets);
  if (!r.facts.empty()) absl::StrAppend(&text, "      ", absl::StrJoin(r.facts, ", "), "\n");
  if (!r.rows.empty()) absl::StrAppend(&text, "      ", absl::StrJoin(r.rows, ", "), "\n");
  for (const auto& [name, rise] : r.counters)
    absl::StrAppend(&text, "      ", name, rise > 0 ? " +" : " ", rise, "\n");
  return text;
}

}  // namespace usher::differential
