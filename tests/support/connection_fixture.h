// One connection of a whole stack against a peer that the test plays, over a memory port in virtual
// time, for IPv4 and IPv6.
//
//   Connection c = Open();                       // the peer's handshake, accepted
//   Give(Ack().Data("hello"));                   // numbers run by themselves
//   EXPECT_THAT(TakeSent(), ...);
//   AdvanceBy(Duration::Millis(40));             // timer by timer
//
// Numbers: P(n) is the nth byte the peer sends (0 the first), O(n) the nth of ours.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"
#include "tests/support/connection_peek.h"
#include "tests/support/family.h"
#include "tests/support/segment_builder.h"

namespace usher::test {

// Records events and accepts; a test may set hooks.
struct RecordingApplication : Application {
  void OnAcceptable(Acceptor a) override {
    Connection c;
    while (accept && a.Accept(&c) == Error::kNone) accepted.push_back(c);
  }
  void OnConnected(Connection c) override {
    ++connected;
    if (on_connected) on_connected(c);
  }
  void OnReadable(Connection c) override {
    ++readable;
    if (on_readable) on_readable(c);
  }
  void OnWritable(Connection c) override {
    ++writable;
    if (on_writable) on_writable(c);
  }
  void OnUrgent(Connection) override { ++urgent; }
  void OnTimer(Connection c) override {
    ++timers;
    if (on_timer) on_timer(c);
  }
  void OnClosed(Connection c, Error why) override {
    ++closed;
    closed_why = why;
    if (on_closed) on_closed(c);
  }
  bool accept = true;
  std::vector<Connection> accepted;
  int connected = 0, readable = 0, writable = 0, closed = 0, timers = 0, urgent = 0;
  Error closed_why = Error::kNone;
  std::function<void(Connection)> on_connected, on_readable, on_writable, on_closed, on_timer;
};

class ConnectionTestBase : public ::testing::Test {
 protected:
  static constexpr uint16_t kPort = 80;
  static constexpr uint16_t kPeerPort = 40000;

  explicit ConnectionTestBase(Family family = Family::kIpv4)
      : v6_(family == Family::kIpv6),
        local_(Ip(v6_ ? "2001:2::2" : "198.18.0.2")),
        remote_(Ip(v6_ ? "2001:2::1" : "198.18.0.1")),
        tuple_{local_, remote_, kPort, kPeerPort} {
    options_.max_connections = 16;
  }
  void TearDown() override {
    if (stack_ == nullptr) return;
    stack_.reset();
    while (port_->sent_count() > 0) port_->TakeSent();
    port_.reset();
    EXPECT_EQ(pool_->available(), pool_->capacity()) << "packet buffers leaked";
  }

  // Makes the stack from options_, and its listener from listen_options_. Open does it by itself.
  void Make(uint32_t buffers = 512) {
    pool_ = std::make_unique<HeapPool>(buffers);
    port_ = std::make_unique<MemoryPort>(*pool_, kOurMac, capabilities_);
    InterfaceConfig config;
    config.addresses = {{local_, v6_ ? 64 : 15}};
    config.dad_transmits = 0;
    config.accept_ra = false;
    const std::vector<ShardInterface> interfaces[] = {{ShardInterface{port_.get(), config}}};
    auto made = Stack::Create(options_, interfaces, random_);
    ASSERT_TRUE(made.ok()) << made.status();
    stack_ = *std::move(made);
    stack_->Start(0, now_);
    shard().interface(0).SetPermanentNeighbour(now_, remote_, kPeerMac);
    ASSERT_TRUE(stack_->Listen({.port = kPort, .options = listen_options_}, app_).ok());
    AdvanceBy(Duration::Seconds(3));  // the network layer's own beginnings
    TakeSent();
  }

  // ---- The peer ----
  Seq P(int64_t n) const { return Seq(peer_isn_ + 1 + static_cast<uint32_t>(n)); }
  Seq O(int64_t n) const { return Seq(iss_ + 1 + static_cast<uint32_t>(n)); }

  SegmentBuilder Flags(std::string_view flags) {
    SegmentBuilder b = From(tuple_).Flags(flags).Window(window_);
    if (timestamps_) b.Timestamps(Tsval(), last_tsval_);
    return b;
  }
  // An acknowledgment of everything the stack sent, at the peer's next number.
  SegmentBuilder Ack() { return Flags("A").SeqNo(peer_nxt_).AckNo(our_nxt_); }
  SegmentBuilder Ack(int64_t n) { return Flags("A").SeqNo(peer_nxt_).AckNo(O(n)); }
  SegmentBuilder SynOf(Seq isn) {
    SegmentBuilder b = From(tuple_).Syn(isn).Mss(mss_).Window(syn_window_);
    if (timestamps_) b.Timestamps(Tsval(), 0);
    if (sack_) b.SackPermitted();
    if (ecn_) b.Flags("SEW");
    if (window_scale_) b.WindowScale(*window_scale_);
    return b;
  }
  uint32_t Tsval() const { return 7000 + static_cast<uint32_t>(now_.ms()); }

  // Gives a segment and lets the stack work one pass. The peer's next number follows its end.
  void Give(const SegmentBuilder& b) {
    Inject(b);
    Poll();
  }
  void Inject(const SegmentBuilder& b) {
    const Bytes frame = b;
    ASSERT_TRUE(port_->Inject(frame));
    const Seq end = b.EndSeq();
    if (end > peer_nxt_) peer_nxt_ = end;
  }
  void GiveSilently(const SegmentBuilder& b) {
    TakeSent();
    Give(b);
    EXPECT_THAT(TakeSent(), ::testing::IsEmpty());
  }

  // The passive handshake; accepted.
  Connection Open() {
    if (stack_ == nullptr) Make();
    TakeSent();
    const size_t before = app_.accepted.size();
    Give(SynOf(Seq(peer_isn_)));
    const auto sent = TakeSent();
    EXPECT_EQ(sent.size(), 1u);
    if (sent.size() != 1) return {};
    syn_ack_ = sent[0];
    iss_ = syn_ack_.seq.value();
    our_nxt_ = O(0);
    peer_nxt_ = P(0);
    if (rtt_.ns() > 0) AdvanceBy(rtt_);
    Give(Ack());
    EXPECT_THAT(TakeSent(), ::testing::IsEmpty());
    EXPECT_EQ(app_.accepted.size(), before + 1);
    if (app_.accepted.empty()) return {};
    return c_ = app_.accepted.back();
  }
  // The SYN of an active open.
  Connection Connect(const TcpOptionsSet& options = {}) {
    if (stack_ == nullptr) Make();
    TakeAfterPoll();
    Connection c;
    EXPECT_EQ(stack_->Connect(0, remote_, 8080, app_, &c, options), Error::kNone);
    tuple_ = c.tuple();
    const auto sent = TakeAfterPoll();
    EXPECT_EQ(sent.size(), 1u);
    if (!sent.empty()) {
      syn_ack_ = sent[0];
      iss_ = sent[0].seq.value();
      our_nxt_ = O(0);
      peer_nxt_ = P(0);
    }
    return c_ = c;
  }
  // An active open, all the way.
  Connection ConnectFully(const TcpOptionsSet& options = {}) {
    Connection c = Connect(options);
    Give(SynAck());
    EXPECT_EQ(app_.connected, 1);
    TakeSent();
    return c;
  }
  SegmentBuilder SynAck() {
    SegmentBuilder b = SynOf(Seq(peer_isn_)).Flags(ecn_ ? "SAE" : "SA").AckNo(O(0));
    if (timestamps_) b.Timestamps(Tsval(), last_tsval_);
    return b;
  }

  // ---- The stack ----
  void Poll() {
    stack_->Poll(0, now_);
    Check();
  }
  void Check() {
    shard().ForEachConnection(
        [this](TcpConnection& c) { ConnectionPeek{c}.CheckInvariants(shard().context()); });
  }
  // Lets time go by, timer for timer.
  void AdvanceTo(Instant end) {
    uint32_t steps = 0;
    for (;;) {
      const Instant next = stack_->NextDeadline(0);
      if (next > end) break;
      ASSERT_LT(++steps, 100'000u) << "a timer that does not advance";
      now_ = std::max(now_, next);
      Poll();
    }
    now_ = end;
    Poll();
  }
  void AdvanceBy(Duration d) { AdvanceTo(now_ + d); }

  std::vector<SentTcp> TakeSent() {
    std::vector<SentTcp> all;
    while (port_->sent_count() > 0) {
      const Bytes frame = port_->TakeSent();
      const auto sent = ParseSent(frame);
      if (!sent) continue;
      all.push_back(*sent);
      if (sent->options.timestamps) last_tsval_ = sent->tsval();
      const Seq end = sent->EndSeq();
      if (end > our_nxt_ && (sent->flags & TcpFlags::kRst) == 0) our_nxt_ = end;
    }
    return all;
  }
  std::vector<SentTcp> TakeAfterPoll() {
    Poll();
    return TakeSent();
  }
  // The one segment sent; fails if there is none or more than one.
  SentTcp TakeOne() {
    auto all = TakeSent();
    EXPECT_EQ(all.size(), 1u) << ::testing::PrintToString(all);
    return all.empty() ? SentTcp() : all[0];
  }
  // How long until the stack sends the next segment; `most` if it does not.
  Duration UntilSent(Duration most) {
    const Instant start = now_;
    const Instant end = now_ + most;
    while (port_->sent_count() == 0) {
      const Instant next = stack_->NextDeadline(0);
      if (next > end) {
        now_ = end;
        return most;
      }
      now_ = std::max(now_, next);
      Poll();
    }
    return now_ - start;
  }

  std::string Read(Connection c, size_t most = 100'000) {
    std::vector<uint8_t> buffer(most);
    const IoResult r = c.Read(buffer);
    last_error_ = r.error;
    return {buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(r.bytes)};
  }
  Shard& shard() { return stack_->shard(0); }
  TcpConnection* tcp(Connection c) { return shard().Find(c.handle()); }
  ConnectionPeek Peek(Connection c) { return {*tcp(c)}; }
  uint64_t Count(Counter counter) { return shard().counters().Get(counter); }
  // No connection, no record, and every pool as it was.
  void ExpectNothingLeft() {
    EXPECT_EQ(shard().connection_count(), 0u);
    EXPECT_EQ(shard().context().memory.charged_bytes(), 0u);
    EXPECT_EQ(shard().context().sent_segments.in_use(), 0u);
    EXPECT_EQ(shard().context().orphans, 0u);
    EXPECT_EQ(Count(Counter::TcpCurrEstab), 0u);
  }

  const bool v6_;
  const IpAddress local_;
  const IpAddress remote_;
  FourTuple tuple_;
  StackOptions options_;
  PortCapabilities capabilities_;
  TcpOptionsSet listen_options_;
  RecordingApplication app_;
  Instant now_ = Instant::FromNanos(1'000'010'000'000);
  SeededRandom random_{0x5ca1ab1e};
  std::unique_ptr<HeapPool> pool_;
  std::unique_ptr<MemoryPort> port_;
  std::unique_ptr<Stack> stack_;
  Connection c_;

  // How the peer is.
  uint32_t peer_isn_ = 0xfffffff0;  // wraps soon
  uint16_t mss_ = 1460;
  uint16_t syn_window_ = 65535;
  uint16_t window_ = 65535;
  bool timestamps_ = false;
  bool sack_ = false;
  bool ecn_ = false;  // asks for it in its SYN, grants it in its SYN-ACK
  std::optional<uint8_t> window_scale_;
  Duration rtt_;

  uint32_t iss_ = 0;
  Seq peer_nxt_;
  Seq our_nxt_;
  uint32_t last_tsval_ = 0;
  SentTcp syn_ack_;
  Error last_error_ = Error::kNone;
};

class ConnectionTest : public ConnectionTestBase, public ::testing::WithParamInterface<Family> {
 protected:
  ConnectionTest() : ConnectionTestBase(GetParam()) {}
};

}  // namespace usher::test
