#include "tests/script/player.h"

#include <sys/syscall.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>

namespace usher::script {
namespace {

constexpr uint8_t kSyn = 0x02, kAck = 0x10;
constexpr uint32_t kRemoteIss = 0x10000;
constexpr uint16_t kRemotePort = 50000;
constexpr int64_t kSpinUs = 100;  // the last bit of a wait, by looking at the clock
constexpr int64_t kMostLateUs = 1'000'000;
constexpr int kMostTries = 8000;
constexpr int kLooks = 4;
constexpr std::chrono::microseconds kBetweenLooks(500);

// Whether a thread of ours sleeps, as packetdrill finds out whether a call has blocked.
bool IsSleeping(int thread_id) {
  std::ifstream stat("/proc/self/task/" + std::to_string(thread_id) + "/stat");
  std::string text;
  std::getline(stat, text);
  const size_t name_end = text.rfind(')');
  return name_end != std::string::npos && text.size() > name_end + 2 && text[name_end + 2] == 'S';
}

}  // namespace

const char* ToString(FamilyMode mode) {
  switch (mode) {
    case FamilyMode::kIpv4:
      return "ipv4";
    case FamilyMode::kMapped:
      return "ipv4-mapped-ipv6";
    case FamilyMode::kIpv6:
      return "ipv6";
  }
  return "?";
}

Player::Player(packetdrill_interface& api, FamilyMode mode, bool verbose)
    : api_(api), calls_(api, mode), verbose_(verbose), thread_([this] { CallThread(); }) {}

Player::~Player() {
  {
    std::unique_lock lock(mutex_);
    // A call that still blocks is given time to come to its end.
    for (int i = 0; i < 1000 && stage_ == Stage::kRunning; ++i) {
      lock.unlock();
      api_.usleep(api_.userdata, 1'000'000);
      lock.lock();
    }
    if (stage_ == Stage::kRunning) {
      thread_.detach();
      std::fputs("a call blocks for ever\n", stderr);
      std::_Exit(2);
    }
    stage_ = Stage::kQuit;
  }
  changed_.notify_all();
  thread_.join();
}

int64_t Player::NowUs() {
  timeval tv{};
  api_.gettimeofday(api_.userdata, &tv, nullptr);
  return tv.tv_sec * 1'000'000 + tv.tv_usec;
}

void Player::WaitUntil(int64_t script_us) {
  for (;;) {
    const int64_t wait = start_us_ + script_us - NowUs();
    if (wait <= 0) return;
    if (wait > kSpinUs) api_.usleep(api_.userdata, static_cast<useconds_t>(wait - kSpinUs));
  }
}

Flow& Player::FlowOf(int connection) {
  const auto it = flows_.find(connection);
  if (it != flows_.end()) return it->second;
  Flow& flow = flows_[connection];
  flow.local = calls_.local();
  flow.remote = calls_.remote();
  flow.local_port = calls_.bound_port();
  flow.remote_port = static_cast<uint16_t>(kRemotePort + connection);
  return flow;
}

std::string Player::Play(const Script& script) {
  start_us_ = NowUs();
  for (const Event& e : script.events) {
    std::string wrong = PlayEvent(e, script);
    if (!wrong.empty()) return "line " + std::to_string(e.line) + ": " + wrong;
  }
  return JoinBlocking(script);
}

std::string Player::PlayEvent(const Event& e, const Script& script) {
  switch (e.when.kind) {
    case When::Kind::kAt:
      due_us_ = e.when.time_us;
      break;
    case When::Kind::kAfter:
      due_us_ = last_due_us_ + e.when.time_us;
      break;
    case When::Kind::kAny:
      due_us_ = last_due_us_;
      break;
  }
  last_due_us_ = due_us_;
  if (e.kind == Event::Kind::kPacket && !e.packet.inbound) return Expect(e, script);
  WaitUntil(due_us_);
  switch (e.kind) {
    case Event::Kind::kPacket:
      return Inject(e.packet);
    case Event::Kind::kAssert: {
      std::string error;
      Check(e.code, calls_.TcpInfo(), &error);
      return error;
    }
    case Event::Kind::kCall:
      break;
  }
  if (e.when.end_us) {
    std::string wrong = JoinBlocking(script);
    return wrong.empty() ? StartBlocking(e) : wrong;
  }
  return calls_.Make(e.call);
}

std::string Player::Inject(const Packet& p) {
  Flow& flow = FlowOf(p.connection);
  if (!p.icmp && (p.flags & (kSyn | kAck)) == kSyn && !flow.local_iss && !flow.remote_iss)
    flow.local_port = calls_.bound_port();
  if (!p.icmp && (p.flags & kSyn) != 0 && !flow.remote_iss) flow.remote_iss = kRemoteIss - p.seq;
  const std::vector<uint8_t> bytes = Encode(p, flow);
  if (bytes.empty()) return "no such ICMP message";
  if (api_.netdev_send(api_.userdata, bytes.data(), bytes.size()) != 0) return "netdev_send failed";
  return {};
}

std::string Player::CheckTime(const char* what, int64_t due_us, int64_t latest_us, int64_t at_us,
                              const Script& script) const {
  const int64_t at = at_us - start_us_;
  if (at >= due_us - script.tolerance_us && at <= latest_us + script.tolerance_us) return {};
  return std::string(what) + " at " + std::to_string(static_cast<double>(at) / 1e6) + ", not at " +
         std::to_string(static_cast<double>(due_us) / 1e6);
}

std::string Player::Expect(const Event& e, const Script& script) {
  const Packet& p = e.packet;
  std::vector<uint8_t> buffer(70'000);
  Segment got;
  long long at_us = 0;
  for (int tries = 0;; ++tries) {
    size_t size = buffer.size();
    if (api_.netdev_receive(api_.userdata, buffer.data(), &size, &at_us) == 0) {
      std::string error;
      if (Decode({buffer.data(), size}, &got, &error)) break;
      if (!error.empty()) return error;
    }
    const bool bounded = e.when.kind != When::Kind::kAny;
    if (tries == kMostTries ||
        (bounded && NowUs() - start_us_ > e.when.latest_us.value_or(0) + due_us_ + kMostLateUs))
      return "no packet came";
  }
  Flow& flow = FlowOf(p.connection);
  if ((p.flags & (kSyn | kAck)) == kSyn && calls_.connecting()) {  // ours: this is its name
    flow.local = got.source;
    flow.local_port = got.source_port;
    flow.remote_port = got.destination_port;
    calls_.set_connected();
  }
  if (verbose_)
    std::fprintf(stderr, "%12.6f > %s\n", static_cast<double>(at_us - start_us_) / 1e6,
                 ToText(got, flow).c_str());
  std::string wrong = Compare(p, got, flow, push_matters_);
  if (!(got.destination == flow.remote) || got.destination_port != flow.remote_port ||
      got.source_port != flow.local_port)
    wrong += "of another connection; ";
  if (wrong.empty() && e.when.kind != When::Kind::kAny) {
    const int64_t latest = e.when.kind == When::Kind::kAfter && e.when.latest_us
                               ? due_us_ - e.when.time_us + *e.when.latest_us
                               : e.when.latest_us.value_or(due_us_);
    wrong = CheckTime("sent", due_us_, latest, at_us, script);
  }
  if (!wrong.empty())
    return wrong + " (got " + ToText(got, flow) + " at " +
           std::to_string(static_cast<double>(at_us - start_us_) / 1e6) + ")";
  // A time that was left open, or was a span, is now known: what follows counts from it.
  if (e.when.kind == When::Kind::kAny || e.when.latest_us)
    last_due_us_ = std::max(last_due_us_, static_cast<int64_t>(at_us) - start_us_);
  return {};
}

// ---- Recording ----

void Player::Note(int64_t at_us, const std::string& text) {
  notes_.emplace_back(at_us - start_us_, text);
}

void Player::RecordPacket(std::span<const uint8_t> bytes, long long at_us) {
  Segment got;
  std::string error;
  if (!Decode(bytes, &got, &error)) return;
  Flow& flow = FlowOf(1);
  if ((got.flags & (kSyn | kAck)) == kSyn && calls_.connecting()) {
    flow.local = got.source;
    flow.local_port = got.source_port;
    flow.remote_port = got.destination_port;
    calls_.set_connected();
  }
  Flow* of = &flow;
  for (auto& [number, other] : flows_)
    if (got.destination_port == other.remote_port) of = &other;
  // What the script expects here tells where sequence numbers and timestamps begin.
  if (next_expected_ < expected_.size()) Compare(*expected_[next_expected_++], got, *of, false);
  const std::string extra = (got.tos != 0 ? " tos " + std::to_string(got.tos) : "") +
                            (got.ttl != 64 ? " ttl " + std::to_string(got.ttl) : "") +
                            (got.urgent != 0 ? " urgent " + std::to_string(got.urgent) : "");
  Note(at_us, "> " + ToText(got, *of) + extra);
}

// Reads what is sent until then (where time is virtual, reading does not move it: still=1).
void Player::ReadUntil(int64_t script_us) {
  std::vector<uint8_t> buffer(70'000);
  if (!live_) WaitUntil(script_us);
  for (bool empty = false; !empty || NowUs() < start_us_ + script_us;) {
    size_t size = buffer.size();
    long long at_us = 0;
    empty = api_.netdev_receive(api_.userdata, buffer.data(), &size, &at_us) != 0;
    if (!empty) RecordPacket({buffer.data(), size}, at_us);
  }
}

void Player::Record(const Script& script, bool live) {
  constexpr int64_t kAfterUs = 500'000;
  live_ = live;
  for (const Event& e : script.events)
    if (e.kind == Event::Kind::kPacket && !e.packet.inbound) expected_.push_back(&e.packet);
  start_us_ = NowUs();
  for (const Event& e : script.events) {
    if (e.when.kind == When::Kind::kAt) due_us_ = e.when.time_us;
    if (e.when.kind == When::Kind::kAfter) due_us_ = last_due_us_ + e.when.time_us;
    last_due_us_ = due_us_;
    const std::string line = "line " + std::to_string(e.line) + ": ";
    if (e.kind == Event::Kind::kPacket && !e.packet.inbound) {
      continue;
    }
    ReadUntil(due_us_);
    if (e.kind == Event::Kind::kPacket) {
      Note(start_us_ + due_us_, line + "<");
      Inject(e.packet);
      if (live_) ReadUntil(due_us_ + 1'000);
    } else if (e.kind == Event::Kind::kAssert) {
      std::string error;
      Check(e.code, calls_.TcpInfo(), &error);
      Note(start_us_ + due_us_, line + error);
    } else if (e.when.end_us) {
      JoinBlocking(script);
      StartBlocking(e);
    } else {
      Note(start_us_ + due_us_, line + calls_.Make(e.call));
    }
  }
  ReadUntil(due_us_ + kAfterUs);
  for (const auto& [at_us, text] : notes_)
    std::printf("%10.3f %s\n", static_cast<double>(at_us) / 1e6, text.c_str());
}

// ---- Calls that block ----

std::string Player::StartBlocking(const Event& e) {
  const int64_t end = e.when.kind == When::Kind::kAfter ? due_us_ - e.when.time_us + *e.when.end_us
                                                        : *e.when.end_us;
  std::unique_lock lock(mutex_);
  blocking_ = {&e, end, 0, {}};
  stage_ = Stage::kQueued;
  changed_.notify_all();
  changed_.wait(lock, [this] { return stage_ != Stage::kQueued; });
  AwaitBlocked(lock, kLooks);  // nothing may happen before
  return {};
}

// Until the call has blocked, or is done. On its way its thread may sleep for a moment too, on a
// lock of ours or of a sanitizer's allocator: it is blocked if `looks` in a row find it asleep.
void Player::AwaitBlocked(std::unique_lock<std::mutex>& lock, int looks) {
  for (int asleep = 0; stage_ == Stage::kRunning && asleep < looks;) {
    const int id = thread_id_;
    lock.unlock();
    asleep = IsSleeping(id) ? asleep + 1 : 0;
    std::this_thread::sleep_for(kBetweenLooks);
    lock.lock();
  }
}

std::string Player::JoinBlocking(const Script& script) {
  std::unique_lock lock(mutex_);
  if (stage_ == Stage::kIdle) return {};
  for (int i = 0; stage_ == Stage::kRunning && i < 100'000; ++i) {
    // Time must not run while the call is only on its way back.
    AwaitBlocked(lock, 1);
    if (stage_ != Stage::kRunning) break;
    lock.unlock();
    api_.usleep(api_.userdata, 1000);
    lock.lock();
  }
  if (stage_ != Stage::kDone) return "a call does not return";
  stage_ = Stage::kIdle;
  std::string wrong = blocking_.wrong;
  if (wrong.empty())
    wrong = CheckTime("returned", blocking_.due_us, blocking_.due_us, blocking_.ended_us, script);
  if (wrong.empty()) return {};
  return "line " + std::to_string(blocking_.event->line) + ": " + wrong;
}

void Player::CallThread() {
  std::unique_lock lock(mutex_);
  thread_id_ = static_cast<int>(syscall(SYS_gettid));
  for (;;) {
    changed_.wait(lock, [this] { return stage_ == Stage::kQueued || stage_ == Stage::kQuit; });
    if (stage_ == Stage::kQuit) return;
    stage_ = Stage::kRunning;
    changed_.notify_all();
    const Call& call = blocking_.event->call;
    lock.unlock();
    std::string wrong = calls_.Make(call);
    const int64_t ended = NowUs();
    lock.lock();
    blocking_.wrong = std::move(wrong);
    blocking_.ended_us = ended;
    stage_ = Stage::kDone;
    changed_.notify_all();
  }
}

}  // namespace usher::script
