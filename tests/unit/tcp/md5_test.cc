// TCP MD5 signatures, RFC 2385: stack/tcp/md5.h, and a signed connection from SYN to TIME-WAIT.
#include "stack/tcp/md5.h"

#include "tests/support/connection_fixture.h"
#include "tests/support/md5_segments.h"

namespace usher::test {
namespace {

using ::testing::AllOf;
using ::testing::IsEmpty;
using ::testing::Not;

Md5Key Key(std::string_view text) {
  return Md5Key::From({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}
Md5Rule Rule(std::string_view peer, uint8_t length, std::string_view key) {
  return {Ip(peer), length, Key(key)};
}

TEST(Md5RulesTest, TheLongestPrefixHasTheKey) {
  Md5Rules rules;
  EXPECT_EQ(FindMd5Key(rules, Ip("198.18.0.1")), nullptr);
  EXPECT_TRUE(SetMd5Rule(rules, Rule("198.18.0.0", 15, "wide")));
  EXPECT_TRUE(SetMd5Rule(rules, Rule("198.18.0.1", 32, "one")));
  EXPECT_TRUE(SetMd5Rule(rules, Rule("198.18.0.0", 24, "near")));
  EXPECT_TRUE(SetMd5Rule(rules, Rule("2001:2::", 32, "six")));
  EXPECT_EQ(*FindMd5Key(rules, Ip("198.18.0.1")), Key("one"));
  EXPECT_EQ(*FindMd5Key(rules, Ip("198.18.0.2")), Key("near"));
  EXPECT_EQ(*FindMd5Key(rules, Ip("198.19.0.2")), Key("wide"));
  EXPECT_EQ(*FindMd5Key(rules, Ip("2001:2::7")), Key("six"));
  EXPECT_EQ(FindMd5Key(rules, Ip("198.20.0.1")), nullptr);
  EXPECT_TRUE(SetMd5Rule(rules, Rule("198.18.0.1", 32, "other")));
  EXPECT_EQ(*FindMd5Key(rules, Ip("198.18.0.1")), Key("other"));
  EXPECT_TRUE(SetMd5Rule(rules, Rule("198.18.0.1", 32, "")));
  EXPECT_EQ(*FindMd5Key(rules, Ip("198.18.0.1")), Key("near"));
  EXPECT_FALSE(SetMd5Rule(rules, Rule("198.18.0.1", 32, "")));
  EXPECT_EQ(rules.size(), 3u);
}

TEST(Md5KeyTest, ALongSecretIsCut) {
  const std::string secret(100, 'x');
  EXPECT_EQ(Key(secret).size, 80);
  EXPECT_EQ(Key(secret), Key(secret.substr(0, 80)));
}

TEST(Md5KeysTest, EqualKeysAreOneAsLongAsTheyAreUsed) {
  Md5Keys keys;
  EXPECT_EQ(keys.Find(Md5Keys::kNone), nullptr);
  const uint16_t a = keys.Acquire(Key("a"));
  const uint16_t b = keys.Acquire(Key("b"));
  EXPECT_NE(a, b);
  EXPECT_EQ(keys.Acquire(Key("a")), a);
  keys.Hold(a);
  EXPECT_EQ(keys.in_use(), 2u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*keys.Find(a), Key("a"));
    keys.Release(a);
  }
  EXPECT_EQ(keys.in_use(), 1u);
  keys.Release(Md5Keys::kNone);
  EXPECT_EQ(*keys.Find(b), Key("b"));
}

TEST(Md5KeysTest, AreBounded) {
  Md5Keys keys;
  for (uint32_t i = 0; i < Md5Keys::kCapacity; ++i) {
    EXPECT_TRUE(keys.HasRoomFor(Key(std::to_string(i))));
    EXPECT_NE(keys.Acquire(Key(std::to_string(i))), Md5Keys::kNone);
  }
  EXPECT_FALSE(keys.HasRoomFor(Key("one more")));
  EXPECT_EQ(keys.Acquire(Key("one more")), Md5Keys::kNone);
  EXPECT_TRUE(keys.HasRoomFor(Key("7")));
}

// What Python's hashlib makes of RFC 2385's words.
TEST(SignSegmentTest, KnownDigests) {
  struct Row {
    const char* local;
    const char* remote;
    const char* payload;
    std::array<uint8_t, 16> digest;
  } const rows[] = {
      {"198.18.0.1",
       "198.18.0.2",
       "",
       {0x82, 0xcf, 0xef, 0x0b, 0xaa, 0xd5, 0x20, 0x3e, 0x9e, 0xb0, 0x7b, 0xf0, 0x1e, 0x26, 0x46,
        0xf0}},
      {"198.18.0.1",
       "198.18.0.2",
       "hello",
       {0xa9, 0x17, 0xba, 0x9a, 0x30, 0x5f, 0xf7, 0x5b, 0x0c, 0xa3, 0xe9, 0xa4, 0x1a, 0xb8, 0x33,
        0xee}},
      {"2001:2::1",
       "2001:2::2",
       "",
       {0xad, 0x07, 0x90, 0xd3, 0xbc, 0x84, 0x25, 0xe0, 0x7a, 0xe5, 0x10, 0x98, 0x54, 0x1a, 0x99,
        0x97}},
      {"2001:2::1",
       "2001:2::2",
       "hello",
       {0xa1, 0x7b, 0xc1, 0x98, 0xf0, 0xe4, 0x84, 0x76, 0x54, 0x80, 0x09, 0x13, 0xfa, 0x7f, 0xd8,
        0x20}},
  };
  for (const Row& row : rows) {
    const std::string_view payload = row.payload;
    TcpHeader h;
    h.src_port = 40000;
    h.dst_port = 80;
    h.seq = Seq(1000);
    h.flags = TcpFlags::kSyn;
    h.window = 65535;
    TcpOptions options;
    options.md5 = true;
    Bytes segment(40 + payload.size());
    ASSERT_EQ(h.Emit(segment.data(), options), 40u);
    std::copy(payload.begin(), payload.end(), segment.begin() + 40);
    Store16(segment.data() + 16, 0x1234);  // is not in it
    SignSegment(Key("secret"), {Ip(row.local), Ip(row.remote), 40000, 80}, segment.data(), 40,
                static_cast<uint32_t>(payload.size()));
    EXPECT_TRUE(std::equal(row.digest.begin(), row.digest.end(), segment.begin() + 24))
        << row.local << " " << row.payload;
  }
}

constexpr std::string_view kKey = "between us";

class Md5Test : public ConnectionTest {
 protected:
  Md5Test() { sack_ = true; }
  // A listener on another port, which has a key for the peer.
  void ListenSigned() {
    Make();
    tuple_.local_port = 179;
    ListenSpec spec{.port = 179, .options = listen_options_};
    spec.md5 = {{remote_, static_cast<uint8_t>(v6_ ? 128 : 32), Key(kKey)}};
    ASSERT_TRUE(stack_->Listen(spec, app_).ok());
  }
  // Frames that were sent; all of them have to be signed.
  std::vector<SentTcp> TakeSigned() {
    std::vector<SentTcp> all;
    while (port_->sent_count() > 0) {
      const Bytes frame = port_->TakeSent();
      const auto sent = ParseSent(frame);
      if (!sent) continue;
      EXPECT_TRUE(IsSigned(frame, kKey)) << *sent;
      all.push_back(*sent);
      const Seq end = sent->EndSeq();
      if (end > our_nxt_) our_nxt_ = end;
    }
    return all;
  }
  SentTcp TakeOneSigned() {
    const auto all = TakeSigned();
    EXPECT_EQ(all.size(), 1u) << ::testing::PrintToString(all);
    return all.empty() ? SentTcp() : all[0];
  }
  void GiveSigned(const SegmentBuilder& b, std::string_view key = kKey) {
    ASSERT_TRUE(port_->Inject(Signed(b, key)));
    const Seq end = b.EndSeq();
    if (key == kKey && end > peer_nxt_) peer_nxt_ = end;
    Poll();
  }
  Connection OpenSigned() {
    ListenSigned();
    GiveSigned(SynOf(Seq(peer_isn_)));
    syn_ack_ = TakeOneSigned();
    iss_ = syn_ack_.seq.value();
    our_nxt_ = O(0);
    peer_nxt_ = P(0);
    GiveSigned(Ack());
    EXPECT_THAT(TakeSigned(), IsEmpty());
    EXPECT_EQ(app_.accepted.size(), 1u);
    return c_ = app_.accepted.empty() ? Connection() : app_.accepted.back();
  }
  // Given wrongly in each way: nothing happens but that it is counted.
  void ExpectRefused(const SegmentBuilder& b) {
    const uint64_t missing = Count(Counter::TcpExtTCPMD5NotFound);
    const uint64_t wrong = Count(Counter::TcpExtTCPMD5Failure);
    const Seq next = peer_nxt_;
    GiveSilently(b);
    peer_nxt_ = next;
    EXPECT_EQ(Count(Counter::TcpExtTCPMD5NotFound), missing + 1);
    GiveSigned(b, "another");
    EXPECT_THAT(TakeSent(), IsEmpty());
    EXPECT_EQ(Count(Counter::TcpExtTCPMD5Failure), wrong + 1);
  }
};

TEST_P(Md5Test, AHandshakeAndDataBothWays) {
  Connection c = OpenSigned();
  // No room for timestamps beside SACK and a signature (Linux's tcp_synack_options).
  EXPECT_THAT(syn_ack_, AllOf(HasFlags("SA"), HasSackPermitted(), Not(HasTimestamps())));
  GiveSigned(Ack().Data("hello"));
  EXPECT_EQ(Read(c), "hello");
  EXPECT_THAT(TakeOneSigned(), Acks(P(5)));
  c.Write(std::string(5000, 'x'));
  Poll();
  const auto sent = TakeSigned();
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_THAT(sent[0], HasLength((v6_ ? 1440 : 1460) - 20));
  GiveSigned(Ack());
  EXPECT_EQ(tcp(c)->unacked_bytes(), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPMD5Failure) + Count(Counter::TcpExtTCPMD5NotFound), 0u);
}

TEST_P(Md5Test, WithoutSackThereAreTimestamps) {
  sack_ = false;
  timestamps_ = true;
  Connection c = OpenSigned();
  EXPECT_THAT(syn_ack_, HasTimestamps());
  last_tsval_ = syn_ack_.tsval();
  c.Write(std::string(3000, 'x'));
  Poll();
  const auto sent = TakeSigned();
  ASSERT_GE(sent.size(), 1u);
  EXPECT_THAT(sent[0], AllOf(HasTimestamps(), HasLength((v6_ ? 1440 : 1460) - 32)));
}

TEST_P(Md5Test, WhatIsNotSignedRightIsDroppedInSilenceEverywhere) {
  ListenSigned();
  const Listener* listener = nullptr;
  shard().passive_open().ForEachListener([&](Handle, const Listener& l) {
    if (l.spec.port == 179) listener = &l;
  });
  ASSERT_NE(listener, nullptr);
  const DropLedger& drops = listener->counters.drops;
  ExpectRefused(SynOf(Seq(peer_isn_)));                   // LISTEN
  ExpectRefused(Flags("A").SeqNo(Seq(1)).AckNo(Seq(2)));  // no RST
  EXPECT_EQ(drops[DropReason::kSynSignature], 2u);
  EXPECT_EQ(drops[DropReason::kAckSignature], 2u);
  GiveSigned(SynOf(Seq(peer_isn_)));
  const SentTcp syn_ack = TakeOneSigned();
  iss_ = syn_ack.seq.value();
  our_nxt_ = O(0);
  peer_nxt_ = P(0);
  ExpectRefused(Ack());  // SYN-RECEIVED
  ExpectRefused(Flags("R").SeqNo(P(0)));
  EXPECT_EQ(drops[DropReason::kAckSignature], 4u);
  GiveSigned(Ack());
  ASSERT_EQ(app_.accepted.size(), 1u);
  Connection c = app_.accepted[0];
  ExpectRefused(Ack().Data("forged"));  // ESTABLISHED
  ExpectRefused(Flags("R").SeqNo(P(0)));
  EXPECT_EQ(c.state(), TcpState::kEstablished);
  EXPECT_EQ(tcp(c)->readable_bytes(), 0u);
  c.Close();
  Poll();
  EXPECT_THAT(TakeOneSigned(), HasFlags("AF"));
  GiveSigned(Ack().Flags("AF"));  // TIME-WAIT
  EXPECT_THAT(TakeOneSigned(), HasFlags("A"));
  ExpectRefused(Flags("R").SeqNo(P(1)));
  ExpectRefused(Flags("AF").SeqNo(P(0)).AckNo(our_nxt_));
  GiveSigned(Flags("AF").SeqNo(P(0)).AckNo(our_nxt_));
  EXPECT_THAT(TakeOneSigned(), AllOf(HasFlags("A"), Acks(P(1))));
  AdvanceBy(Duration::Seconds(61));
  ExpectNothingLeft();
  EXPECT_EQ(shard().context().md5_keys.in_use(), 0u);
}

TEST_P(Md5Test, ResetsAreSigned) {
  ListenSigned();
  GiveSigned(Flags("A").SeqNo(Seq(1)).AckNo(Seq(77)));
  EXPECT_THAT(TakeOneSigned(), AllOf(HasFlags("R"), HasSeq(Seq(77))));
  GiveSigned(SynOf(Seq(peer_isn_)));
  iss_ = TakeOneSigned().seq.value();
  our_nxt_ = O(0);
  peer_nxt_ = P(0);
  GiveSigned(Ack());
  ASSERT_EQ(app_.accepted.size(), 1u);
  app_.accepted[0].Abort();
  Poll();
  EXPECT_THAT(TakeOneSigned(), HasFlags("RA"));
  EXPECT_EQ(shard().context().md5_keys.in_use(), 0u);
}

TEST_P(Md5Test, TwoSackBlocksFit) {
  Connection c = OpenSigned();
  for (const int at : {10, 30, 50})
    GiveSigned(Flags("A").SeqNo(P(at)).AckNo(O(0)).Data("0123456789"));
  const auto sent = TakeSigned();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[2].options.sack_count, 2);
  EXPECT_EQ(sent[2].option_bytes.size(), 40u);
  // And data makes room for them.
  c.Write(std::string(3000, 'x'));
  Poll();
  EXPECT_THAT(TakeSigned()[0], HasLength((v6_ ? 1440 : 1460) - 40));
}

TEST_P(Md5Test, WhatTheTimersSendIsSigned) {
  Connection c = OpenSigned();
  c.Write("hello");
  Poll();
  TakeSigned();
  AdvanceBy(Duration::Seconds(5));
  const auto again = TakeSigned();
  EXPECT_GE(again.size(), 2u);
  for (const SentTcp& s : again) EXPECT_THAT(s, HasPayload("hello"));
}

TEST_P(Md5Test, SynAcksByCookieAndByTheTimerAreSigned) {
  timestamps_ = true;
  options_.sysctls.tcp_syncookies = 2;
  listen_options_.user_mss = 1000;
  Connection c = OpenSigned();
  // A cookie needs the timestamp to hold what was offered: SACK has to do without room.
  EXPECT_THAT(syn_ack_, AllOf(HasTimestamps(), HasSackPermitted()));
  EXPECT_EQ(Count(Counter::TcpExtSyncookiesRecv), 1u);
  last_tsval_ = syn_ack_.tsval();
  GiveSigned(Flags("A").SeqNo(P(10)).AckNo(O(0)).Data("0123456789"));
  const SentTcp ack = TakeOneSigned();
  EXPECT_EQ(ack.options.sack_count, 0);
  EXPECT_EQ(ack.option_bytes.size(), 32u);
  (void)c;
}

// Its cookie would have no room.
TEST_P(Md5Test, NoFastOpenBesideASignature) {
  options_.sysctls.tcp_fastopen = 0x602;
  ListenSigned();
  GiveSigned(SynOf(Seq(peer_isn_)).Data("early"));
  EXPECT_THAT(TakeOneSigned(), AllOf(HasFlags("SA"), Acks(P(0))));
}

TEST_P(Md5Test, ASynAckAgainIsSigned) {
  ListenSigned();
  GiveSigned(SynOf(Seq(peer_isn_)));
  TakeOneSigned();
  AdvanceBy(Duration::Seconds(1));
  EXPECT_THAT(TakeOneSigned(), HasFlags("SA"));
  GiveSigned(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeOneSigned(), HasFlags("SA"));
  // An acknowledgment of where the handshake stands.
  iss_ = 0;
  GiveSigned(Flags("R").SeqNo(P(7)));
  EXPECT_THAT(TakeSigned(), testing::Each(HasFlags("A")));
}

TEST_P(Md5Test, AnActiveOpenSignsAndWantsSignatures) {
  Make();
  TakeAfterPoll();
  const Md5Key key = Key(kKey);
  Connection c;
  ASSERT_EQ(stack_->Connect(0, remote_, 8080, app_, &c, {}, &key), Error::kNone);
  tuple_ = c.tuple();
  Poll();
  const SentTcp syn = TakeOneSigned();
  EXPECT_THAT(syn, AllOf(HasFlags("S"), HasSackPermitted(), Not(HasTimestamps()),
                         HasMss(v6_ ? 1440 : 1460)));
  iss_ = syn.seq.value();
  our_nxt_ = O(0);
  peer_nxt_ = P(0);
  ExpectRefused(SynAck());
  ExpectRefused(Flags("RA").SeqNo(Seq(0)).AckNo(O(0)));
  EXPECT_EQ(c.state(), TcpState::kSynSent);
  GiveSigned(SynAck());
  EXPECT_EQ(app_.connected, 1);
  EXPECT_THAT(TakeOneSigned(), HasFlags("A"));
  c.Abort();
  Poll();
  EXPECT_THAT(TakeOneSigned(), HasFlags("RA"));
}

TEST_P(Md5Test, ASignatureWithoutAKeyIsRefused) {
  Make();
  tuple_.local_port = 81;  // nobody's
  GiveSigned(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_EQ(Count(Counter::TcpExtTCPMD5Unexpected), 0u);
  tuple_.local_port = kPort;
  GiveSigned(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeSent(), IsEmpty());
  EXPECT_EQ(Count(Counter::TcpExtTCPMD5Unexpected), 1u);
  Connection c = Open();
  const Seq next = peer_nxt_;
  GiveSigned(Ack().Data("hello"));
  peer_nxt_ = next;
  EXPECT_EQ(tcp(c)->readable_bytes(), 0u);
  EXPECT_EQ(Count(Counter::TcpExtTCPMD5Unexpected), 2u);
}

TEST_P(Md5Test, APeerWithoutAKeyIsServedUnsigned) {
  ListenSigned();
  const IpAddress other = Ip(v6_ ? "2001:2::9" : "198.18.0.9");
  shard().interface(0).SetPermanentNeighbour(now_, other, kPeerMac);
  tuple_.remote = other;
  Give(SynOf(Seq(peer_isn_)));
  const SentTcp syn_ack = TakeOne();
  EXPECT_THAT(syn_ack, HasFlags("SA"));
  EXPECT_FALSE(syn_ack.options.md5);
}

// Keys change while the listener listens; connections keep theirs.
TEST_P(Md5Test, RulesChangeForWhatComesLater) {
  Connection c = OpenSigned();
  const auto bits = static_cast<uint8_t>(v6_ ? 128 : 32);
  Handle listener;
  shard().passive_open().ForEachListener([&](Handle h, const Listener& l) {
    if (l.spec.port == 179) listener = h;
  });
  Acceptor acceptor(&shard(), listener);
  EXPECT_EQ(acceptor.SetMd5Rule({remote_, bits, Key("new")}), Error::kNone);
  GiveSigned(Ack().Data("hello"));
  EXPECT_EQ(Read(c), "hello");
  EXPECT_EQ(acceptor.SetMd5Rule({remote_, bits, {}}), Error::kNone);
  EXPECT_EQ(acceptor.SetMd5Rule({remote_, bits, {}}), Error::kInvalid);
  EXPECT_EQ(Acceptor().SetMd5Rule({remote_, bits, {}}), Error::kBadHandle);
  TakeSigned();
  tuple_.remote_port = 4;
  Give(SynOf(Seq(peer_isn_)));
  EXPECT_THAT(TakeOne(), HasFlags("SA"));
}

USHER_FOR_BOTH_FAMILIES(Md5Test);

}  // namespace
}  // namespace usher::test
