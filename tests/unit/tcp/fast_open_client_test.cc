// Data in the SYN of an active open, RFC 7413 section 4.2.
#include "tests/support/connection_fixture.h"

namespace usher::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class FastOpenClientTest : public ConnectionTest {
 protected:
  // The SYN of an active open with `data`, under a cookie of 8 bytes where `syn_` asks for one.
  SentTcp OpenWith(const std::string& data) {
    Make();
    syn_.cookie.length = 8;
    syn_.data = {reinterpret_cast<const uint8_t*>(data.data()), data.size()};
    Handle handle;
    EXPECT_EQ(shard().Connect(remote_, 8080, {}, &handle, static_cast<Application*>(&app_),
                              std::nullopt, 0, &syn_),
              Error::kNone);
    tcp_ = shard().Find(handle);
    tuple_ = tcp_->tuple();
    const auto sent = TakeAfterPoll();
    EXPECT_THAT(sent, SizeIs(1));
    if (sent.empty()) return {};
    iss_ = sent[0].seq.value();
    our_nxt_ = sent[0].EndSeq();
    peer_nxt_ = P(0);
    return sent[0];
  }

  FastOpenSyn syn_;
  TcpConnection* tcp_ = nullptr;
};
USHER_FOR_BOTH_FAMILIES(FastOpenClientTest);

TEST_P(FastOpenClientTest, TheSynHasCookieAndData) {
  const SentTcp syn = OpenWith("hello");
  EXPECT_EQ(syn.flags, TcpFlags::kSyn);
  EXPECT_EQ(syn.payload, "hello");
  ASSERT_TRUE(syn.options.fast_open.has_value());
  EXPECT_EQ(syn.options.fast_open->length, 8);
  Give(SynAck().AckNo(O(5)));
  const SentTcp ack = TakeOne();
  EXPECT_EQ(ack.seq, O(5));
  EXPECT_EQ(ack.flags, TcpFlags::kAck);
  EXPECT_THAT(ack.payload, IsEmpty());
  EXPECT_EQ(tcp_->state(), TcpState::kEstablished);
  EXPECT_EQ(tcp_->unacked_bytes(), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActive), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActiveFail), 0u);
}

// Linux's tcp_fastopen bit 0x4: data without a cookie, for networks whose owner vouches for it.
TEST_P(FastOpenClientTest, DataMayGoWithoutTheOption) {
  syn_.has_option = false;
  const SentTcp syn = OpenWith("hello");
  EXPECT_EQ(syn.payload, "hello");
  EXPECT_FALSE(syn.options.fast_open.has_value());
}

TEST_P(FastOpenClientTest, WithoutDataItIsAnOrdinaryOpen) {
  EXPECT_THAT(OpenWith("").payload, IsEmpty());
  Give(SynAck());
  EXPECT_EQ(TakeOne().flags, TcpFlags::kAck);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActive), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActiveFail), 0u);
}

// All forty bytes of options are left free: what the SYN has is part of the MSS it may fill.
TEST_P(FastOpenClientTest, WhatDoesNotFitWaitsForItsWriter) {
  const SentTcp syn = OpenWith(std::string(5000, 'x'));
  EXPECT_EQ(syn.payload.size(), (v6_ ? 1440u : 1460u) - TcpOptions::kMaxSize);
  EXPECT_EQ(tcp_->unacked_bytes(), syn.payload.size());
}

// The SYN's own options, timestamps too, are among the forty.
TEST_P(FastOpenClientTest, TimestampsDoNotCountTwice) {
  timestamps_ = true;
  options_.sysctls.tcp_timestamps = 1;
  const SentTcp with = OpenWith(std::string(5000, 'x'));
  EXPECT_TRUE(with.options.timestamps.has_value());
  EXPECT_EQ(with.payload.size(), (v6_ ? 1440u : 1460u) - TcpOptions::kMaxSize);
  Give(SynAck().AckNo(O(static_cast<int64_t>(with.payload.size()))));
  EXPECT_EQ(tcp_->unacked_bytes(), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActive), 1u);
}

TEST_P(FastOpenClientTest, WithoutTimestampsThereIsAsMuchRoom) {
  options_.sysctls.tcp_timestamps = 0;
  const SentTcp without = OpenWith(std::string(5000, 'x'));
  EXPECT_FALSE(without.options.timestamps.has_value());
  EXPECT_EQ(without.payload.size(), (v6_ ? 1440u : 1460u) - TcpOptions::kMaxSize);
}

TEST_P(FastOpenClientTest, ThePeersRememberedMssBoundsTheData) {
  syn_.mss = 600;
  EXPECT_EQ(OpenWith(std::string(5000, 'x')).payload.size(), 600 - TcpOptions::kMaxSize);
}

// An MSS that the options fill alone leaves no room for data: then they are not in the SYN.
TEST_P(FastOpenClientTest, AnMssWithoutRoomForDataLeavesTheSynBare) {
  options_.sysctls.tcp_min_snd_mss = 40;
  syn_.mss = 40;
  EXPECT_THAT(OpenWith("hello").payload, IsEmpty());
  EXPECT_EQ(tcp_->unacked_bytes(), 0u);
}

// No congestion: the window of ten segments stands.
TEST_P(FastOpenClientTest, DataThatThePeerDidNotTakeGoesAgainWithTheAcknowledgment) {
  OpenWith("hello");
  Give(SynAck());
  const SentTcp again = TakeOne();
  EXPECT_EQ(again.seq, O(0));
  EXPECT_EQ(again.flags, TcpFlags::kAck | TcpFlags::kPsh);
  EXPECT_EQ(again.payload, "hello");
  EXPECT_EQ(again.ack, P(0));
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActiveFail), 1u);
  EXPECT_EQ(Count(Counter::TcpExtTCPFastOpenActive), 0u);
  const ConnectionPeek peek{*tcp_};
  EXPECT_EQ(peek.cwnd(), 10 * peek.mss());
  Give(Ack(5));
  EXPECT_EQ(tcp_->unacked_bytes(), 0u);
}

TEST_P(FastOpenClientTest, OnlyWhatAPartialAcknowledgmentLeftGoesAgain) {
  OpenWith("hello world");
  Give(SynAck().AckNo(O(6)));
  const SentTcp again = TakeOne();
  EXPECT_EQ(again.seq, O(6));
  EXPECT_EQ(again.payload, "world");
  Give(Ack(11));
  EXPECT_EQ(tcp_->unacked_bytes(), 0u);
}

TEST_P(FastOpenClientTest, ALostSynGoesAgainAlone) {
  OpenWith("hello");
  AdvanceBy(Duration::Millis(1100));
  const SentTcp again = TakeOne();
  EXPECT_EQ(again.flags, TcpFlags::kSyn);
  EXPECT_EQ(again.seq, Seq(iss_));
  EXPECT_THAT(again.payload, IsEmpty());
  EXPECT_FALSE(again.options.fast_open.has_value());
  Give(SynAck());
  EXPECT_EQ(TakeOne().payload, "hello");
}

// An acknowledgment of more than was sent is no SYN-ACK to us (RFC 9293 section 3.10.7.3).
TEST_P(FastOpenClientTest, AnAcknowledgmentBeyondTheDataIsReset) {
  OpenWith("hello");
  Give(SynAck().AckNo(O(6)));
  EXPECT_EQ(TakeOne().flags, TcpFlags::kRst);
  EXPECT_EQ(tcp_->state(), TcpState::kSynSent);
}

}  // namespace
}  // namespace usher::test
