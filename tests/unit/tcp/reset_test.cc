// RFC 9293 section 3.10.7.1: what is answered when there is no connection.
#include "stack/tcp/reset.h"

#include "stack/ip/interface.h"
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;

// A stack that has nothing at port 81.
class ResetTest : public ConnectionTest {
 protected:
  void SetUp() override {
    Make();
    tuple_.local_port = 81;
  }
  SegmentBuilder Segment(std::string_view flags) { return From(tuple_).Flags(flags); }
};
USHER_FOR_BOTH_FAMILIES(ResetTest);

TEST_P(ResetTest, WithAnAckItTakesItsNumberFromIt) {
  for (const char* flags : {"A", "SA", "FA", "PA"}) {
    Give(Segment(flags).SeqNo(Seq(100)).AckNo(Seq(0xffffffff)).Data("abc"));
    const SentTcp rst = TakeOne();
    EXPECT_THAT(rst, AllOf(HasFlags("R"), HasSeq(Seq(0xffffffff)), HasLength(0), HasWindow(0)));
    EXPECT_EQ(rst.tuple, tuple_);
    EXPECT_EQ(rst.to, kPeerMac);
  }
}

TEST_P(ResetTest, WithoutAnAckItAcknowledgesTheWholeSegment) {
  struct Case {
    const char* flags;
    const char* data;
    uint32_t length;
  };
  for (const Case& c : {Case{".", "", 0},
                        {"S", "", 1},
                        {"F", "", 1},
                        {"S", "abc", 4},
                        {"SF", "abc", 5},
                        {".", "abc", 3}}) {
    Give(Segment(c.flags).SeqNo(Seq(0xfffffffe)).Data(c.data));
    EXPECT_THAT(TakeOne(), AllOf(HasFlags("RA"), HasSeq(Seq(0)), Acks(Seq(0xfffffffe) + c.length)))
        << c.flags << " with " << c.length;
  }
}

TEST_P(ResetTest, AResetIsNeverAnswered) {
  for (const char* flags : {"R", "RA", "SR", "RSFA"}) {
    Give(Segment(flags).SeqNo(Seq(5)).AckNo(Seq(6)));
    EXPECT_THAT(TakeSent(), IsEmpty()) << flags;
  }
  EXPECT_EQ(Count(Counter::TcpOutRsts), 0u);
}

TEST_P(ResetTest, WhatWentToManyIsNeverAnswered) {
  for (const MacAddress& to :
       {MacAddress{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, MacAddress{{0x33, 0x33, 0, 0, 0, 1}}}) {
    Give(Segment("S").SeqNo(Seq(5)).To(to));
    EXPECT_THAT(TakeSent(), IsEmpty());
  }
}

TEST_P(ResetTest, EveryOneIsCounted) {
  const uint64_t out = Count(Counter::TcpOutSegs);
  Give(Segment("S").SeqNo(Seq(5)));
  Give(Segment("A").SeqNo(Seq(5)).AckNo(Seq(6)));
  EXPECT_EQ(TakeSent().size(), 2u);
  EXPECT_EQ(Count(Counter::TcpOutRsts), 2u);
  EXPECT_EQ(Count(Counter::TcpOutSegs), out + 2);
}

// It is sent in the segment's own buffer: an empty pool does not silence it.
TEST_P(ResetTest, NeedsNoBufferOfItsOwn) {
  Inject(Segment("S").SeqNo(Seq(5)));
  std::vector<Packet> held;
  for (Packet p; pool_->Allocate(&p);) held.push_back(p);
  Poll();
  EXPECT_THAT(TakeOne(), HasFlags("RA"));
  for (const Packet& p : held) pool_->Free(p.handle);
}

}  // namespace
}  // namespace usher::test
