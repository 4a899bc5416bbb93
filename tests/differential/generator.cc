// Schedules from seeds. Each follows one of a few plans ("profiles"), which only shift the odds:
// what a plan is about happens often, everything else now and then.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "stack/base/random.h"
#include "stack/wire/tcp.h"
#include "tests/differential/client.h"
#include "tests/differential/safe_times.h"
#include "tests/differential/schedule.h"
#include "tests/differential/subject.h"

namespace usher::differential {
namespace {

struct Profile {
  const char* name;
  uint32_t weight;   // of 1000
  uint32_t clients;  // at most
  uint32_t steps;    // about
  uint32_t wait;     // of 100 steps
  uint32_t most_ms;  // sum of waits at most
};

constexpr Profile kProfiles[] = {
    {"mixed", 160, 6, 24, 4, 2500},      {"overflow", 160, 10, 30, 2, 2500},
    {"half-open", 130, 12, 24, 3, 2500}, {"quarter", 50, 10, 20, 0, 0},
    {"request", 140, 3, 18, 6, 2500},    {"timers", 50, 5, 16, 12, 6000},
    {"old", 20, 4, 10, 25, 16500},       {"pruning", 25, 12, 0, 0, 0},
    {"time-wait", 75, 3, 18, 3, 2500},   {"defer", 30, 4, 14, 14, 6500},
    {"close", 40, 5, 8, 10, 4500},       {"cookie", 40, 3, 10, 3, 1500},
    {"fast-open", 60, 4, 16, 3, 1500},   {"group", 20, 5, 8, 8, 3500},
};
constexpr Profile kLong = {"long", 0, kMaxClients, 6, 0, 0};

// Where a client stands, as the generator believes.
enum class Phase : uint8_t { kIdle, kSynSent, kOpen, kClosing, kLeft };

// So that neighbouring seeds have nothing in common.
uint64_t Scatter(uint64_t seed) {
  SeededRandom random(seed);
  return random.Next64() ^ (random.Next64() << 1);
}

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(Scatter(seed)) {
    schedule_.seed = seed;
    uint64_t draw = random_.Uniform(1000);
    profile_ = &kProfiles[0];
    for (const Profile& p : kProfiles) {
      profile_ = &p;
      if (draw < p.weight) break;
      draw -= p.weight;
    }
    if (schedule_.is_long()) profile_ = &kLong;
    schedule_.profile = profile_->name;
    schedule_.ipv6 = Chance(25);
    clients_ = 1 + static_cast<uint32_t>(random_.Uniform(profile_->clients));
    if (Is("pruning") || Is("quarter") || Is("long")) clients_ = profile_->clients;
    phases_.resize(clients_, Phase::kIdle);
    stamps_.resize(clients_);
    much_.resize(clients_);
  }

  Schedule Make() {
    Settings();
    Listen();
    if (Is("pruning")) {
      Pruning();
    } else {
      if (Is("time-wait")) TimeWait();
      if (Is("old")) Old();
      if (Is("close")) Close();
      if (Is("cookie")) Cookie();
      if (Is("fast-open")) Acquaint();
      if (Is("group")) Group();
      if (Is("long")) Long();
      if ((Is("timers") && listen_syncnt_ != 0) || (Is("defer") && Chance(50))) GrowOld();
      const uint64_t n = profile_->steps / 2 + random_.Uniform(profile_->steps + 1);
      for (uint64_t i = 0; i < n; ++i) Any();
    }
    return std::move(schedule_);
  }

 private:
  bool Is(const char* name) const { return schedule_.profile == name; }
  bool Chance(uint32_t percent) { return random_.Uniform(100) < percent; }
  template <class T>
  T Pick(std::initializer_list<T> list) {
    return list.begin()[random_.Uniform(list.size())];
  }

  // ---- Setting up ----

  void Sysctl(const char* name, const std::string& value) {
    Step s;
    s.kind = StepKind::kSysctl;
    s.name = name;
    s.value = value;
    schedule_.steps.push_back(s);
  }
  void Sysctl(const char* name, int value) { Sysctl(name, absl::StrCat(value)); }

  void Settings() {
    int cookies = Pick({0, 0, 1, 1, 1, 2});
    if (Is("quarter")) cookies = 0;
    if (Is("cookie")) cookies = 2;
    if (Is("request") || Is("pruning") || Is("defer")) cookies = Pick({0, 1, 1, 1});
    if (Is("long")) cookies = 1;
    Sysctl("net.ipv4.tcp_syncookies", cookies);
    if (Is("quarter") || (Is("half-open") && Chance(30)) || (!Is("long") && Chance(5)))
      Sysctl("net.ipv4.tcp_max_syn_backlog", Pick({1, 2, 4, 5, 8, 11, 16}));
    else
      Sysctl("net.ipv4.tcp_max_syn_backlog", Pick({128, 256, 1024}));
    Sysctl("net.core.somaxconn",
           !Is("group") && !Is("long") && Chance(25) ? Pick({0, 1, 2, 3, 5}) : Pick({128, 4096}));
    int retries = Is("long") || Chance(50) ? 5 : Pick({0, 1, 2, 3});
    if (Is("pruning") || Is("old")) retries = Pick({3, 4, 5, 5, 6});
    if (retries != 5) Sysctl("net.ipv4.tcp_synack_retries", retries);
    if (Chance(25)) Sysctl("net.ipv4.tcp_abort_on_overflow", 1);
    if (!Is("long") && Chance(30)) Sysctl("net.ipv4.tcp_timestamps", Pick({0, 2}));
    if (Chance(12)) Sysctl("net.ipv4.tcp_sack", 0);
    if (Chance(40)) Sysctl("net.ipv4.tcp_ecn", Pick({1, 2}));
    if (Chance(12)) Sysctl("net.ipv4.tcp_window_scaling", 0);
    if (Chance(20))
      Sysctl("net.ipv4.tcp_rmem", absl::StrCat("4096 ", Pick({65536, 87380, 100000, 131072}), " ",
                                               Pick({131072, 6291456, 33554432, 1000000})));
    else if (Chance(8))
      LargeWindows();
    if (Is("time-wait") && Chance(50)) Sysctl("net.ipv4.tcp_rfc1337", 1);
    if (Is("group")) Sysctl("net.ipv4.tcp_migrate_req", Pick({0, 1, 1}));
    if (Is("long")) Sysctl("net.ipv4.tcp_fastopen", 0x3);
    if (Is("fast-open"))
      Sysctl("net.ipv4.tcp_fastopen", Pick({0x2, 0x2, 0x3, 0x202, 0x402, 0x602, 0x1, 0}));
  }

  // More than an unscaled window can say. All SYNs ask for scaling then, and cookies can carry it:
  // without it Linux keeps the surplus all the same, and its TIME-WAIT tells it modulo 2^16.
  void LargeWindows() {
    Sysctl("net.ipv4.tcp_rmem", absl::StrCat("4096 ", Pick({200000, 300000, 1000000}), " 6291456"));
    Sysctl("net.ipv4.tcp_window_scaling", 1);
    Sysctl("net.ipv4.tcp_timestamps", 1);
    scaled_ = true;
  }

  int Backlog() {
    if (Is("overflow") || Is("half-open")) return Pick({0, 0, 1, 2, 3, 4, 5});
    if (Is("quarter")) return Pick({20, 64});
    if (Is("group")) return Pick({10, 128, 512});
    if (Is("long")) return 128;  // no pruning
    return Pick({0, 1, 2, 5, 10, 128, 512, -1, -7, 100000});
  }

  void Listen() {
    Step s;
    s.kind = StepKind::kListen;
    s.backlog = Is("pruning") ? Pick({4, 5, 8, 12, 16}) : Backlog();
    if (Is("pruning") && s.backlog < 12) PadSomaxconn();
    if (Is("defer") || (!Is("group") && !Is("long") && Chance(3)))
      s.defer_s = Pick({1u, 2u, 3u, 4u, 8u});
    if (!Is("pruning") && !Is("long") && Chance(Is("timers") ? 40 : 5))
      s.syncnt = Pick<uint8_t>({1, 1, 2, 3});
    s.reuseport = Is("group");
    s.save_syn = Chance(20);
    if (Is("fast-open") && Chance(65)) s.fastopen_qlen = Pick({0, 1, 1, 1, 1, 2, 100});
    if (Is("long")) s.fastopen_qlen = 3;
    listen_syncnt_ = s.syncnt;
    schedule_.steps.push_back(s);
  }
  void PadSomaxconn() { Sysctl("net.core.somaxconn", 4096); }

  // ---- Steps ----

  SegmentStep& Segment(uint32_t client, uint16_t flags) {
    Step s;
    s.kind = StepKind::kSegment;
    s.segment.client = static_cast<uint8_t>(client);
    s.segment.flags = flags;
    schedule_.steps.push_back(s);
    since_wait_ms_ += kStepMs;
    if ((flags & TcpFlags::kFin) != 0) since_wait_ms_ += kFinMs;
    safe_times_.NoteSegment(now_ms_);
    return schedule_.steps.back().segment;
  }

  void SynOptions(SegmentStep& s) {
    if (!Chance(10))
      s.mss = Pick<uint16_t>({1460, 1460, 1460, 536, 1300, 1440, 1400, 100, 40, 9000, 65535});
    if (Chance(75)) s.window_scale = Pick<int8_t>({0, 1, 2, 7, 7, 7, 10, 14, 15});
    s.sack = Chance(75);
    if (Chance(70)) {
      s.ts = TsValue::kNow;
      s.echo = TsEcho::kZero;
    }
    if (scaled_) {
      if (s.window_scale < 0) s.window_scale = 7;
      s.ts = TsValue::kNow;
    }
    if (Is("fast-open")) {
      s.fast_open = Pick({FastOpen::kGiven, FastOpen::kGiven, FastOpen::kGiven, FastOpen::kRequest,
                          FastOpen::kWrong, FastOpen::kShort, FastOpen::kNone});
      s.experimental = Chance(15);
      s.length = Pick<uint16_t>({0, 1, 10, 80, 80});
    }
    if (Chance(20)) s.layout = Pick<uint8_t>({1, 2});
    s.window = Pick<uint16_t>({65535, 64240, 29200, 5840, 1024, 512, 0});
    if (Chance(15)) s.flags |= TcpFlags::kEce | TcpFlags::kCwr;
    stamps_[s.client] = s.ts != TsValue::kNone;
  }

  void Syn(uint32_t c) {
    SegmentStep& s = Segment(c, TcpFlags::kSyn);
    s.seq_base = SeqBase::kIsn;
    SynOptions(s);
    if (Chance(4)) s.length = Pick<uint16_t>({1, 10, 100});
    phases_[c] = Phase::kSynSent;
  }
  void NewSyn(uint32_t c) {
    SegmentStep& s = Segment(c, TcpFlags::kSyn);
    s.seq_delta = Pick({1, 1000, 100000, 1000000, -1000, -100000});
    if (scaled_ && s.seq_delta > 1000) s.seq_delta = 1 << 28;  // a known difference with data
    s.fresh = true;
    SynOptions(s);
    phases_[c] = Phase::kSynSent;
  }
  void Stamp(SegmentStep& s) {
    if (scaled_ || stamps_[s.client] != Chance(4)) s.ts = Chance(4) ? TsValue::kOld : TsValue::kNow;
    if (Chance(10)) s.echo = Pick({TsEcho::kFirst, TsEcho::kZero, TsEcho::kBelow, TsEcho::kAbove});
  }
  SegmentStep& Ack(uint32_t c, uint16_t more_flags = 0) {
    SegmentStep& s = Segment(c, static_cast<uint16_t>(TcpFlags::kAck | more_flags));
    s.ack_base = AckBase::kNext;
    s.window = Pick<uint16_t>({65535, 512, 229});
    Stamp(s);
    return s;
  }

  void Any() {
    // A delayed acknowledgment (40 ms) must not come due between two steps, nor be about to.
    if (since_wait_ms_ + kFinMs > 28 && !WaitUntilSafe(150, 900)) return;
    if (Chance(profile_->wait) && Wait()) return;
    const uint64_t draw = random_.Uniform(100);
    if (draw < 12) return Call();
    if (draw < 15) return Admin();
    const auto c = static_cast<uint32_t>(random_.Uniform(clients_));
    switch (phases_[c]) {
      case Phase::kIdle:
        return Chance(94) ? Syn(c) : Odd(c);
      case Phase::kSynSent:
        return HalfOpen(c);
      case Phase::kOpen:
        return Open(c);
      case Phase::kClosing:
        return Chance(60) ? NewSyn(c) : Odd(c);
      case Phase::kLeft:
        return Call();
    }
  }

  // Segments for a client whose SYN was sent.
  void HalfOpen(uint32_t c) {
    if (Chance(Is("request") ? 30 : Is("half-open") ? 30 : 60)) {
      SegmentStep& s = Ack(c);
      if (Chance(20)) s.length = Pick<uint16_t>({1, 10, 500, 1460});
      if (s.length != 0) s.flags |= TcpFlags::kPsh;
      much_[c] = much_[c] || s.length >= kMuchData;
      if (s.length < kMuchData && Chance(6)) {
        s.flags |= TcpFlags::kFin;
        since_wait_ms_ += kFinMs;
      }
      phases_[c] = Phase::kOpen;
      return;
    }
    Odd(c);
  }

  // What a well-behaved client does not send, or seldom.
  void Odd(uint32_t c) {
    switch (random_.Uniform(16)) {
      case 0:
      case 1:  // the same SYN again
        Segment(c, TcpFlags::kSyn).seq_base = SeqBase::kIsn;
        SynOptions(schedule_.steps.back().segment);
        if (stamps_[c] && Chance(25)) schedule_.steps.back().segment.ts = TsValue::kOld;
        break;
      case 2: {  // another SYN, in the window or not
        SegmentStep& s = Segment(c, TcpFlags::kSyn);
        s.seq_delta = Pick({0, 1, 100, 5000, 100000, 10000000, -100, -100000});
        SynOptions(s);
        break;
      }
      case 3:
      case 4: {  // an acknowledgment of what was not sent
        SegmentStep& s = Ack(c);
        s.ack_delta = Pick({-1, 1, -1000, 100, 1 << 24, -(1 << 24), 1 << 30});
        if (Chance(30)) s.ack_base = AckBase::kPrevious;
        if (Chance(20)) s.length = Pick<uint16_t>({1, 20});
        break;
      }
      case 5:
      case 6: {
        SegmentStep& s = Segment(c, TcpFlags::kRst);
        s.seq_delta = Pick({0, 0, 1, -1, 100, 20000, 70000, -20000, 1 << 28});
        if (much_[c] && s.seq_delta > 1000) s.seq_delta = 1 << 28;
        if (Chance(30)) s.flags |= TcpFlags::kAck, s.ack_base = AckBase::kNext;
        if (Chance(20)) Stamp(s);
        break;
      }
      case 7: {  // outside the window, or at its edges
        SegmentStep& s = Ack(c);
        s.seq_delta = Pick({-1, -2, 1, 100, 20000, 65535, 66000, 100000, 1 << 26, -100000});
        // Where the window ends then is a known difference ("window after data").
        if (much_[c] && s.seq_delta > 1000) s.seq_delta = 1 << 26;
        if (Chance(50)) s.length = Pick<uint16_t>({1, 10, 1000});
        much_[c] = much_[c] || s.length >= kMuchData;
        break;
      }
      case 8: {
        SegmentStep& s = Ack(c);
        s.ts = TsValue::kOld;
        break;
      }
      case 9: {
        SegmentStep& s = Ack(c);
        s.ts = TsValue::kNow;
        s.echo = Pick({TsEcho::kFirst, TsEcho::kZero, TsEcho::kBelow, TsEcho::kAbove});
        phases_[c] = Phase::kOpen;
        break;
      }
      case 10: {  // SYN and ACK
        SegmentStep& s = Segment(c, TcpFlags::kSyn | TcpFlags::kAck);
        s.seq_base = Pick({SeqBase::kIsn, SeqBase::kNext});
        s.ack_base = Pick({AckBase::kNext, AckBase::kIsn});
        s.ack_delta = Pick({0, 0, 1, 5000});
        break;
      }
      case 11: {
        SegmentStep& s = Segment(c, TcpFlags::kSyn | TcpFlags::kFin);
        s.seq_base = SeqBase::kIsn;
        break;
      }
      case 12: {  // neither SYN nor ACK nor RST
        SegmentStep& s =
            Segment(c, Pick<uint16_t>({0, TcpFlags::kFin, TcpFlags::kPsh, TcpFlags::kUrg}));
        if (Chance(50)) s.length = 5;
        break;
      }
      case 13: {
        if (schedule_.ipv6) break;
        Segment(c, TcpFlags::kSyn).seq_base = SeqBase::kIsn;
        SynOptions(schedule_.steps.back().segment);
        schedule_.steps.back().segment.to_broadcast = true;
        break;
      }
      case 14: {  // data before anything
        SegmentStep& s = Ack(c, TcpFlags::kPsh);
        s.length = 20;
        break;
      }
      default:
        NewSyn(c);
        break;
    }
  }

  void Open(uint32_t c) {
    switch (random_.Uniform(10)) {
      case 0:
      case 1:
      case 2: {
        SegmentStep& s = Ack(c, TcpFlags::kPsh);
        s.length = Pick<uint16_t>({1, 10, 100, 1000});
        much_[c] = much_[c] || s.length >= kMuchData;
        break;
      }
      case 3: {
        Ack(c, TcpFlags::kFin);
        phases_[c] = Phase::kClosing;
        break;
      }
      case 4: {
        Segment(c, TcpFlags::kRst);
        phases_[c] = Phase::kClosing;
        if (!Chance(40)) break;
        for (int i = 0; i < 3; ++i) schedule_.steps.emplace_back();  // accept
        OfConnection(c, StepKind::kRead);
        break;
      }
      case 5:
      case 6:
        OfConnection(
            c, Pick({StepKind::kRead, StepKind::kRead, StepKind::kShutdown, StepKind::kClose}));
        break;
      case 7:
        Ack(c);
        break;
      default:
        Odd(c);
        break;
    }
  }

  void OfConnection(uint32_t c, StepKind kind) {
    Step s;
    s.kind = kind;
    s.client = static_cast<uint8_t>(c);
    schedule_.steps.push_back(s);
    if (kind == StepKind::kClose && phases_[c] != Phase::kLeft) phases_[c] = Phase::kClosing;
  }

  void Call() {
    Step s;
    s.kind = StepKind::kAccept;
    if (Chance(Is("overflow") ? 70 : 85)) {
      schedule_.steps.push_back(s);
      return;
    }
    OfConnection(static_cast<uint32_t>(random_.Uniform(clients_)),
                 Pick({StepKind::kRead, StepKind::kRead, StepKind::kClose}));
  }

  // What the administrator or the application's start-up code does.
  void Admin() {
    Step s;
    if (Is("fast-open") && Chance(60)) return ChangeFastOpen();
    switch (random_.Uniform(8)) {
      case 0:
      case 1:
      case 2:
        s.kind = StepKind::kBacklog;
        s.backlog = Backlog();
        schedule_.steps.push_back(s);
        break;
      case 3:
        CloseListener();
        break;
      case 4:
        Sysctl("net.ipv4.tcp_syncookies", Pick({0, 1, 2}));
        break;
      case 5:
        Sysctl("net.ipv4.tcp_abort_on_overflow", Pick({0, 1}));
        break;
      case 6:
        Sysctl("net.ipv4.tcp_max_syn_backlog", Pick({4, 16, 128}));
        break;
      default:
        if (!Is("group")) Sysctl("net.core.somaxconn", Pick({1, 3, 4096}));
        break;
    }
  }

  // New keys, with the old one as backup or without, or other rules.
  void ChangeFastOpen() {
    if (Chance(30)) return Sysctl("net.ipv4.tcp_fastopen", Pick({0x2, 0x202, 0x402, 0}));
    NewKeys();
  }
  void NewKeys() {
    const std::string key = kFastOpenKeys[1];
    Sysctl(kFastOpenKeySysctl, Chance(70) ? absl::StrCat(key, ",", kFastOpenKeys[0]) : key);
  }

  void CloseListener() {
    Step s;
    s.kind = StepKind::kCloseListener;
    schedule_.steps.push_back(s);
    if (!Is("group") && Chance(50)) Listen();
  }

  // ---- Waits ----

  bool WaitUntilSafe(double at_least, double at_most) {
    const auto range = static_cast<uint64_t>(at_most - at_least) + 1;
    for (int i = 0; i < 100; ++i) {
      const double target = now_ms_ + at_least + static_cast<double>(random_.Uniform(range));
      if (!safe_times_.Contains(target)) continue;
      Step s;
      s.kind = StepKind::kWait;
      s.wait_ms = static_cast<uint32_t>(target - now_ms_);
      schedule_.steps.push_back(s);
      now_ms_ += s.wait_ms;
      since_wait_ms_ = 0;
      return true;
    }
    return false;
  }

  bool Wait() {
    const double left = profile_->most_ms - now_ms_;
    if (left < 160) return false;
    const double most = Is("old") ? 9000 : 3300;
    return WaitUntilSafe(150, std::min(left, most));
  }

  // ---- Plans ----

  // Requests one after another, far enough apart that the kernel's timers keep their order and no
  // step meets one; then time until each had three timeouts and more.
  void Pruning() {
    constexpr uint32_t kApartMs = 400;  // timeouts come in the middle between two
    const auto n = static_cast<uint32_t>(6 + random_.Uniform(6));
    for (uint32_t c = 0; c < n; ++c) {
      Syn(c);
      if (Chance(20)) Ack(c);
      Plain(kApartMs);
    }
    if (Chance(50)) Syn(clients_ - 1);
    Plain(7500);
    Syn(0);
  }
  void Plain(uint32_t ms) {
    Step s;
    s.kind = StepKind::kWait;
    s.wait_ms = ms;
    schedule_.steps.push_back(s);
    now_ms_ += ms;
    since_wait_ms_ = 0;
  }

  // Requests that live long, and what their connections may send at first.
  void Old() {
    Syn(0);
    if (Chance(50)) Syn(clients_ - 1);
    if (!(Chance(30) ? WaitUntilSafe(1150, 2800) : WaitUntilSafe(3300, 9000))) return;
    Ack(0).echo = Pick({TsEcho::kLast, TsEcho::kFirst});
    Write(2600);
  }

  // The connection that the last step made is accepted, sends, and is reset.
  void Write(uint32_t bytes) {
    schedule_.steps.back().segment.window = 65535;  // Linux's segments are half a window at most
    schedule_.steps.emplace_back();                 // accept
    Step write;
    write.kind = StepKind::kWrite;
    write.bytes = bytes;
    schedule_.steps.push_back(write);
    Segment(0, TcpFlags::kRst);
    phases_[0] = Phase::kClosing;
  }

  // Clients that ask for a Fast Open cookie and leave; they use it later.
  void Acquaint() {
    for (uint32_t c = 0; c < clients_; ++c) {
      Syn(c);
      schedule_.steps.back().segment.fast_open = FastOpen::kRequest;
      schedule_.steps.back().segment.length = 0;
      Segment(c, TcpFlags::kRst);
      phases_[c] = Chance(80) ? Phase::kClosing : Phase::kIdle;
    }
    if (Chance(35))
      FillFastOpen();
    else if (Chance(65))
      NewKeys();
  }
  // One after another with its cookie, and none acknowledges: as many as may be pending, and more.
  void FillFastOpen() {
    for (uint32_t c = 0; c < clients_; ++c) {
      Syn(c);
      schedule_.steps.back().segment.fast_open = FastOpen::kGiven;
    }
  }

  // What takes a minute or two: the later SYN-ACKs and the end of requests, of TIME-WAIT, of a
  // reset Fast Open child's place, of cookies.
  void Long() {
    constexpr uint32_t kEach = 3;  // of what ends after a minute or two
    constexpr uint32_t kRequests = 6, kIdle = kRequests, kClosed = kIdle + kEach,
                       kHalfClosed = kClosed + kEach, kFast = kHalfClosed + kEach,
                       kCookies = kFast + kEach;
    static_assert(kCookies + 3 * kEach == kMaxClients);
    const auto each = [](uint32_t first, auto&& act) {
      for (uint32_t c = first; c < first + kEach; ++c) act(c);
    };
    for (uint32_t c = 0; c < kRequests; ++c) Syn(c);
    each(kIdle, [&](uint32_t c) { Connect(c); });
    for (uint32_t c = kClosed; c < kFast; ++c) {
      Connect(c);
      OfConnection(c, StepKind::kClose);
      PlainAck(c);
    }
    each(kClosed, [&](uint32_t c) { PlainAck(c).flags |= TcpFlags::kFin; });
    each(kFast, [&](uint32_t c) { LeaveFastOpen(c); });
    WithCookie(kFast);  // no place is free
    Segment(kFast, TcpFlags::kRst);
    Sysctl("net.ipv4.tcp_syncookies", 2);
    for (uint32_t c = kCookies; c < clients_; ++c) Syn(c);
    Sysctl("net.ipv4.tcp_syncookies", 1);
    const double begin = now_ms_;
    const auto at = [&](double from, double to) {
      WaitUntilSafe(begin + from - now_ms_, begin + to - now_ms_);
    };
    at(16600, 30000);
    PlainAck(0);
    at(33500, 54000);
    PlainAck(1);
    at(56500, 58500);
    each(kCookies, [&](uint32_t c) { PlainAck(c); });
    at(70000, 110000);
    each(kIdle, [&](uint32_t c) { Segment(c, TcpFlags::kRst).ts = TsValue::kOld; });
    each(kFast, [&](uint32_t c) { WithCookie(c); });
    each(kFast, [&](uint32_t c) { PlainAck(c); });
    NewSyn(Pick({kClosed, kHalfClosed}));
    at(123000, 128000);
    each(kCookies + kEach, [&](uint32_t c) { PlainAck(c); });
    Sysctl("net.ipv4.tcp_syncookies", 2);
    NewSyn(2);
    each(kCookies + 2 * kEach, [&](uint32_t c) { PlainAck(c); });
    PlainAck(2);
  }
  // An accepted connection, with timestamps if the server has them.
  void Connect(uint32_t c) {
    Syn(c);
    SegmentStep& s = schedule_.steps.back().segment;
    s.fast_open = FastOpen::kNone;
    s.ts = TsValue::kNow;
    stamps_[c] = true;
    PlainAck(c);
    schedule_.steps.emplace_back();  // accept
    phases_[c] = Phase::kOpen;
  }
  // Asks for a cookie, shows it, and resets the child that has come of it.
  void LeaveFastOpen(uint32_t c) {
    Syn(c);
    schedule_.steps.back().segment.fast_open = FastOpen::kRequest;
    Segment(c, TcpFlags::kRst);
    WithCookie(c);
    schedule_.steps.emplace_back();  // accept: one that nobody has accepted leaves its place
    Segment(c, TcpFlags::kRst);
  }
  void WithCookie(uint32_t c) {
    NewSyn(c);
    schedule_.steps.back().segment.fast_open = FastOpen::kGiven;
  }

  // A listener joins the group, and the first one, which has requests and connections, leaves it:
  // whichever key chooses, they have one place to go to. Later two share what comes.
  void Group() {
    for (uint32_t c = 0; c < clients_; ++c) {
      Syn(c);
      if (!Chance(50)) continue;
      PlainAck(c);
      phases_[c] = Phase::kOpen;
    }
    Listen();
    if (Chance(20)) schedule_.steps.emplace_back();  // accept
    Step close;
    close.kind = StepKind::kCloseListener;
    schedule_.steps.push_back(close);
    if (Chance(50)) Wait();
    for (uint32_t c = 0; c < clients_; ++c) {
      if (phases_[c] == Phase::kOpen) {
        if (Chance(60)) Open(c);
        continue;
      }
      // What would end a request that waits for its heir is a known difference.
      if (Chance(20)) Segment(c, TcpFlags::kSyn).seq_base = SeqBase::kIsn;
      if (Chance(20)) Ack(c).ack_delta = Pick({-1, 1, -1000, 1 << 24});
      phases_[c] = Chance(70) ? Phase::kOpen : Phase::kLeft;
      if (phases_[c] == Phase::kOpen) PlainAck(c).length = Pick<uint16_t>({0, 0, 10});
    }
    Step accept_all;
    accept_all.kind = StepKind::kAcceptAll;
    schedule_.steps.push_back(accept_all);
    if (Chance(50)) Share(accept_all);
    if (!Chance(40)) return;
    // The last one leaves, with somebody in its queue.
    Other(clients_ + 4);
    PlainAck(clients_ + 4);
    CloseListener();
  }

  SegmentStep& PlainAck(uint32_t c) {
    SegmentStep& s = Ack(c);
    s.ts = stamps_[c] ? TsValue::kNow : TsValue::kNone;
    s.echo = TsEcho::kLast;
    return s;
  }

  // New connections come to two listeners, and all are accepted.
  void Share(const Step& accept_all) {
    Sysctl("net.ipv4.tcp_syncookies", 1);
    Sysctl("net.core.somaxconn", 4096);
    Step listen;
    listen.backlog = 128;
    listen.kind = StepKind::kBacklog;
    schedule_.steps.push_back(listen);
    listen.kind = StepKind::kListen;
    listen.reuseport = true;
    schedule_.steps.push_back(listen);
    for (uint32_t c = clients_; c < clients_ + 4; ++c) {
      Other(c);
      PlainAck(c);
    }
    schedule_.steps.push_back(accept_all);
    schedule_.steps.push_back(listen);
    schedule_.steps.back().kind = StepKind::kCloseListener;
  }

  // What a cookie carried shows in what its connection sends.
  void Cookie() {
    Syn(0);
    SegmentStep& s = Ack(0);
    s.ts = stamps_[0] ? TsValue::kNow : TsValue::kNone;
    s.echo = Pick({TsEcho::kLast, TsEcho::kFirst});
    Write(Pick({1000u, 3000u}));
  }

  // A request until TCP_SYNCNT gives it up, or TCP_DEFER_ACCEPT defers no more, and then its ACK.
  void GrowOld() {
    Syn(0);
    if (WaitUntilSafe(3300, 5500) && Is("defer")) PlainAck(0);
  }

  // A connection that the server closes first, all the way to TIME-WAIT.
  void TimeWait() {
    Syn(0);
    Ack(0).ts = stamps_[0] ? TsValue::kNow : TsValue::kNone;
    Step s;
    s.kind = StepKind::kAccept;
    schedule_.steps.push_back(s);
    OfConnection(0, StepKind::kClose);
    if (Chance(85)) Ack(0);
    Ack(0, TcpFlags::kFin);
    if (Chance(30)) Ack(0);
    phases_[0] = Phase::kClosing;
    switch (random_.Uniform(9)) {
      case 0:
      case 1:
        Segment(0, TcpFlags::kRst);
        break;
      case 2:
        Ack(0).ts = TsValue::kOld;
        break;
      case 3:
        Sysctl("net.ipv4.tcp_syncookies", Pick({0, 2}));
        NewSyn(0);
        break;
      case 4: {  // a SYN from long ago
        SegmentStep& old = Segment(0, TcpFlags::kSyn);
        old.seq_delta = Pick({-1, -1000});
        SynOptions(old);
        old.ts = Pick({TsValue::kNone, TsValue::kOld});
        break;
      }
      case 6:
        CloseListener();
        NewSyn(0);
        break;
      case 5: {  // one request more and the last quarter begins
        Sysctl("net.ipv4.tcp_syncookies", 0);
        Sysctl("net.ipv4.tcp_max_syn_backlog", 4);
        for (uint32_t c = clients_; c < clients_ + 4; ++c) Other(c);
        NewSyn(0);
        break;
      }
      default:
        break;
    }
  }

  // A request of a client that does nothing else.
  void Other(uint32_t c) {
    phases_.resize(std::max<size_t>(phases_.size(), c + 1));
    stamps_.resize(phases_.size());
    much_.resize(phases_.size());
    Syn(c);
  }

  // Clients in all states when the listener goes.
  void Close() {
    for (uint32_t c = 0; c < clients_; ++c) {
      Syn(c);
      if (!Chance(50)) continue;
      Ack(c);
      phases_[c] = Phase::kOpen;
    }
    if (Chance(30)) schedule_.steps.emplace_back();  // accept
    CloseListener();
    if (Chance(50)) Wait();
  }

  SeededRandom random_;
  Schedule schedule_;
  const Profile* profile_;
  uint32_t clients_ = 1;
  uint8_t listen_syncnt_ = 0;
  bool scaled_ = false;  // every SYN offers window scaling and timestamps
  std::vector<Phase> phases_;
  std::vector<bool> stamps_;
  std::vector<bool> much_;  // sent a segment of kMuchData bytes or more
  double now_ms_ = 0;
  double since_wait_ms_ = 0;  // what other steps took since the last wait
  SafeTimes safe_times_;
};

}  // namespace

Schedule Generate(uint64_t seed) { return Generator(seed).Make(); }

}  // namespace usher::differential
