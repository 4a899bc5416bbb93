// Urgent data, as Linux has it (RFC 6093).
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;

class UrgentTest : public ConnectionTest {
 protected:
  // The peer's data, its last byte urgent.
  SegmentBuilder Urgent(std::string_view text) {
    return Ack().Flags("AU").Data(text).Urgent(static_cast<uint16_t>(text.size()));
  }
  // The urgent byte, or why there is none.
  Error ReadUrgent() {
    byte_ = 0;
    return c_.ReadUrgent(&byte_);
  }
  uint8_t byte_ = 0;
};
USHER_FOR_BOTH_FAMILIES(UrgentTest);

// ---- Receiving ----

TEST_P(UrgentTest, TheByteIsOutOfTheStream) {
  Open();
  Give(Urgent("abcX"));
  EXPECT_EQ(app_.urgent, 1);
  EXPECT_EQ(ReadUrgent(), Error::kNone);
  EXPECT_EQ(byte_, 'X');
  EXPECT_EQ(ReadUrgent(), Error::kInvalid) << "once";
  Give(Ack().Data("def"));
  EXPECT_EQ(Read(c_), "abc") << "not beyond the mark in one read";
  EXPECT_TRUE(c_.at_mark());
  EXPECT_EQ(Read(c_), "def");
  EXPECT_FALSE(c_.at_mark());
  Check();
}

TEST_P(UrgentTest, InLineItIsPartOfTheStream) {
  listen_options_.oob_inline = true;
  Open();
  Give(Urgent("abcX"));
  Give(Ack().Data("def"));
  EXPECT_EQ(ReadUrgent(), Error::kInvalid);
  EXPECT_EQ(Read(c_), "abc");
  EXPECT_TRUE(c_.at_mark());
  EXPECT_EQ(Read(c_), "Xdef");
  EXPECT_FALSE(c_.at_mark());
}

TEST_P(UrgentTest, WhoReadsPastItHasLostIt) {
  Open();
  Give(Urgent("abcX"));
  Give(Ack().Data("def"));
  EXPECT_EQ(Read(c_), "abc");
  EXPECT_EQ(Read(c_), "def");
  EXPECT_EQ(ReadUrgent(), Error::kInvalid);
}

TEST_P(UrgentTest, ThePointerMayComeFirst) {
  Open();
  Give(Ack().Flags("AU").Data("ab").Urgent(5));  // the fifth byte from here
  EXPECT_EQ(app_.urgent, 1);
  EXPECT_EQ(ReadUrgent(), Error::kAgain);
  Give(Ack().Data("cdXef"));
  EXPECT_EQ(app_.urgent, 1);
  EXPECT_EQ(ReadUrgent(), Error::kNone);
  EXPECT_EQ(byte_, 'X');
  EXPECT_EQ(Read(c_), "abcd");
  EXPECT_EQ(Read(c_), "ef");
}

TEST_P(UrgentTest, AByteBeyondAHoleIsTakenAtOnce) {
  Open();
  Give(From(tuple_).Flags("AU").SeqNo(P(3)).AckNo(our_nxt_).Data("X").Urgent(1));
  EXPECT_EQ(ReadUrgent(), Error::kNone);
  EXPECT_EQ(byte_, 'X');
  Give(From(tuple_).Ack(P(0), our_nxt_).Data("abc"));
  EXPECT_EQ(Read(c_), "abc");
  EXPECT_EQ(Read(c_), "");
  EXPECT_EQ(last_error_, Error::kAgain);
  Check();
}

TEST_P(UrgentTest, TheLastOneCounts) {
  Open();
  Give(Urgent("aX"));
  Give(Urgent("bY"));
  EXPECT_EQ(app_.urgent, 2);
  EXPECT_EQ(ReadUrgent(), Error::kNone);
  EXPECT_EQ(byte_, 'Y');
  EXPECT_EQ(Read(c_), "aXb") << "the one before is plain data now";
}

TEST_P(UrgentTest, AnOldOneIsNotTold) {
  Open();
  const SegmentBuilder segment = Urgent("abX");
  Give(segment);
  Give(segment);  // again
  Give(Ack().Flags("AU").Urgent(0));
  EXPECT_EQ(app_.urgent, 1);
  EXPECT_EQ(Read(c_), "ab");
}

TEST_P(UrgentTest, APointerOfZeroNamesNoByte) {
  Open();
  Give(Ack().Flags("PAU").Data("urgent"));
  EXPECT_EQ(app_.urgent, 0);
  EXPECT_EQ(Read(c_), "urgent");
}

TEST_P(UrgentTest, TheOtherReadingOfThePointer) {
  options_.sysctls.tcp_stdurg = 1;
  Open();
  Give(Ack().Flags("AU").Data("abXc").Urgent(2));
  EXPECT_EQ(ReadUrgent(), Error::kNone);
  EXPECT_EQ(byte_, 'X');
}

TEST_P(UrgentTest, PeekAndSlicesStopAtTheMark) {
  Open();
  Give(Urgent("abX"));
  Give(Ack().Data("def"));
  std::span<const uint8_t> bytes;
  EXPECT_EQ(c_.Peek(&bytes).bytes, 2u);
  EXPECT_EQ(c_.Discard(100), Error::kNone);
  Slice slice;
  EXPECT_EQ(c_.ReadSlice(&slice).bytes, 3u);
  EXPECT_EQ(std::string(slice.bytes().begin(), slice.bytes().end()), "def");
  slice = Slice();
  Check();
}

TEST_P(UrgentTest, TheEndBehindIt) {
  Open();
  Give(Ack().Flags("AUF").Data("abX").Urgent(3));
  EXPECT_EQ(Read(c_), "ab");
  EXPECT_EQ(Read(c_), "");
  EXPECT_EQ(last_error_, Error::kNone) << "the end of the stream";
  Check();
}

// ---- Sending ----

TEST_P(UrgentTest, ThePointerStandsBehindTheLastByte) {
  Open();
  const std::string text = "abX";
  EXPECT_EQ(c_.WriteUrgent({reinterpret_cast<const uint8_t*>(text.data()), text.size()}).bytes, 3u);
  Poll();
  const SentTcp sent = TakeOne();
  EXPECT_THAT(sent, AllOf(HasFlags("PAU"), HasPayload("abX")));
  EXPECT_EQ(sent.urgent, 3u);
  Give(Ack());
  c_.Write("def");
  Poll();
  EXPECT_THAT(TakeSent(), ElementsAre(AllOf(HasFlags("PA"), HasPayload("def"))));
}

TEST_P(UrgentTest, EverySegmentBeforeItSaysSo) {
  Open();
  const uint32_t mss = Peek(c_).mss();
  c_.Write(std::string(2 * mss - 1, 'a'));
  const std::string x = "X";
  c_.WriteUrgent({reinterpret_cast<const uint8_t*>(x.data()), 1});
  c_.Write(std::string(mss, 'b'));
  Poll();
  const auto sent = TakeSent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0].urgent, 2 * mss);
  EXPECT_EQ(sent[1].urgent, mss);
  EXPECT_EQ(sent[1].payload.back(), 'X');
  EXPECT_EQ(sent[2].flags & TcpFlags::kUrg, 0);
  EXPECT_EQ(sent[2].urgent, 0u);
}

// RFC 6093 section 3: the pointer is only 16 bits wide; as far as it reaches it says "beyond".
TEST_P(UrgentTest, FarAheadThePointerSaysAsFarAsItCan) {
  window_scale_ = 4;
  window_ = 65535;
  options_.sysctls.tcp_wmem = {4096, 400'000, 400'000};
  Open();
  Give(Ack());
  EXPECT_EQ(c_.Write(std::string(100'000, 'a')).bytes, 100'000u);
  const std::string x = "X";
  EXPECT_EQ(c_.WriteUrgent({reinterpret_cast<const uint8_t*>(x.data()), 1}).bytes, 1u);
  Poll();
  const auto sent = TakeSent();
  ASSERT_FALSE(sent.empty());
  for (const SentTcp& s : sent) {
    EXPECT_THAT(s.flags & TcpFlags::kUrg, TcpFlags::kUrg);
    EXPECT_EQ(s.urgent, UINT16_MAX);
  }
  // Nearer to the byte it points at it.
  int64_t acked = 0;
  for (int round = 0; round < 50 && acked < 100'001; ++round) {
    acked = our_nxt_ - O(0);
    Give(Ack(acked));
    for (const SentTcp& s : TakeSent())
      EXPECT_EQ(s.urgent, std::min<int64_t>(O(100'001) - s.seq, UINT16_MAX)) << s.seq - O(0);
  }
  EXPECT_EQ(acked, 100'001);
}

// In line the byte is read like any other, and then the mark is behind the reader.
TEST_P(UrgentTest, InLineTheMarkIsPassedByReading) {
  listen_options_.oob_inline = true;
  Open();
  Give(Urgent("abX"));
  Give(Ack().Data("def"));
  EXPECT_EQ(Read(c_), "ab");
  EXPECT_TRUE(tcp(c_)->at_mark());
  EXPECT_EQ(Read(c_, 2), "Xd");
  EXPECT_FALSE(tcp(c_)->at_mark());
  EXPECT_EQ(Read(c_), "ef");
  EXPECT_EQ(ReadUrgent(), Error::kInvalid);
  Give(Urgent("ghY"));
  EXPECT_EQ(app_.urgent, 2);
  EXPECT_EQ(Read(c_), "gh");
  EXPECT_EQ(Read(c_), "Y");
}

}  // namespace
}  // namespace usher::test
