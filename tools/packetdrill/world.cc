#include "tools/packetdrill/world.h"

#include <algorithm>
#include <chrono>

#include "stack/base/check.h"
#include "stack/wire/ip_protocol.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/ipv6.h"
#include "stack/wire/tcp.h"
#include "stack/wire/tcp_options.h"

namespace usher::packetdrill {
namespace {

// The clock's zero as gettimeofday tells it: some day in 2020, a whole second.
constexpr int64_t kEpochUs = 1'600'000'000'000'000;
constexpr uint32_t kConnections = 1024;
constexpr uint32_t kRequests = 4096;
constexpr uint32_t kTimeWaits = 1024;
constexpr uint32_t kBuffers = 4096;
// A woken thread that has not asked for the time after so long will not.
constexpr std::chrono::milliseconds kReturnPatience(200);
// A call that has blocked for so long without a word from the driver moves the clock itself: the
// driver waits for this call.
constexpr std::chrono::milliseconds kDriverPatience(500);

// Of the invented link: nobody in a script has these.
constexpr char kOurLinkAddress[] = "169.254.77.2/30";
constexpr char kGateway[] = "169.254.77.1";
constexpr char kOurLinkAddress6[] = "fe80::2/64";
constexpr char kGateway6[] = "fe80::1";
// Ours until a script names others.
constexpr char kDefaultAddress[] = "192.168.0.1";
constexpr char kDefaultAddress6[] = "fd3d:a0b:17d6::1";

ShardOptions OptionsFrom(const Flags& flags) {
  ShardOptions o;
  o.max_connections = kConnections;
  o.sysctls.tcp_max_tw_buckets = kTimeWaits;
  ResolveSysctls(o.sysctls, kConnections);
  o.passive_open.max_requests = kRequests;
  o.passive_open.default_model = flags.listen_model;
  return o;
}

InterfaceConfig LinkFrom(const Flags& flags) {
  InterfaceConfig c;
  c.addresses = {*InterfaceAddress::Parse(kOurLinkAddress),
                 *InterfaceAddress::Parse(kOurLinkAddress6)};
  c.gateway = IpAddress::Parse(kGateway);
  c.gateway6 = IpAddress::Parse(kGateway6);
  c.mtu = flags.mtu;
  c.announce = false;
  c.dad_transmits = 0;
  c.accept_ra = false;
  return c;
}

}  // namespace

World::World(const Flags& flags)
    : flags_(flags), pool_(kBuffers), port_(pool_, flags.mtu, flags.tso), random_(flags.seed) {
  const ShardInterface interface { &port_, LinkFrom(flags) };
  auto shard = Shard::Create(OptionsFrom(flags), {&interface, 1}, random_);
  USHER_CHECK(shard.ok());
  shard_ = *std::move(shard);
  shard_->set_events(this);
  shard_->Start(now_);
  Interface& link = shard_->interface(0);
  link.SetPermanentNeighbour(now_, *IpAddress::Parse(kGateway), IpPort::kPeerMac);
  link.SetPermanentNeighbour(now_, *IpAddress::Parse(kGateway6), IpPort::kPeerMac);
  BecomeDriver();
  Pump();
}

World::~World() = default;

bool World::Has(const FourTuple& connection) {
  bool found = false;
  shard_->ForEachConnection([&](const TcpConnection& c) {
    found |= c.state() != TcpState::kClosed && c.tuple() == connection;
  });
  const TimeWaitTable& time_wait = shard_->time_wait();
  time_wait.ForEach([&](uint32_t i) { found |= time_wait.TupleOf(i) == connection; });
  return found;
}

void World::AddAddress(const IpAddress& address) {
  if (address.is_unspecified() || address.is_multicast() || address.is_broadcast()) return;
  if (std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end()) return;
  addresses_.push_back(address);
  shard_->interface(0).AddHostAddress(address);
}

IpAddress World::SourceFor(const IpAddress& remote) {
  for (const IpAddress& a : addresses_)
    if (a.is_v4() == remote.is_v4()) return a;
  const IpAddress chosen = *IpAddress::Parse(remote.is_v4() ? kDefaultAddress : kDefaultAddress6);
  AddAddress(chosen);
  return chosen;
}

void World::OnAcceptable(Handle, void* owner) {
  static_cast<Owner*>(owner)->OnEvent(kEventReadable);
}

void World::OnConnectionEvents(Handle connection, uint8_t events, void*) {
  const TcpConnection* c = shard_->Find(connection);
  if (c != nullptr && c->user_data != nullptr) static_cast<Owner*>(c->user_data)->OnEvent(events);
}

// ---- Time ----

void World::Pump() {
  port_.set_now(now_);
  // What a pass did may make more due at once; a bound, so that no fault turns into a hang.
  for (int pass = 0; pass < 1000; ++pass)
    if (shard_->Poll(now_) == 0 && shard_->NextDeadline() > now_) break;
  for (Owner* o : watchers_) o->OnPass();
  WakeReady();
}

Instant World::NextEvent() const {
  Instant next = shard_->NextDeadline();
  for (const Waiter* w : waiters_)
    if (!w->woken) next = std::min(next, w->deadline);
  return next;
}

void World::AdvanceTo(Instant when) {
  now_ = std::max(when, now_ + Duration::Nanos(1));
  Pump();
}

void World::WakeReady() {
  for (Waiter* w : waiters_) {
    if (w->woken || (w->deadline > now_ && !(*w->ready)())) continue;
    w->woken = true;
    woken_.push_back(w->thread);
    w->condition.notify_one();
  }
}

void World::Forget(std::thread::id thread) {
  if (std::erase(woken_, thread) != 0 && woken_.empty()) returned_.notify_all();
}

void World::LetWokenReturn(Lock& lock) {
  if (std::this_thread::get_id() != driver_ || woken_.empty()) return;
  returned_.wait_for(lock, kReturnPatience, [this] { return woken_.empty(); });
  woken_.clear();
}

bool World::Block(Lock& lock, const std::function<bool()>& ready, Instant deadline) {
  const std::thread::id self = std::this_thread::get_id();
  Forget(self);  // it goes on waiting instead of returning
  if (self == driver_) {
    while (!ready() && now_ < deadline) {
      const Instant next = std::min(NextEvent(), deadline);
      if (next == Instant::Never()) return false;
      AdvanceTo(next);
      LetWokenReturn(lock);
    }
    return ready();
  }
  Waiter waiter{&ready, deadline, self, {}, false};
  struct Listed {
    std::list<Waiter*>& list;
    std::list<Waiter*>::iterator at;
    ~Listed() { list.erase(at); }
  } listed{waiters_, waiters_.insert(waiters_.end(), &waiter)};
  while (!ready() && now_ < deadline) {
    waiter.woken = false;
    Forget(self);
    const uint64_t calls = driver_calls_;
    const auto status = waiter.condition.wait_for(lock, kDriverPatience);
    if (status == std::cv_status::timeout && !waiter.woken && calls == driver_calls_)
      AdvanceIfStalled();
  }
  return ready();
}

void World::AdvanceIfStalled() {
  const Instant next = NextEvent();
  if (next != Instant::Never()) AdvanceTo(next);
}

int64_t World::TimeOfDayUs() {
  Forget(std::this_thread::get_id());
  // Creeps, so that a loop that waits for a time ends.
  now_ = now_ + Duration::Micros(1);
  return kEpochUs + now_.us();
}

void World::Sleep(Lock& lock, Duration time) {
  BecomeDriver();
  ++driver_calls_;
  LetWokenReturn(lock);
  const Instant until = now_ + time;
  for (Instant next = NextEvent(); next <= until; next = NextEvent()) {
    AdvanceTo(next);
    LetWokenReturn(lock);
  }
  if (now_ < until) AdvanceTo(until);
  LetWokenReturn(lock);
}

// ---- The link ----

void World::NoteFastOpen(const IpAddress& from, std::span<const uint8_t> tcp) {
  if (tcp.size() < TcpHeader::kSize) return;
  const size_t header = size_t{tcp[12]} >> 4 << 2;
  constexpr uint8_t kSynAck = TcpFlags::kSyn | TcpFlags::kAck;
  if ((tcp[13] & kSynAck) != kSynAck || header < TcpHeader::kSize || header > tcp.size()) return;
  const auto options =
      TcpOptions::Parse(tcp.subspan(TcpHeader::kSize, header - TcpHeader::kSize), true);
  if (!options.fast_open || options.fast_open->length == 0) return;
  fast_open_[from] = {.cookie = *options.fast_open, .mss = options.mss.value_or(0)};
}

bool World::Send(Lock& lock, std::span<const uint8_t> packet) {
  BecomeDriver();
  ++driver_calls_;
  if (const auto v4 = Ipv4View::Parse(packet)) {
    AddAddress(v4->dst());
    if (v4->protocol() == IpProtocol::kTcp) NoteFastOpen(v4->src(), v4->payload());
  } else if (const auto v6 = Ipv6View::Parse(packet)) {
    AddAddress(v6->dst());
    if (v6->next_header() == IpProtocol::kTcp) NoteFastOpen(v6->src(), v6->payload());
  }
  const bool taken = port_.Deliver(packet);
  Pump();
  LetWokenReturn(lock);
  return taken;
}

size_t World::Receive(Lock& lock, std::span<uint8_t> packet, long long* time_us) {
  BecomeDriver();
  ++driver_calls_;
  LetWokenReturn(lock);
  if (port_.sent().empty()) {
    const Instant next = NextEvent();
    if (flags_.still) return 0;
    if (next == Instant::Never()) {  // nothing will come: be patient without spinning
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      lock.lock();
      return 0;
    }
    AdvanceTo(next);
    LetWokenReturn(lock);
    if (port_.sent().empty()) return 0;
  }
  const IpPort::Sent& sent = port_.sent().front();
  const size_t size = std::min(packet.size(), sent.packet.size());
  std::copy_n(sent.packet.begin(), size, packet.begin());
  *time_us = kEpochUs + sent.at.us();
  port_.sent().pop_front();
  return size;
}

}  // namespace usher::packetdrill
