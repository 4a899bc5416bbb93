// A PassiveOpen over a memory port in virtual time, with the least demux that can feed it, for IPv4
// and IPv6.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "stack/ip/egress.h"
#include "stack/ip/interface.h"
#include "stack/listen/passive_open.h"
#include "stack/port/memory_port.h"
#include "stack/wire/arp.h"
#include "tests/support/family.h"
#include "tests/support/segment_builder.h"

namespace usher::test {

class PassiveOpenTestBase : public ::testing::Test {
 protected:
  static constexpr uint16_t kPort = 80;
  static constexpr uint32_t kConnections = 4096;

  explicit PassiveOpenTestBase(Family family)
      : v6_(family == Family::kIpv6),
        local_(Ip(v6_ ? "2001:2::2" : "198.18.0.2")),
        other_local_(Ip(v6_ ? "2001:2::3" : "198.18.0.3")),
        any_(v6_ ? IpAddress() : IpAddress::V4(0)) {
    sysctls_.tcp_max_syn_backlog = 8192;
    sysctls_.tcp_rmem = {4096, 131072, 6291456};
    sysctls_.tcp_max_tw_buckets = 1024;
    sysctls_.tcp_max_orphans = 1024;
    sysctls_.tcp_mem = {1 << 20, 1 << 20, 1 << 20};
    passive_config_.max_requests = 4096;
    // Not at the beginning of a cookie period, nor at a multiple of 64 ms.
    now_ = Instant::FromNanos(1'000'010'000'000);
  }

  void SetUp() override { Make(); }

  // Makes the stack from sysctls_ and passive_config_; again, if they were changed.
  void Make() {
    Dismantle();
    const InterfaceConfig config{.addresses = {{Ip("198.18.0.2"), 15},
                                               {Ip("198.18.0.3"), 15},
                                               {Ip("2001:2::2"), 48},
                                               {Ip("2001:2::3"), 48}}};
    auto made = Interface::Create(0, port_, config, NetworkLimits(), counters_, random_);
    ASSERT_TRUE(made.ok()) << made.status();
    interface_ = *std::move(made);
    egress_ = std::make_unique<Egress>(counters_);
    egress_->AddInterface(interface_.get());
    interface_->Start(now_);
    memory_ = std::make_unique<TcpMemory>(sysctls_.tcp_mem, counters_);
    context_ = std::make_unique<TcpContext>(TcpContext{.now = now_,
                                                       .egress = *egress_,
                                                       .counters = counters_,
                                                       .sysctls = sysctls_,
                                                       .recovery_settings = {},
                                                       .isn = isn_,
                                                       .memory = *memory_,
                                                       .send_blocks = send_blocks_,
                                                       .sent_segments = sent_segments_,
                                                       .reassembly = reassembly_,
                                                       .md5_keys = md5_keys_,
                                                       .timers = timers_,
                                                       .events = events_,
                                                       .output = output_});
    connections_ = std::make_unique<ObjectPool<TcpConnection>>(connection_slots_);
    passive_ = std::make_unique<PassiveOpen>(*context_, *connections_, passive_config_, random_);
    for (uint32_t i = 0; i < kHosts; ++i)
      interface_->SetPermanentNeighbour(now_, Host(i, v6_), kPeerMac);
    for (uint32_t i = 0; i < 4; ++i)  // and some of the other family
      interface_->SetPermanentNeighbour(now_, Host(i, !v6_), kPeerMac);
    Pass(Duration::Seconds(3));  // duplicate address detection
    DropSent();
  }

  void TearDown() override {
    Dismantle();
    EXPECT_EQ(pool_.available(), pool_.capacity()) << "packet buffers leaked";
  }

  // ---- The peer ----
  static constexpr uint32_t kHosts = 200;
  static IpAddress Host(uint32_t i, bool v6) {
    return v6 ? Ip("2001:2::1:" + std::to_string(1 + i % kHosts))
              : IpAddress::V4(0xc6120101 + i % kHosts);
  }
  // The `i`th client, from a port of its own.
  FourTuple Client(uint32_t i = 0, uint16_t port = kPort) const {
    return {local_, Host(i, v6_), port, static_cast<uint16_t>(40000 + i)};
  }
  // The same of a family whatever this test's own is.
  static FourTuple ClientOf(Family family, uint32_t i = 0, uint16_t port = kPort) {
    const bool v6 = family == Family::kIpv6;
    return {Ip(v6 ? "2001:2::2" : "198.18.0.2"), Host(i, v6), port,
            static_cast<uint16_t>(40000 + i)};
  }
  // What a SYN-ACK says at an MTU of 1500: its MSS, and half of tcp_rmem in whole segments, with
  // timestamps and without.
  uint16_t OurMss() const { return v6_ ? 1440 : 1460; }
  uint16_t OurWindow() const { return v6_ ? 45 * 1428 : 45 * 1448; }
  uint16_t PlainWindow() const { return v6_ ? 45 * 1440 : 44 * 1460; }
  // What Linux sends.
  static SegmentBuilder LinuxSyn(const FourTuple& t, Seq isn = Seq(1000), uint32_t tsval = 5000) {
    return From(t)
        .Syn(isn)
        .Mss(t.remote.is_v4() ? 1460 : 1440)
        .SackPermitted()
        .Timestamps(tsval, 0)
        .WindowScale(7)
        .Window(64240);
  }
  static SegmentBuilder PlainSyn(const FourTuple& t, Seq isn = Seq(1000)) {
    return From(t).Syn(isn).Mss(1460);
  }

  // Gives one frame to the stack and does what a shard does for a burst.
  void Give(const Bytes& frame) {
    ASSERT_TRUE(port_.Inject(frame));
    Poll();
  }
  // Gives a segment and returns the one answer; fails if there is none or more than one.
  SentTcp Exchange(const Bytes& frame) {
    DropSent();
    Give(frame);
    auto sent = TakeAll();
    EXPECT_EQ(sent.size(), 1u);
    return sent.empty() ? SentTcp() : sent[0];
  }
  void GiveSilently(const Bytes& frame) {
    DropSent();
    Give(frame);
    EXPECT_EQ(TakeAll().size(), 0u) << "an answer was sent";
  }
  // SYN, SYN-ACK, ACK. Returns the SYN-ACK.
  SentTcp Handshake(const FourTuple& t, Seq isn = Seq(1000)) {
    const SentTcp syn_ack = Exchange(LinuxSyn(t, isn));
    Give(FinalAck(syn_ack));
    return syn_ack;
  }
  // The ACK that completes the handshake of `syn_ack`.
  static SegmentBuilder FinalAck(const SentTcp& syn_ack, uint32_t tsval = 5001) {
    SegmentBuilder ack = From(syn_ack.tuple).Ack(syn_ack.ack, syn_ack.seq + 1).Window(502);
    if (syn_ack.options.timestamps) ack.Timestamps(tsval, syn_ack.tsval());
    return ack;
  }

  // ---- The shard ----
  void Poll() {
    context_->now = now_;
    std::array<Packet, kBurstSize> burst;
    const uint32_t n = port_.RxBurst(burst);
    Ingress in;
    interface_->Receive(now_, {burst.data(), n}, in);
    for (uint32_t i = 0; i < in.tcp_count; ++i) {
      Segment s;
      if (Segment::Parse(in.tcp[i], counters_, &s)) Dispatch(s);
      if (in.tcp[i].packet.handle != nullptr) pool_.Free(in.tcp[i].packet.handle);
    }
    EndPass();
  }
  void Dispatch(Segment& s, std::optional<Seq> time_wait_iss = std::nullopt) {
    if (const auto c = children_.find(s.tuple); c != children_.end()) {
      c->second->Receive(*context_, s);
      TcpConnection& child = *c->second;
      if (child.fast_open_pending && child.state() != TcpState::kSynReceived)
        passive_->OnFastOpenEnd(child);
    } else if (const auto r = requests_.find(s.tuple); r != requests_.end()) {
      Foresee(s);
      File(passive_->OnRequest(r->second, s), &s);
    } else {
      Foresee(s);
      File(passive_->OnListen(s, time_wait_iss), &s);
    }
  }
  void Foresee(Segment& s) {
    if (!foresee_) return;
    TupleBatch batch;
    s.foreseen = batch.Add(s.tuple);
    s.IsRequest() ? passive_->ForeseeSyns(batch) : passive_->ForeseeAcks(batch);
  }
  void File(const PassiveOpen::Outcome& outcome, Segment* s) {
    if (outcome.removed_request != PassiveOpen::kNone) {
      EXPECT_EQ(requests_.erase(passive_->TupleOf(outcome.removed_request)), 1u);
      passive_->Release(outcome.removed_request);
    }
    if (outcome.new_request != PassiveOpen::kNone)
      requests_[passive_->TupleOf(outcome.new_request)] = outcome.new_request;
    if (outcome.child == nullptr) return;
    EXPECT_TRUE(children_.emplace(outcome.child->tuple(), outcome.child).second);
    if (outcome.feed_child) outcome.child->Receive(*context_, *s);
  }
  void EndPass() {
    while (TcpConnection* child = passive_->CompleteParked())
      children_.emplace(child->tuple(), child);
    passive_->DrainReady([this](Handle, const Listener&) { ++ready_events_; });
    while (!output_.empty()) {
      TcpConnection* c = &(*connections_)[output_.Pop()];
      c->output_queued = false;
      c->Flush(*context_);
    }
    while (!events_.empty()) (*connections_)[events_.Pop()].event_queued = false;
    egress_->Flush();
  }
  // Lets time go by, timer for timer.
  void Pass(Duration d) {
    const Instant end = now_ + d;
    for (;;) {
      const Instant next =
          std::min({interface_->NextDeadline(), passive_->NextDeadline(), timers_.NextDeadline()});
      if (next > end) break;
      now_ = std::max(now_, next);
      Tick();
    }
    now_ = end;
    Tick();
  }
  void Tick() {
    context_->now = now_;
    interface_->Advance(now_);
    passive_->Advance([this](uint32_t request, const FourTuple& tuple) {
      EXPECT_EQ(requests_.at(tuple), request);
      requests_.erase(tuple);
      ++removed_by_timer_;
    });
    timers_.Advance(now_, UINT32_MAX,
                    [this](uint32_t slot) { (*connections_)[slot].OnTimer(*context_); });
    EndPass();
  }

  Handle Listen(ListenSpec spec) {
    if (spec.port == 0) spec.port = kPort;
    Handle handle;
    EXPECT_EQ(passive_->Listen(spec, &handle), Error::kNone);
    return handle;
  }
  const Listener& L(Handle handle) const { return *passive_->Get(handle); }
  // Accepts one connection; null if none waits.
  TcpConnection* Accept(Handle listener) {
    context_->now = now_;
    Error error;
    TcpConnection* child = passive_->Accept(listener, &error);
    EXPECT_EQ(error, child != nullptr ? Error::kNone : Error::kAgain);
    EndPass();
    return child;
  }
  void CloseListener(Handle listener) {
    context_->now = now_;
    EXPECT_EQ(passive_->Close(listener,
                              [this](TcpConnection& child) {
                                children_.erase(child.tuple());
                                child.Destroy(*context_);
                                connections_->Free(child.slot());
                                ++children_reset_;
                              }),
              Error::kNone);
    EndPass();
  }

  // ---- What was sent ----
  std::vector<SentTcp> TakeAll() {
    std::vector<SentTcp> all;
    while (port_.sent_count() > 0)
      if (auto sent = ParseSent(port_.TakeSent())) all.push_back(*sent);
    return all;
  }
  void DropSent() {
    while (port_.sent_count() > 0) port_.TakeSent();
  }
  uint64_t Count(Counter counter) const { return counters_.Get(counter); }
  size_t half_open() const { return requests_.size(); }

  void Dismantle() {
    if (connections_ == nullptr) return;
    connections_->ForEach([this](uint32_t i) {
      (*connections_)[i].Destroy(*context_);
      connections_->Free(i);
    });
    passive_.reset();
    connections_.reset();
    interface_.reset();
    egress_.reset();
    children_.clear();
    requests_.clear();
    DropSent();
  }

  const bool v6_;
  const IpAddress local_;
  const IpAddress other_local_;  // ours too
  const IpAddress any_;          // of the family
  Sysctls sysctls_;
  PassiveOpenConfig passive_config_;
  bool foresee_ = true;  // hash beforehand, as a shard does
  uint32_t connection_slots_ = kConnections;
  Instant now_;
  Counters counters_;
  SeededRandom random_{0x5ca1ab1e};
  HeapPool pool_{1024};
  MemoryPort port_{pool_, kOurMac};
  IsnGenerator isn_{random_};
  SendBlockPool send_blocks_{256, 64};
  SentSegmentPool sent_segments_{1024};
  ObjectPool<OutOfOrderQueue> reassembly_{16};
  Md5Keys md5_keys_;
  TimerWheel timers_{kConnections};
  SlotQueue events_{kConnections};
  SlotQueue output_{kConnections};
  std::unique_ptr<Interface> interface_;
  std::unique_ptr<Egress> egress_;
  std::unique_ptr<TcpMemory> memory_;
  std::unique_ptr<TcpContext> context_;
  std::unique_ptr<ObjectPool<TcpConnection>> connections_;
  std::unique_ptr<PassiveOpen> passive_;
  std::map<FourTuple, TcpConnection*> children_;
  std::map<FourTuple, uint32_t> requests_;
  uint32_t ready_events_ = 0;
  uint32_t removed_by_timer_ = 0;
  uint32_t children_reset_ = 0;
};

class PassiveOpenTest : public PassiveOpenTestBase, public ::testing::WithParamInterface<Family> {
 protected:
  PassiveOpenTest() : PassiveOpenTestBase(GetParam()) {}
};

}  // namespace usher::test
