// The user's calls: opening, closing in every state, errors, options, memory, callbacks.
#include <set>

#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class UserTest : public ConnectionTest {};
USHER_FOR_BOTH_FAMILIES(UserTest);

// ---- Active open ----

TEST_P(UserTest, AnActiveOpenSucceeds) {
  timestamps_ = sack_ = true;
  window_scale_ = 7;
  Connection c = Connect();
  EXPECT_THAT(syn_ack_,
              AllOf(HasFlags("S"), HasMss(v6_ ? 1440 : 1460), HasSackPermitted(), HasTimestamps()));
  EXPECT_EQ(c.state(), TcpState::kSynSent);
  Give(SynAck());
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(0)), Acks(P(0))));
  EXPECT_EQ(app_.connected, 1);
  EXPECT_EQ(Peek(c).snd_wnd(), 65535u);  // not scaled on a SYN
  EXPECT_EQ(Count(Counter::TcpActiveOpens), 1u);
  c.Write("hi");
  Poll();
  EXPECT_THAT(TakeOne(), HasPayload("hi"));
}

TEST_P(UserTest, WhatIsWrittenBeforeTheHandshakeFollowsIt) {
  Connection c = Connect();
  EXPECT_EQ(c.Write("early").bytes, 5u);
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
  Give(SynAck());
  const auto sent = TakeSent();
  ASSERT_FALSE(sent.empty());
  EXPECT_THAT(sent.back(), AllOf(HasPayload("early"), HasSeq(O(0))));
}

TEST_P(UserTest, AClosedBeforeTheHandshakeConnectionIsForgotten) {
  Connection c = Connect();
  c.Close();
  Poll();
  ExpectNothingLeft();
}

TEST_P(UserTest, AnActiveOpenIsRefused) {
  Connect();
  GiveSilently(Flags("RA").SeqNo(P(-1)).AckNo(O(0)));
  EXPECT_EQ(app_.closed_why, Error::kConnectionRefused);
  EXPECT_EQ(Count(Counter::TcpAttemptFails), 1u);
}

TEST_P(UserTest, ASynAckWithAWrongNumberIsReset) {
  Connection c = Connect();
  Give(SynAck().AckNo(O(5)));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("R"), HasSeq(O(5))));
  EXPECT_EQ(c.state(), TcpState::kSynSent);
}

TEST_P(UserTest, SimultaneousOpen) {
  for (const bool as_syn_ack : {true, false}) {
    window_scale_ = 3;
    Connection c = Connect();
    Give(SynOf(Seq(peer_isn_)));
    EXPECT_THAT(TakeOne(), AllOf(HasFlags("SA"), HasSeq(O(-1)), Acks(P(0))));
    EXPECT_EQ(c.state(), TcpState::kSynReceived);
    if (as_syn_ack)
      Give(Flags("SA").SeqNo(P(-1)).AckNo(O(0)).Window(1000));
    else
      Give(Flags("A").SeqNo(P(0)).AckNo(O(0)).Window(1000));
    EXPECT_EQ(c.state(), TcpState::kEstablished);
    EXPECT_EQ(Peek(c).snd_wnd(), as_syn_ack ? 1000u : 8000u);
    c.Abort();
    Poll();
    TakeSent();
    app_.connected = 0;
  }
}

TEST_P(UserTest, EphemeralPortsAreInRangeAndDiffer) {
  options_.sysctls.ip_local_port_range = {50'000, 50'004};
  Make();
  std::set<uint16_t> ports;
  for (int i = 0; i < 5; ++i) ports.insert(Connect().tuple().local_port);
  EXPECT_THAT(ports, SizeIs(5));
  EXPECT_GE(*ports.begin(), 50'000);
  EXPECT_LE(*ports.rbegin(), 50'004);
  Connection c;
  EXPECT_EQ(stack_->Connect(0, remote_, 8080, app_, &c), Error::kAddressNotAvailable);
  EXPECT_EQ(stack_->Connect(0, remote_, 8081, app_, &c), Error::kNone);  // another destination
}

TEST_P(UserTest, ConnectWithoutASlotSaysSo) {
  options_.max_connections = 2;
  Make();
  Connect();
  Connect();
  Connection c;
  EXPECT_EQ(stack_->Connect(0, remote_, 8080, app_, &c), Error::kNoBuffers);
  EXPECT_EQ(stack_->Connect(0, remote_, 0, app_, &c), Error::kInvalid);
}

// ---- Closing ----

TEST_P(UserTest, ActiveClose) {
  Connection c = Open();
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("FA"), HasSeq(O(0))));
  Give(Ack(1));
  EXPECT_EQ(shard().time_wait().size(), 1u);  // FIN-WAIT-2 without an owner
  Give(Ack(1).Flags("FA"));
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(1)), Acks(P(1))));
  ExpectNothingLeft();
  AdvanceBy(Duration::Seconds(61));
  EXPECT_EQ(shard().time_wait().size(), 0u);
}

TEST_P(UserTest, PassiveClose) {
  Connection c = Open();
  Give(Ack().Flags("FA"));
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("FA"), HasSeq(O(0)), Acks(P(1))));
  Give(Ack(1));
  ExpectNothingLeft();
  EXPECT_EQ(shard().time_wait().size(), 0u);
}

TEST_P(UserTest, SimultaneousClose) {
  Connection c = Open();
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  TakeSent();
  Give(Ack(0).Flags("FA"));
  EXPECT_EQ(c.state(), TcpState::kClosing);
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("A"), HasSeq(O(1)), Acks(P(1))));
  Give(Ack(1));
  EXPECT_EQ(app_.closed, 1);
  EXPECT_EQ(app_.closed_why, Error::kNone);
  EXPECT_EQ(shard().time_wait().size(), 1u);
}

TEST_P(UserTest, HalfCloseStillReceives) {
  Connection c = Open();
  c.Write("request");
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("FPA"), HasPayload("request")));
  EXPECT_EQ(c.Write("more").error, Error::kBrokenPipe);
  Give(Ack(8));
  EXPECT_EQ(c.state(), TcpState::kFinWait2);
  Give(Ack(8).Data("response"));
  EXPECT_EQ(Read(c), "response");
  AdvanceBy(Duration::Seconds(300));  // with an owner FIN-WAIT-2 has no end
  EXPECT_EQ(c.state(), TcpState::kFinWait2);
  Give(Ack(8).Flags("FPA").Data("end"));
  EXPECT_EQ(Read(c), "end");
  EXPECT_EQ(app_.closed, 1);
}

TEST_P(UserTest, CloseWithUnreadDataResets) {
  Connection c = Open();
  Give(Ack().Data("unread"));
  TakeSent();
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("RA"), HasSeq(O(0)), Acks(P(6))));
  EXPECT_EQ(Count(Counter::TcpExtTCPAbortOnClose), 1u);
  ExpectNothingLeft();
}

TEST_P(UserTest, LingerZeroResets) {
  listen_options_.linger = true;
  Connection c = Open();
  c.Write("never sent");
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  ExpectNothingLeft();
}

TEST_P(UserTest, DataAfterCloseIsReset) {
  Connection c = Open();
  c.Close();
  Poll();
  TakeSent();
  Give(Ack(0).Data("too late"));
  EXPECT_THAT(TakeOne(), HasFlags("R"));
  EXPECT_EQ(Count(Counter::TcpExtTCPAbortOnData), 1u);
  ExpectNothingLeft();
}

TEST_P(UserTest, AbortResets) {
  Connection c = Open();
  c.Write(std::string(5000, 'x'));
  Poll();
  TakeSent();
  EXPECT_EQ(c.Abort(), Error::kNone);
  EXPECT_FALSE(c.valid());
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  ExpectNothingLeft();
}

TEST_P(UserTest, AbortInLastAckIsSilent) {  // RFC 9293 section 3.10.5
  Connection c = Open();
  Give(Ack().Flags("FA"));
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  TakeSent();
  EXPECT_EQ(c.state(), TcpState::kLastAck);
  c.Abort();
  Poll();
  EXPECT_THAT(TakeSent(), IsEmpty());
}

TEST_P(UserTest, TooManyOrphansAreReset) {
  options_.sysctls.tcp_max_orphans = 1;
  Connection a = Open();
  a.Close();
  Poll();
  TakeSent();
  tuple_.remote_port = kPeerPort + 1;
  Connection b = Open();
  b.Close();
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  EXPECT_EQ(Count(Counter::TcpExtTCPAbortOnMemory), 1u);
}

TEST_P(UserTest, BelowZeroOrphansEveryOneIsTooMany) {
  options_.sysctls.tcp_max_orphans = -1;
  Connection c = Open();
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  EXPECT_EQ(Count(Counter::TcpExtTCPAbortOnMemory), 1u);
}

TEST_P(UserTest, StaleHandlesAreTold) {
  Connection c = Open();
  c.Abort();
  Poll();
  uint8_t byte;
  EXPECT_EQ(c.Read({&byte, 1}).error, Error::kBadHandle);
  EXPECT_EQ(c.Write("x").error, Error::kBadHandle);
  EXPECT_EQ(c.Close(), Error::kBadHandle);
  EXPECT_EQ(c.Shutdown(ShutdownHow::kBoth), Error::kBadHandle);
  tuple_.remote_port = kPeerPort + 1;
  Connection d = Open();  // in the same slot
  EXPECT_EQ(d.handle().index, c.handle().index);
  EXPECT_FALSE(c.valid());
  EXPECT_TRUE(d.valid());
}

TEST_P(UserTest, EveryCallbackMayCloseItsConnection) {
  const auto close = [](Connection x) { x.Close(); };
  app_.on_readable = close;
  Open();
  Give(Ack().Data("x"));
  ExpectNothingLeft();  // unread: reset
  app_.on_readable = nullptr;
  app_.on_connected = close;
  Connect();
  Give(SynAck());
  EXPECT_EQ(app_.connected, 1);
  app_.on_connected = nullptr;
  tuple_ = {local_, remote_, kPort, kPeerPort + 2};
  app_.on_closed = close;
  Open();
  Give(Flags("R").SeqNo(P(0)));
  app_.on_closed = nullptr;
  app_.on_writable = [](Connection x) { x.Abort(); };
  tuple_ = {local_, remote_, kPort, kPeerPort + 3};
  Connection w = Open();
  while (w.Write(std::string(10'000, 'x')).bytes == 10'000) {
  }
  const int before = app_.writable;
  for (int i = 0; i < 50 && app_.writable == before; ++i) {
    Poll();
    TakeSent();
    Give(Ack());
  }
  EXPECT_EQ(app_.writable, before + 1);
  EXPECT_FALSE(w.valid());
}

// ---- Zero-copy ----

struct Released {
  static void Count(void* context) { ++*static_cast<int*>(context); }
};

TEST_P(UserTest, ExternalBytesAreReleasedOnceWhenAcknowledged) {
  Connection c = Open();
  static const std::string kData(3000, 'z');
  int released = 0;
  const std::span bytes(reinterpret_cast<const uint8_t*>(kData.data()), kData.size());
  EXPECT_EQ(c.WriteExternal(bytes, &Released::Count, &released).bytes, 3000u);
  Poll();
  TakeSent();
  Give(Ack(2999));
  EXPECT_EQ(released, 0);
  Give(Ack(3000));
  EXPECT_EQ(released, 1);
  c.Abort();
  Poll();
  EXPECT_EQ(released, 1);
}

TEST_P(UserTest, ExternalBytesAreReleasedOnceOnResetAndAbort) {
  for (const bool reset : {true, false}) {
    ++tuple_.remote_port;
    Connection c = Open();
    static const std::string kData(3000, 'z');
    int released = 0;
    c.WriteExternal({reinterpret_cast<const uint8_t*>(kData.data()), kData.size()},
                    &Released::Count, &released);
    Poll();
    TakeSent();
    if (reset)
      Give(Flags("R").SeqNo(P(0)));
    else
      c.Abort();
    Poll();
    EXPECT_EQ(released, 1);
    if (reset) c.Close();
    Poll();
    EXPECT_EQ(released, 1);
  }
}

TEST_P(UserTest, ASliceOutlivesItsConnection) {
  Connection c = Open();
  Give(Ack().Data("kept"));
  Slice slice;
  EXPECT_EQ(c.ReadSlice(&slice).bytes, 4u);
  c.Abort();
  Poll();
  ExpectNothingLeft();
  for (int i = 0; i < 40; ++i) GiveSilently(Flags("R").SeqNo(P(0)));  // buffers go round
  EXPECT_EQ(std::string(slice.bytes().begin(), slice.bytes().end()), "kept");
}

// ---- Memory ----

TEST_P(UserTest, AWriteIsCutShortAndRoomIsTold) {
  listen_options_.send_buffer_bytes = 10'000;
  Connection c = Open();
  const size_t taken = c.Write(std::string(100'000, 'x')).bytes;
  EXPECT_GE(taken, 10'000u);  // as on Linux: the limit, and what its last piece holds beyond it
  EXPECT_LT(taken, 100'000u);
  EXPECT_EQ(c.Write("x").error, Error::kAgain);
  EXPECT_EQ(c.writable_bytes(), 0u);
  Poll();
  TakeSent();
  Give(Ack(1460));
  EXPECT_EQ(app_.writable, 0);  // not for so little
  for (int i = 0; i < 10 && our_nxt_ < O(static_cast<int64_t>(taken)); ++i) {
    TakeSent();
    Give(Ack());
  }
  TakeSent();
  Give(Ack());
  EXPECT_EQ(app_.writable, 1);
}

TEST_P(UserTest, WhenMemoryIsUsedUpAnEmptyConnectionIsToldLater) {
  options_.sysctls.tcp_mem = {2, 3, 4};  // pages
  options_.sysctls.tcp_wmem = {1, 16384, 65536};
  Connection a = Open();
  tuple_.remote_port = kPeerPort + 1;
  Connection b = Open();
  size_t taken = 0;
  while (const size_t n = a.Write(std::string(2048, 'x')).bytes) taken += n;
  EXPECT_LE(taken, 5u * 4096);
  EXPECT_EQ(b.Write("y").bytes, 1u);  // tcp_wmem's least is everybody's
  EXPECT_EQ(b.Write("y").error, Error::kAgain);
  a.Abort();
  Poll();
  TakeSent();
  Give(Ack());
  AdvanceBy(Duration::Seconds(3));
  EXPECT_GE(app_.writable, 1);
  EXPECT_EQ(Count(Counter::TcpExtTCPMemoryPressures), 1u);
}

TEST_P(UserTest, WithoutSendBlocksAConnectionIsToldLater) {
  Connection c = Open();
  Connection idle = c;
  SendBlockPool& pool = shard().context().send_blocks;
  SendBuffer hog;
  while (hog.Append(pool, std::vector<uint8_t>(65536), SIZE_MAX) > 0) {
  }
  EXPECT_EQ(idle.Write("x").error, Error::kAgain);
  Give(Ack());  // the peer knows nothing of that, and what it sends ends no waiting
  AdvanceBy(Duration::Millis(10));
  hog.Clear(pool);
  AdvanceBy(Duration::Seconds(2));
  EXPECT_GE(app_.writable, 1);
  EXPECT_EQ(idle.Write("x").bytes, 1u);
}

// ---- ICMP ----

class IcmpTest : public UserTest {
 protected:
  void Icmp(IcmpError::Kind kind, Seq seq, uint32_t mtu = 0) {
    IcmpError e;
    e.kind = kind;
    e.tuple = tuple_;
    e.seq = seq.value();
    e.mtu = mtu;
    tcp(c_)->OnIcmpError(const_cast<TcpContext&>(shard().context()), e);
    Poll();
  }
};
USHER_FOR_BOTH_FAMILIES(IcmpTest);

TEST_P(IcmpTest, ARefusalEndsAnOpening) {
  Connect();
  Icmp(IcmpError::Kind::kRefused, O(-1));
  EXPECT_EQ(app_.closed_why, Error::kConnectionRefused);
}

TEST_P(IcmpTest, ARefusalDoesNotEndAConnection) {
  Connection c = Open();
  c.Write("x");
  Poll();
  Icmp(IcmpError::Kind::kRefused, O(0));
  EXPECT_EQ(c.state(), TcpState::kEstablished);
}

TEST_P(IcmpTest, ErrorsAboutNothingInFlightAreCounted) {
  Connection c = Open();
  Icmp(IcmpError::Kind::kRefused, O(1));
  Icmp(IcmpError::Kind::kPacketTooBig, O(-5), 600);
  EXPECT_EQ(Count(Counter::TcpExtOutOfWindowIcmps), 2u);
  EXPECT_EQ(Peek(c).mss(), v6_ ? 1440u : 1460u);
}

TEST_P(IcmpTest, PacketTooBigResendsSmallerAtOnce) {
  Connection c = Open();
  c.Write(std::string(2900, 'x'));
  Poll();
  TakeSent();
  const uint32_t cwnd = Peek(c).cwnd();
  Icmp(IcmpError::Kind::kPacketTooBig, O(0), 1400);
  const size_t mss = v6_ ? 1340 : 1360;
  EXPECT_EQ(Peek(c).mss(), mss);
  size_t resent = 0;
  for (const SentTcp& s : TakeSent()) {
    EXPECT_LE(s.payload.size(), mss);
    resent += s.payload.size();
  }
  EXPECT_GE(resent, 2800u);
  EXPECT_EQ(Peek(c).cwnd(), cwnd);  // no congestion
  Give(Ack());
  EXPECT_TRUE(Peek(c).recovery().queue().empty());
}

TEST_P(IcmpTest, ASegmentTooLongByOneByteIsResentToo) {
  Connection c = Open();
  const size_t mss = v6_ ? 1440 : 1460;
  c.Write(std::string(2 * mss, 'x'));
  Poll();
  EXPECT_EQ(TakeSent().size(), 2u);
  Icmp(IcmpError::Kind::kPacketTooBig, O(0), 1499);
  size_t resent = 0;
  for (const SentTcp& s : TakeSent()) {
    EXPECT_LT(s.payload.size(), mss);
    resent += s.payload.size();
  }
  EXPECT_GE(resent, 2 * mss - 2);
}

TEST_P(IcmpTest, ThePathMtuHasAFloor) {  // RFC 5927
  Connection c = Open();
  c.Write("x");
  Poll();
  Icmp(IcmpError::Kind::kPacketTooBig, O(0), 68);
  EXPECT_EQ(Peek(c).mss(), v6_ ? 1220u : 512u);
}

// ---- The rest of the calls ----

TEST_P(UserTest, NothingToWriteIsNoError) {
  Connection c = Open();
  EXPECT_EQ(c.Write("").error, Error::kNone);
  EXPECT_EQ(c.Write("").bytes, 0u);
  const auto release = [](void*) { FAIL() << "it was never taken"; };
  EXPECT_EQ(c.WriteExternal({}, release, nullptr).error, Error::kInvalid);
  EXPECT_EQ(c.Shutdown(ShutdownHow::kWrite), Error::kNone);
  const uint8_t byte = 0;
  EXPECT_EQ(c.WriteExternal({&byte, 1}, release, nullptr).error, Error::kBrokenPipe);
  const IoResult refused = c.Write("x");
  EXPECT_EQ(refused.error, Error::kBrokenPipe);
  EXPECT_EQ(refused.bytes, 0u);
  EXPECT_EQ(c.writable_bytes(), 0u);
}

// Section 3.10.4: a FIN asked for in SYN-RECEIVED goes out when the handshake is done.
TEST_P(UserTest, ShutDownInSynReceived) {
  Connection c = Connect();
  Give(SynOf(Seq(peer_isn_)));
  ASSERT_EQ(c.state(), TcpState::kSynReceived);
  TakeSent();
  EXPECT_EQ(c.Shutdown(ShutdownHow::kWrite), Error::kNone);
  Poll();
  EXPECT_EQ(c.state(), TcpState::kSynReceived);
  EXPECT_THAT(TakeSent(), IsEmpty());
  Give(Flags("A").SeqNo(P(0)).AckNo(O(0)));
  EXPECT_EQ(c.state(), TcpState::kFinWait1);
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("FA"), HasSeq(O(0))));
}

// TCP_LINGER2 negative: nobody waits for the peer's FIN.
TEST_P(UserTest, ANegativeLinger2ResetsWhatIsHalfClosedAlready) {
  listen_options_.linger2_s = -1;
  Connection c = Open();
  c.Shutdown(ShutdownHow::kWrite);
  Poll();
  TakeSent();
  Give(Ack());
  ASSERT_EQ(c.state(), TcpState::kFinWait2);
  c.Close();
  Poll();
  EXPECT_THAT(TakeOne(), AllOf(HasFlags("RA"), HasSeq(O(1))));
  EXPECT_EQ(Count(Counter::TcpExtTCPAbortOnLinger), 1u);
  ExpectNothingLeft();
}

TEST_P(UserTest, APeekByCopyLeavesTheBytesAndStopsAtTheUrgentOne) {
  Open();
  std::array<uint8_t, 10> buffer{};
  EXPECT_EQ(tcp(c_)->PeekCopy(buffer).error, Error::kAgain);
  Give(Ack().Flags("AU").Data("abXde").Urgent(3));
  EXPECT_EQ(tcp(c_)->PeekCopy(buffer).bytes, 2u);
  EXPECT_EQ(tcp(c_)->PeekCopy(std::span(buffer).first(1)).bytes, 1u);
  EXPECT_EQ(Read(c_), "ab");
  EXPECT_EQ(Read(c_), "de");
  Give(Ack().Flags("FA"));
  const IoResult end = tcp(c_)->PeekCopy(buffer);
  EXPECT_EQ(end.error, Error::kNone);
  EXPECT_EQ(end.bytes, 0u);
}

// What the network said is the better reason than that nobody answered (RFC 1122 section 4.2.3.9).
TEST_P(IcmpTest, ASoftErrorIsTheReasonWhenTheTimeIsOver) {
  options_.sysctls.tcp_retries2 = 2;
  Open();
  c_.Write("x");
  Poll();
  Icmp(IcmpError::Kind::kHostUnreachable, O(0));
  EXPECT_EQ(app_.closed, 0);
  AdvanceBy(Duration::Seconds(60));
  EXPECT_EQ(app_.closed, 1);
  EXPECT_EQ(app_.closed_why, Error::kHostUnreachable);
}

}  // namespace
}  // namespace usher::test
