// What a schedule showed of the rule book, read off usher's account of it. A row is recognised by
// what a user of the stack can see: packets, counters, sockets.
#include "tests/differential/coverage.h"

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "stack/wire/tcp.h"
#include "tests/differential/client.h"

namespace usher::differential {
namespace {

// The rows, in the order of the rule book (stack/listen/README.md). The text is the row's name.
constexpr const char* kRows[] = {
    "limits: a negative backlog is somaxconn",
    "limits: backlog above somaxconn",
    "limits: backlog 0 admits one",
    "limits: limit + 1 connections fit",
    "limits: listen() again below what is queued evicts nothing",
    "SYN: tcp_syncookies = 2, marked",
    "SYN: half-open full, marked",
    "SYN: half-open full, no cookies, dropped",
    "SYN: marked and accept queue full, silence",
    "SYN: accept queue full, dropped",
    "SYN: last quarter, dropped",
    "SYN: cookie sent",
    "SYN: request stored",
    "SYN: with FIN, dropped",
    "SYN: to broadcast, dropped",
    "SYN: with data, data ignored",
    "LISTEN: ACK, no cookie sent lately, RST",
    "LISTEN: ACK, no cookie of ours, RST",
    "LISTEN: SYN and ACK, RST",
    "LISTEN: RST ignored",
    "LISTEN: nobody listens, RST",
    "cookie: ACK makes a connection, options in the timestamp",
    "cookie: ACK makes a connection, no timestamp",
    "cookie: 55 s old, ACK makes a connection",
    "cookie: two minutes old, RST",
    "cookie: two minutes after the last one, RST without a test",
    "cookie: the MSS it carried, seen in what is sent",
    "cookie: accept queue full, dropped",
    "ECN: SYN asked for it, agreed",
    "ECN: agreed by a cookie",
    "ECN: SYN asked for it, refused",
    "request: duplicate SYN, SYN-ACK again",
    "request: duplicate SYN within 500 ms, silence",
    "request: wrong ACK, RST, kept",
    "request: PAWS, acknowledged",
    "request: timestamp echo never sent, acknowledged",
    "request: out of window, acknowledged",
    "request: out of window within 500 ms, silence",
    "request: RST at RCV.NXT, gone",
    "request: RST elsewhere in the window, challenged",
    "request: RST outside of the window, ignored",
    "request: SYN in the window, RST, gone",
    "request: right ACK, connection",
    "request: right ACK with data",
    "request: right ACK with FIN",
    "request: right ACK, accept queue full, dropped and kept",
    "request: completed by a later segment",
    "request: tcp_abort_on_overflow, RST",
    "timer: first SYN-ACK again (1 s)",
    "timer: second (3 s)",
    "timer: third (7 s)",
    "timer: fourth (15 s)",
    "timer: fifth (31 s)",
    "timer: request gone after tcp_synack_retries",
    "timer: request gone after five SYN-ACKs more (63 s)",
    "timer: request gone after TCP_SYNCNT",
    "timer: old requests pruned",
    "timer: a first window of one segment",
    "timer: undone by the echo of the first SYN-ACK",
    "defer: bare ACK dropped",
    "defer: no SYN-ACK again after a bare ACK",
    "defer: the last SYN-ACK after all",
    "defer: data completes",
    "TIME-WAIT: newer SYN reuses the pair",
    "TIME-WAIT: it skips tcp_syncookies = 2",
    "TIME-WAIT: it skips the last quarter",
    "TIME-WAIT: newer SYN, nobody listens, acknowledged",
    "TIME-WAIT: old SYN, acknowledged",
    "TIME-WAIT: PAWS rejects",
    "TIME-WAIT: RST removes",
    "TIME-WAIT: RST ignored by tcp_rfc1337",
    "TIME-WAIT: gone after 60 s",
    "FIN-WAIT-2: gone after tcp_fin_timeout",
    "PAWS: none for a RST after a minute",
    "close: queued connections reset",
    "close: a request's next segment, RST",
    "close: a request goes with its timer",
    "accept: first in, first out",
    "accept: EAGAIN",
    "accept: the saved SYN of a connection",
    "accept: reset while it waited, still returned",
    "accept: its first read says ECONNRESET",
    "Fast Open: cookie asked for and given",
    "Fast Open: cookie shown, data taken",
    "Fast Open: no cookie needed, data taken",
    "Fast Open: cookie of the backup key, a new one given",
    "Fast Open: wrong cookie, a right one given, data ignored",
    "Fast Open: no place, as without",
    "Fast Open: a listener that did not ask",
    "Fast Open: acknowledged, connection",
    "Fast Open: reset before it is acknowledged",
    "Fast Open: a reset one's place is free after 60 s",
    "group: request completes at another listener",
    "group: request moves by its timer",
    "group: queued connections move",
    "group: nobody is left to move to",
    "group: tcp_migrate_req = 0, queued connections reset",
    "group: two share, all is accepted",
};

// Reads a schedule's account from its beginning to its end.
class Reader {
 public:
  std::map<std::string, uint64_t> Read(const Schedule& schedule, const Trace& trace) {
    for (size_t i = 0; i < trace.size(); ++i) {
      r_ = &trace[i];
      ReadRows();
      Step(schedule.steps[i]);
      before_ = now_;
    }
    return std::move(hits_);
  }

 private:
  // "SYN-RECV timeouts 1" and so on, by client.
  using States = std::map<uint8_t, std::string>;

  void Hit(const char* row) { ++hits_[row]; }
  void HitIf(bool condition, const char* row) {
    if (condition) Hit(row);
  }

  bool Rose(const char* counter) const {
    const auto i = r_->counters.find(counter);
    return i != r_->counters.end() && i->second > 0;
  }
  bool Fact(const std::string& text) const {
    for (const std::string& f : r_->facts)
      if (f == text) return true;
    return false;
  }
  // How many packets with those flags went to the client.
  uint32_t Sent(uint8_t client, const std::string& flags) const {
    uint32_t n = 0;
    for (const SeenPacket& p : r_->packets)
      n += p.client == client && absl::StrContains(p.text, absl::StrCat("<- [", flags, "]"));
    return n;
  }
  uint32_t SynAcks(uint8_t client) const { return Sent(client, "SA") + Sent(client, "SAE"); }
  bool IsAnswered(uint8_t client) const { return SynAcks(client) != 0; }
  bool IsReset(uint8_t client) const { return Sent(client, "R") + Sent(client, "RA") != 0; }
  static std::string Of(const States& states, uint8_t client) {
    const auto i = states.find(client);
    return i == states.end() ? "" : i->second;
  }
  static bool IsRequest(const std::string& state) {
    return absl::StartsWith(state, "SYN-RECV timeouts");
  }
  static bool IsFastOpen(const std::string& state) {
    return absl::StartsWith(state, "SYN-RECV recv-q");
  }
  static uint32_t Timeouts(const std::string& state) {
    return static_cast<uint32_t>(
        std::atoi(state.c_str() + std::string("SYN-RECV timeouts ").size()));
  }

  void ReadRows() {
    now_.clear();
    for (const std::string& row : r_->rows) {
      const size_t space = row.find(' ');
      now_[static_cast<uint8_t>(std::atoi(row.c_str() + 1))] = row.substr(space + 1);
    }
    for (const std::string& f : r_->facts)
      if (std::sscanf(f.c_str(), "accept queue %u/%u", &queue_, &limit_) == 2 &&
          queue_ == limit_ + 1)
        Hit(limit_ == 0 ? "limits: backlog 0 admits one" : "limits: limit + 1 connections fit");
  }

  void Step(const usher::differential::Step& s) {
    switch (s.kind) {
      case StepKind::kSysctl:
        sysctls_[s.name] = std::atoi(s.value.c_str());
        break;
      case StepKind::kListen:
        if (Fact("listen = 0")) ++listening_;
        syncnt_ = s.syncnt;
        fastopen_asked_ = s.fastopen_qlen >= 0;
        HitIf(s.backlog < 0, "limits: a negative backlog is somaxconn");
        HitIf(s.backlog > Sysctl("net.core.somaxconn", 4096), "limits: backlog above somaxconn");
        break;
      case StepKind::kBacklog:
        HitIf(queue_ > limit_ + 1, "limits: listen() again below what is queued evicts nothing");
        break;
      case StepKind::kCloseListener:
        if (Fact("close = 0")) --listening_;
        for (const SeenPacket& p : r_->packets) {
          HitIf(IsReset(p.client), "close: queued connections reset");
          HitIf(IsReset(p.client) && listening_ != 0 && Sysctl("net.ipv4.tcp_migrate_req", 1) == 0,
                "group: tcp_migrate_req = 0, queued connections reset");
        }
        HitIf(Rose("TcpExtTCPMigrateReqSuccess"), "group: queued connections move");
        HitIf(Rose("TcpExtTCPMigrateReqFailure"), "group: nobody is left to move to");
        break;
      case StepKind::kAcceptAll:
        HitIf(listening_ == 2 && !r_->facts.empty() && r_->facts[0] != "accepted:",
              "group: two share, all is accepted");
        break;
      case StepKind::kSegment:
        Segment(s.segment);
        break;
      case StepKind::kAccept:
        Accept();
        break;
      case StepKind::kRead:
        HitIf(returned_dead_.erase(s.client) != 0 && !r_->facts.empty() &&
                  absl::EndsWith(r_->facts[0], "ECONNRESET"),
              "accept: its first read says ECONNRESET");
        break;
      case StepKind::kWrite:
        HitIf(by_cookie_.contains(s.client) && r_->packets.size() > 1,
              "cookie: the MSS it carried, seen in what is sent");
        if (retransmitted_by_timer_.contains(s.client) && Fact("write = 0")) {
          const size_t n = r_->packets.size();
          HitIf(n == 1, "timer: a first window of one segment");
          HitIf(n > 1, "timer: undone by the echo of the first SYN-ACK");
        }
        break;
      case StepKind::kWait:
        Wait();
        break;
      default:
        break;
    }
  }

  void Accept() {
    HitIf(Fact("accept = EAGAIN"), "accept: EAGAIN");
    unsigned client;
    if (r_->facts.empty() || std::sscanf(r_->facts[0].c_str(), "accept: c%u = 0", &client) != 1)
      return;
    Hit("accept: first in, first out");
    HitIf(r_->facts.size() > 1 && absl::StartsWith(r_->facts[1], "saved SYN"),
          "accept: the saved SYN of a connection");
    if (before_.contains(static_cast<uint8_t>(client))) return;
    Hit("accept: reset while it waited, still returned");
    returned_dead_.insert(static_cast<uint8_t>(client));
  }

  int Sysctl(const char* name, int otherwise) const {
    const auto i = sysctls_.find(name);
    return i == sysctls_.end() ? otherwise : i->second;
  }

  void Segment(const SegmentStep& s) {
    const std::string state = Of(before_, s.client);
    HitIf(Rose("TcpExtTCPMigrateReqSuccess"), "group: request completes at another listener");
    if (IsFastOpen(state))
      Unacknowledged(s);
    else if (IsRequest(state))
      AtRequest(s, state);
    else if (state.empty())
      AtListener(s);
    else if (state == "TIME-WAIT")
      InTimeWait(s);
    else if (Has(s, TcpFlags::kRst) && s.ts == TsValue::kOld && r_->begin_ms > 60'000 &&
             Sysctl("net.ipv4.tcp_timestamps", 1) != 0)
      HitIf(Of(now_, s.client).empty(), "PAWS: none for a RST after a minute");
  }

  static bool Has(const SegmentStep& s, uint16_t flag) { return (s.flags & flag) != 0; }

  // A Fast Open child.
  void Unacknowledged(const SegmentStep& s) {
    HitIf(Of(now_, s.client).starts_with("ESTAB"), "Fast Open: acknowledged, connection");
    HitIf(Has(s, TcpFlags::kRst) && Rose("TcpAttemptFails"),
          "Fast Open: reset before it is acknowledged");
  }

  void FastOpenSyn(const SegmentStep& s) {
    const int bits = Sysctl("net.ipv4.tcp_fastopen", 1);
    if (Rose("TcpExtTCPFastOpenPassive")) {
      const bool free = (bits & 0x200) != 0;
      HitIf(s.length != 0, free ? "Fast Open: no cookie needed, data taken"
                                : "Fast Open: cookie shown, data taken");
      HitIf(!fastopen_asked_, "Fast Open: a listener that did not ask");
      HitIf(places_full_ms_ && r_->begin_ms - *places_full_ms_ > 60'000,
            "Fast Open: a reset one's place is free after 60 s");
    } else if (IsAnswered(s.client) && (bits & 0x2) != 0) {
      HitIf(s.fast_open == FastOpen::kRequest && !Rose("TcpExtTCPFastOpenListenOverflow") &&
                absl::StrContains(r_->packets[0].text, s.experimental ? "fe0cf989" : "220a"),
            "Fast Open: cookie asked for and given");
      HitIf(Rose("TcpExtTCPFastOpenPassiveFail"),
            "Fast Open: wrong cookie, a right one given, data ignored");
    }
    HitIf(Rose("TcpExtTCPFastOpenPassiveAltKey"),
          "Fast Open: cookie of the backup key, a new one given");
    if (!Rose("TcpExtTCPFastOpenListenOverflow")) return;
    Hit("Fast Open: no place, as without");
    places_full_ms_ = r_->begin_ms;
  }

  void AtListener(const SegmentStep& s) {
    const bool syn = Has(s, TcpFlags::kSyn), ack = Has(s, TcpFlags::kAck),
               rst = Has(s, TcpFlags::kRst);
    if (!listening_) {
      HitIf(IsReset(s.client), "LISTEN: nobody listens, RST");
      return;
    }
    if (rst) {
      HitIf(r_->packets.empty(), "LISTEN: RST ignored");
    } else if (syn && ack) {
      HitIf(IsReset(s.client), "LISTEN: SYN and ACK, RST");
    } else if (ack) {
      CookieAck(s);
    } else if (syn && Has(s, TcpFlags::kFin)) {
      HitIf(r_->packets.empty(), "SYN: with FIN, dropped");
    } else if (syn) {
      Syn(s);
    }
  }

  void Syn(const SegmentStep& s) {
    const bool marked = Rose("TcpExtTCPReqQFullDoCookies");
    const bool overflow = Rose("TcpExtListenOverflows");
    const bool two = Sysctl("net.ipv4.tcp_syncookies", 1) == 2;
    HitIf(marked && two, "SYN: tcp_syncookies = 2, marked");
    HitIf(marked && !two, "SYN: half-open full, marked");
    HitIf(Rose("TcpExtTCPReqQFullDrop"), "SYN: half-open full, no cookies, dropped");
    HitIf(marked && overflow, "SYN: marked and accept queue full, silence");
    HitIf(!marked && overflow, "SYN: accept queue full, dropped");
    HitIf(s.to_broadcast && Rose("TcpExtListenDrops"), "SYN: to broadcast, dropped");
    HitIf(
        !s.to_broadcast && Rose("TcpExtListenDrops") && !overflow && !Rose("TcpExtTCPReqQFullDrop"),
        "SYN: last quarter, dropped");
    const bool cookie = Rose("TcpExtSyncookiesSent");
    HitIf(cookie, "SYN: cookie sent");
    HitIf(IsRequest(Of(now_, s.client)), "SYN: request stored");
    HitIf(s.length != 0 && IsAnswered(s.client) && !Rose("TcpExtTCPFastOpenPassive"),
          "SYN: with data, data ignored");
    FastOpenSyn(s);
    Forget(s.client);
    if (cookie) cookie_at_ms_[s.client] = r_->begin_ms;
    constexpr uint16_t kEcn = TcpFlags::kEce | TcpFlags::kCwr;
    const bool asked = (s.flags & kEcn) == kEcn;
    const bool agreed = Sent(s.client, "SAE") != 0;
    HitIf(asked && agreed, cookie ? "ECN: agreed by a cookie" : "ECN: SYN asked for it, agreed");
    HitIf(asked && Sent(s.client, "SA") != 0, "ECN: SYN asked for it, refused");
  }

  // A new beginning.
  void Forget(uint8_t client) {
    kept_.erase(client);
    deferred_.erase(client);
    by_cookie_.erase(client);
    retransmitted_by_timer_.erase(client);
    cookie_at_ms_.erase(client);
  }

  void CookieAck(const SegmentStep& s) {
    if (Rose("TcpExtSyncookiesRecv")) {
      HitIf(Rose("TcpExtListenOverflows"), "cookie: accept queue full, dropped");
      if (!Rose("TcpPassiveOpens")) return;
      HitIf(CookieAge(s.client) > 55'000, "cookie: 55 s old, ACK makes a connection");
      by_cookie_.insert(s.client);
      Hit(s.ts != TsValue::kNone ? "cookie: ACK makes a connection, options in the timestamp"
                                 : "cookie: ACK makes a connection, no timestamp");
    } else if (IsReset(s.client)) {
      HitIf(CookieAge(s.client) > 120'000,
            Rose("TcpExtSyncookiesFailed")
                ? "cookie: two minutes old, RST"
                : "cookie: two minutes after the last one, RST without a test");
      Hit(Rose("TcpExtSyncookiesFailed") ? "LISTEN: ACK, no cookie of ours, RST"
                                         : "LISTEN: ACK, no cookie sent lately, RST");
    }
  }

  // In ms; 0: it was given none.
  double CookieAge(uint8_t client) const {
    const auto i = cookie_at_ms_.find(client);
    return i == cookie_at_ms_.end() ? 0 : r_->begin_ms - i->second;
  }

  void AtRequest(const SegmentStep& s, const std::string&) {
    const bool syn = Has(s, TcpFlags::kSyn), ack = Has(s, TcpFlags::kAck),
               rst = Has(s, TcpFlags::kRst);
    const bool stays = IsRequest(Of(now_, s.client));
    if (!listening_) {
      HitIf(IsReset(s.client), "close: a request's next segment, RST");
      return;
    }
    if (rst) {
      HitIf(Rose("TcpExtEmbryonicRsts"), "request: RST at RCV.NXT, gone");
      HitIf(Rose("TcpExtTCPChallengeACK"), "request: RST elsewhere in the window, challenged");
      HitIf(!ack && stays && r_->packets.empty() && r_->counters.size() == 1,
            "request: RST outside of the window, ignored");
    } else if (Rose("TcpExtPAWSEstab")) {
      HitIf(Sent(s.client, "A") != 0, "request: PAWS, acknowledged");
    } else if (Rose("TcpExtTSEcrRejected")) {
      HitIf(Sent(s.client, "A") != 0, "request: timestamp echo never sent, acknowledged");
    } else if (syn && !ack) {
      HitIf(IsAnswered(s.client), "request: duplicate SYN, SYN-ACK again");
      HitIf(Rose("TcpExtTCPACKSkippedSynRecv") && s.seq_base == SeqBase::kIsn,
            "request: duplicate SYN within 500 ms, silence");
      HitIf(Rose("TcpExtEmbryonicRsts"), "request: SYN in the window, RST, gone");
    } else if (ack && !syn) {
      AckOfRequest(s, stays);
    }
  }

  void AckOfRequest(const SegmentStep& s, bool stays) {
    const bool reset = IsReset(s.client), overflow = Rose("TcpExtListenOverflows");
    if (Rose("TcpPassiveOpens")) {
      Hit("request: right ACK, connection");
      HitIf(s.length != 0, "request: right ACK with data");
      HitIf(Has(s, TcpFlags::kFin), "request: right ACK with FIN");
      HitIf(kept_.erase(s.client) != 0, "request: completed by a later segment");
      HitIf(deferred_.erase(s.client) != 0 && s.length != 0, "defer: data completes");
      return;
    }
    HitIf(overflow && reset, "request: tcp_abort_on_overflow, RST");
    if (overflow && stays) {
      Hit("request: right ACK, accept queue full, dropped and kept");
      kept_.insert(s.client);
    }
    if (Rose("TcpExtTCPDeferAcceptDrop")) {
      Hit("defer: bare ACK dropped");
      deferred_.insert(s.client);
      return;
    }
    HitIf(!overflow && reset && stays, "request: wrong ACK, RST, kept");
    HitIf(Sent(s.client, "A") != 0, "request: out of window, acknowledged");
    HitIf(Rose("TcpExtTCPACKSkippedSynRecv"), "request: out of window within 500 ms, silence");
  }

  void InTimeWait(const SegmentStep& s) {
    const bool gone = Of(now_, s.client) != "TIME-WAIT";
    if (Rose("TcpExtPAWSTimewait")) {
      Hit("TIME-WAIT: PAWS rejects");
    } else if (Has(s, TcpFlags::kRst)) {
      HitIf(gone, "TIME-WAIT: RST removes");
      HitIf(!gone && Sysctl("net.ipv4.tcp_rfc1337", 0) != 0 && s.seq_delta == 0 &&
                s.seq_base == SeqBase::kNext,
            "TIME-WAIT: RST ignored by tcp_rfc1337");
    } else if (Has(s, TcpFlags::kSyn) && !Has(s, TcpFlags::kAck)) {
      HitIf(IsAnswered(s.client), "TIME-WAIT: newer SYN reuses the pair");
      HitIf(IsAnswered(s.client) && Sysctl("net.ipv4.tcp_syncookies", 1) == 2,
            "TIME-WAIT: it skips tcp_syncookies = 2");
      HitIf(IsAnswered(s.client) && InLastQuarter(), "TIME-WAIT: it skips the last quarter");
      HitIf(!gone && Sent(s.client, "A") != 0,
            s.fresh && s.seq_delta > 0 && !listening_
                ? "TIME-WAIT: newer SYN, nobody listens, acknowledged"
                : "TIME-WAIT: old SYN, acknowledged");
    }
  }

  bool InLastQuarter() const {
    int requests = 0;
    for (const auto& row : before_) requests += IsRequest(row.second);
    const int most = Sysctl("net.ipv4.tcp_max_syn_backlog", 128);
    return Sysctl("net.ipv4.tcp_syncookies", 1) == 0 && most - requests < most / 4;
  }

  void Wait() {
    static constexpr const char* kResends[] = {"timer: first SYN-ACK again (1 s)",
                                               "timer: second (3 s)", "timer: third (7 s)",
                                               "timer: fourth (15 s)", "timer: fifth (31 s)"};
    HitIf(Rose("TcpExtTCPMigrateReqSuccess"), "group: request moves by its timer");
    for (const auto& [client, state] : before_) {
      const bool is_gone = !now_.contains(client);
      HitIf(is_gone && state == "TIME-WAIT", "TIME-WAIT: gone after 60 s");
      HitIf(is_gone && state.starts_with("FIN-WAIT-2"), "FIN-WAIT-2: gone after tcp_fin_timeout");
      if (!IsRequest(state)) continue;
      const std::string after = Of(now_, client);
      const uint32_t sent = SynAcks(client);
      const uint32_t from = Timeouts(state);
      if (!listening_) {
        HitIf(after.empty(), "close: a request goes with its timer");
        continue;
      }
      const bool deferred = deferred_.contains(client);
      for (uint32_t n = from; n < from + sent && n < std::size(kResends) && !deferred; ++n)
        Hit(kResends[n]);
      if (from + sent >= 2) retransmitted_by_timer_.insert(client);
      if (IsRequest(after)) {
        HitIf(deferred && sent == 0 && Timeouts(after) > from,
              "defer: no SYN-ACK again after a bare ACK");
        HitIf(deferred && sent != 0, "defer: the last SYN-ACK after all");
      } else if (!deferred) {
        Gone(from + sent);
      }
    }
  }

  // A request ended by its timer after so many timeouts.
  void Gone(uint32_t timeouts) {
    const auto retries =
        static_cast<uint32_t>(syncnt_ != 0 ? syncnt_ : Sysctl("net.ipv4.tcp_synack_retries", 5));
    if (timeouts < retries)
      Hit("timer: old requests pruned");
    else if (timeouts == 5)
      Hit("timer: request gone after five SYN-ACKs more (63 s)");
    else
      Hit(syncnt_ != 0 ? "timer: request gone after TCP_SYNCNT"
                       : "timer: request gone after tcp_synack_retries");
  }

  const StepResult* r_ = nullptr;
  States before_, now_;
  unsigned queue_ = 0, limit_ = 0;
  int listening_ = 0;  // how many listeners
  bool fastopen_asked_ = false;
  int syncnt_ = 0;
  std::map<std::string, int> sysctls_;
  std::set<uint8_t> kept_, deferred_, by_cookie_, returned_dead_, retransmitted_by_timer_;
  std::map<uint8_t, double> cookie_at_ms_;
  std::optional<double> places_full_ms_;  // when a Fast Open SYN last found no place
  std::map<std::string, uint64_t> hits_;
};

}  // namespace

const std::vector<std::string>& AllRows() {
  static const std::vector<std::string> rows(std::begin(kRows), std::end(kRows));
  return rows;
}

std::map<std::string, uint64_t> RowsHit(const Schedule& schedule, const Trace& trace) {
  return Reader().Read(schedule, trace);
}

}  // namespace usher::differential
