// Requirements of RFC 9293 that no other test shows; stack/tcp/REQUIREMENTS.md has all of them.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;

class RequirementsTest : public ConnectionTest {
 protected:
  static constexpr auto kHour = Duration::Seconds(3600);

  // A connection whose receive window is closed; the peer has sent this many bytes.
  uint32_t OpenWithClosedWindow() {
    listen_options_.receive_buffer_bytes = 20'000;
    Connection c = Open();
    uint32_t sent = 0;
    while (Peek(c).rcv_wnd() > 0) {
      const uint32_t n = std::min<uint32_t>(1400, Peek(c).rcv_wnd());
      Give(Ack().Data(std::string(n, 'x')));
      AdvanceBy(Duration::Millis(300));
      sent += n;
    }
    EXPECT_EQ(TakeSent().back().window, 0);
    return sent;
  }
};
USHER_FOR_BOTH_FAMILIES(RequirementsTest);

// MUST-15: a peer that names no MSS is sent 536 bytes (IPv6: 1220) at most.
TEST_P(RequirementsTest, WithoutAnMssOptionTheDefaultHolds) {
  Make();
  Give(From(tuple_).Syn(Seq(peer_isn_)));
  const SentTcp syn_ack = TakeOne();
  iss_ = syn_ack.seq.value();
  our_nxt_ = O(0);
  peer_nxt_ = P(0);
  Give(Ack());
  app_.accepted.at(0).Write(std::string(5000, 'x'));
  Poll();
  EXPECT_THAT(TakeSent().at(0), HasLength(v6_ ? 1220 : 536));
}

// MUST-65.
TEST_P(RequirementsTest, TheMssOptionStandsOnSynsOnly) {
  Connection c = Open();
  EXPECT_TRUE(syn_ack_.options.mss.has_value());
  Give(Ack().Data("question"));
  Read(c);
  c.Write("answer");
  c.Close();
  Poll();
  Give(Ack().Flags("FA"));
  const auto sent = TakeSent();
  EXPECT_GE(sent.size(), 2u);
  for (const SentTcp& s : sent) EXPECT_FALSE(s.options.mss.has_value()) << s;
}

// MUST-60, MUST-61, SHLD-27, SHLD-28: full segments, of which the last is pushed.
TEST_P(RequirementsTest, TheLastSegmentOfWhatIsWrittenIsPushed) {
  Connection c = Open();
  const size_t mss = Peek(c).mss();
  c.Write(std::string(2 * mss + 10, 'x'));
  c.Write("y");
  Poll();
  const auto sent = TakeSent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_THAT(sent[0], AllOf(HasFlags("A"), HasLength(mss)));
  EXPECT_THAT(sent[1], AllOf(HasFlags("A"), HasLength(mss)));
  EXPECT_THAT(sent[2], AllOf(HasFlags("PA"), HasLength(11)));
}

// MUST-66: RST, ACK and URG count even where no text is acceptable.
TEST_P(RequirementsTest, AResetIsTakenAtAClosedWindow) {
  const uint32_t sent = OpenWithClosedWindow();
  GiveSilently(Flags("R").SeqNo(P(sent)));
  EXPECT_EQ(app_.closed_why, Error::kConnectionReset);
}

TEST_P(RequirementsTest, AnAcknowledgmentIsTakenAtAClosedWindow) {
  const uint32_t sent = OpenWithClosedWindow();
  c_.Write("out");
  Poll();
  EXPECT_THAT(TakeOne(), HasPayload("out"));
  GiveSilently(Ack(3).Flags("AU").SeqNo(P(sent)));
  EXPECT_EQ(Peek(c_).snd_una(), O(3));
}

// MUST-34, SHLD-15, SHLD-16, SHLD-17: the peer takes back what it offered.
TEST_P(RequirementsTest, AShrunkenWindowHoldsBackNewDataOnly) {
  Connection c = Open();
  const auto sent = static_cast<int32_t>(2 * Peek(c).mss());
  c.Write(std::string(static_cast<size_t>(sent), 'x'));
  Poll();
  EXPECT_EQ(TakeSent().size(), 2u);
  Give(Ack(0).Data("?"));
  Give(Ack(0).Data("!").Window(100));
  Read(c);
  EXPECT_EQ(Peek(c).snd_wnd(), 100u);
  c.Write(std::string(5000, 'y'));
  int32_t furthest = 0;
  for (int i = 0; i < 20; ++i) {
    AdvanceBy(Duration::Seconds(1));
    for (const SentTcp& s : TakeSent())
      if (!s.payload.empty()) furthest = std::max(furthest, s.EndSeq() - O(0));
  }
  EXPECT_GT(furthest, 0) << "old data was not sent again";
  EXPECT_LE(furthest, sent) << "new data was sent beyond the window";
  EXPECT_EQ(c.state(), TcpState::kEstablished);
  Give(Ack(sent));
  EXPECT_FALSE(TakeSent().empty());
}

// MUST-46: an open to an address that nobody can answer from.
TEST_P(RequirementsTest, OpensToManyOrNobodyAreRefused) {
  Make();
  const std::vector<const char*> addresses =
      v6_ ? std::vector<const char*>{"ff02::1", "ff05::2", "::"}
          : std::vector<const char*>{"224.0.0.1", "239.255.255.255", "255.255.255.255",
                                     "198.19.255.255", "0.0.0.0"};
  for (const char* address : addresses) {
    Connection c;
    EXPECT_NE(stack_->Connect(0, Ip(address), 80, app_, &c), Error::kNone) << address;
    EXPECT_FALSE(c.valid());
  }
  EXPECT_THAT(TakeAfterPoll(), IsEmpty());
  ExpectNothingLeft();
}

// MUST-43, MUST-45: the local address may be given, and must be ours.
TEST_P(RequirementsTest, TheLocalAddressMayBeGiven) {
  Make();
  Handle handle;
  EXPECT_EQ(shard().Connect(remote_, 8080, {}, &handle, &app_, remote_),
            Error::kAddressNotAvailable);
  EXPECT_EQ(shard().Connect(remote_, 8080, {}, &handle, &app_, local_, 5555), Error::kNone);
  const auto sent = TakeAfterPoll();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].tuple, (FourTuple{local_, remote_, 5555, 8080}));
  EXPECT_EQ(shard().Connect(remote_, 8080, {}, &handle, &app_, local_, 5555), Error::kAddressInUse);
  shard().AbortAll();
  Poll();
}

// MUST-25, MUST-28.
TEST_P(RequirementsTest, KeepaliveIsOffUnlessAskedForThenComesAfterTwoHours) {
  Connection c = Open();
  EXPECT_EQ(UntilSent(kHour * 24).seconds(), 24 * 3600);
  TcpOptionsSet options;
  options.keepalive = true;
  c.SetOptions(options);
  Give(Ack().Data("x"));
  AdvanceBy(Duration::Millis(500));
  TakeSent();
  EXPECT_GE(UntilSent(kHour * 24).seconds(), 2 * 3600 - 1);
  EXPECT_THAT(TakeOne(), AllOf(HasLength(0), HasSeq(O(-1))));
}

// MUST-48, MUST-49, SHLD-21, SHLD-22.
TEST_P(RequirementsTest, TheApplicationSetsDiffServFieldAndHopLimit) {
  listen_options_.tos = 0xb8;
  listen_options_.hop_limit = 7;
  Connection c = Open();
  EXPECT_EQ(syn_ack_.tos, 0xb8);
  const auto hop_limit_of = [&](const Bytes& frame) { return frame[v6_ ? 21 : 22]; };
  c.Write("x");
  Poll();
  ASSERT_EQ(port_->sent_count(), 1u);
  Bytes frame = port_->TakeSent();
  EXPECT_EQ(ParseSent(frame)->tos, 0xb8);
  EXPECT_EQ(hop_limit_of(frame), 7);
  TcpOptionsSet options = listen_options_;
  options.tos = 0x28;
  options.hop_limit = 0;
  c.SetOptions(options);
  c.Write("y");
  Give(Ack(1));
  ASSERT_EQ(port_->sent_count(), 1u);
  frame = port_->TakeSent();
  EXPECT_EQ(ParseSent(frame)->tos, 0x28);
  EXPECT_EQ(hop_limit_of(frame), 64);
}

// MUST-41: a passive open minds no other.
TEST_P(RequirementsTest, OpensDoNotDisturbEachOther) {
  Connection first = Open();
  tuple_.remote_port = kPeerPort + 1;
  Connection second = Open();
  Give(Ack().Data("for the second"));
  EXPECT_EQ(Read(first), "");
  EXPECT_EQ(Read(second), "for the second");
  EXPECT_EQ(first.state(), TcpState::kEstablished);
}

}  // namespace
}  // namespace usher::test
