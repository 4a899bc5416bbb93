#include "stack/ip/mld.h"

#include <algorithm>

#include "stack/wire/icmpv6.h"
#include "tests/unit/ip/context_fixture.h"

namespace usher::ip_test {
namespace {

class MldTest : public ContextTest {
 protected:
  // What the stack reported: source, destination, type, and the groups named.
  struct Report {
    IpAddress src, dst;
    uint8_t type = 0;
    uint8_t record_type = 0;
    std::vector<IpAddress> groups;
  };
  std::optional<Report> SentReport() {
    const auto sent = Sent();
    if (sent.size() < 14 + 40 + 8 + 8) return std::nullopt;
    const auto ip = Ipv6View::Parse({sent.data() + 14, sent.size() - 14});
    const auto walk = Ipv6Extensions::Walk(*ip);
    EXPECT_TRUE(walk.router_alert);
    EXPECT_EQ(ip->hop_limit(), 1);
    const ByteSpan message = ip->packet().subspan(walk.payload_at);
    EXPECT_TRUE(Icmpv6View::Parse(message)->VerifyChecksum(ip->src(), ip->dst()));
    Report report{ip->src(), ip->dst(), message[0], 0, {}};
    if (report.type == 131) {
      report.groups.push_back(LoadIpv6(&message[8]));
    } else {
      report.record_type = message[8];
      for (size_t i = 0; i < Load16(&message[6]); ++i)
        report.groups.push_back(LoadIpv6(&message[8 + i * 20 + 4]));
    }
    return report;
  }
  void Query(Mld& mld, size_t size, uint16_t delay_ms, const IpAddress& group,
             const IpAddress& from) {
    std::vector<uint8_t> q(28);
    q[0] = Icmpv6Type::kMldQuery;
    Store16(&q[4], delay_ms);
    StoreIpv6(&q[8], group);
    q.resize(size);
    std::vector<uint8_t> packet(40);
    Ipv6Header{.src = from,
               .dst = Ip("ff02::1"),
               .payload_length = static_cast<uint16_t>(size),
               .next_header = IpProtocol::kIcmpv6,
               .hop_limit = 1}
        .Emit(packet.data());
    packet.insert(packet.end(), q.begin(), q.end());
    mld.ReceiveQuery(*Ipv6View::Parse(packet), q);
  }
  void AdvanceTo(Mld& mld, Instant at) {
    context_->now = at;
    mld.Advance();
  }

  const IpAddress querier_ = *IpAddress::Parse("fe80::9");
};

TEST_F(MldTest, TwoAddressesOfOneGroupJoinItOnceAndTheLastLeavesIt) {
  Make();
  AddPreferred("2001:2::aa:bbcc");
  AddPreferred("fe80::1:aa:bbcc");
  Mld mld(*context_);
  mld.Join(addresses_.v6()[0].address);
  mld.Join(addresses_.v6()[1].address);
  EXPECT_EQ(mld.groups(), std::vector{Ip("ff02::1:ffaa:bbcc")});
  EXPECT_TRUE(mld.IsMember(Ip("ff02::1:ffaa:bbcc")));
  addresses_.v6()[0].state = AddressState::kDuplicate;
  mld.Leave(addresses_.v6()[0].address);
  EXPECT_TRUE(mld.IsMember(Ip("ff02::1:ffaa:bbcc"))) << "the other address is still in it";
  EXPECT_FALSE(SentReport());
  addresses_.v6()[1].state = AddressState::kDuplicate;
  mld.Leave(addresses_.v6()[1].address);
  EXPECT_TRUE(mld.groups().empty());
  const auto report = SentReport();
  ASSERT_TRUE(report);
  EXPECT_EQ(report->record_type, MldRecordType::kChangeToInclude);
  mld.Leave(addresses_.v6()[1].address);
  EXPECT_FALSE(SentReport()) << "left once";
}

TEST_F(MldTest, JoinsAreReportedAtOnceAndOnceMore) {
  Make();
  AddPreferred("fe80::1");
  Mld mld(*context_);
  EXPECT_EQ(mld.NextDeadline(), Instant::Never());
  mld.Join(Ip("fe80::1"));
  mld.ReportJoins();
  auto report = SentReport();
  ASSERT_TRUE(report);
  EXPECT_EQ(report->src, Ip("fe80::1"));
  EXPECT_EQ(report->dst, Ip("ff02::16"));
  EXPECT_EQ(report->record_type, MldRecordType::kChangeToExclude);
  EXPECT_LE(mld.NextDeadline(), now_ + Duration::Seconds(1));
  AdvanceTo(mld, mld.NextDeadline());
  EXPECT_TRUE(SentReport());
  EXPECT_EQ(mld.NextDeadline(), Instant::Never());
  AdvanceTo(mld, now_ + Duration::Seconds(100));
  EXPECT_FALSE(SentReport());
}

// RFC 3590: until a link-local address may be used, from the unspecified one.
TEST_F(MldTest, SourceIsUnspecifiedWhileTheLinkLocalAddressIsTested) {
  Make();
  addresses_.Add(Ip("fe80::1"), 64);
  Mld mld(*context_);
  mld.Join(Ip("fe80::1"));
  mld.ReportJoins();
  const auto report = SentReport();
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->src.is_unspecified());
}

TEST_F(MldTest, NothingJoinedNothingReported) {
  Make();
  Mld mld(*context_);
  mld.ReportJoins();
  Query(mld, 28, 0, IpAddress(), querier_);
  AdvanceTo(mld, now_ + Duration::Seconds(20));
  EXPECT_FALSE(SentReport());
}

TEST_F(MldTest, QueryIsAnsweredWithinItsTimeByItsVersion) {
  Make();
  AddPreferred("fe80::1");
  Mld mld(*context_);
  mld.Join(Ip("fe80::1"));
  Query(mld, 28, 5000, IpAddress(), querier_);
  EXPECT_LE(mld.NextDeadline(), now_ + Duration::Seconds(5));
  AdvanceTo(mld, mld.NextDeadline());
  auto report = SentReport();
  ASSERT_TRUE(report);
  EXPECT_EQ(report->type, Icmpv6Type::kMldv2Report);
  EXPECT_EQ(report->record_type, MldRecordType::kModeIsExclude);
  Query(mld, 24, 0, report->groups[0], querier_);
  AdvanceTo(mld, mld.NextDeadline());
  report = SentReport();
  ASSERT_TRUE(report);
  EXPECT_EQ(report->type, 131);
  EXPECT_EQ(report->dst, report->groups[0]) << "RFC 2710: to the group itself";
}

TEST_F(MldTest, SecondQueryNeverPutsTheAnswerOff) {
  Make();
  AddPreferred("fe80::1");
  Mld mld(*context_);
  mld.Join(Ip("fe80::1"));
  Query(mld, 28, 1000, IpAddress(), querier_);
  const Instant promised = mld.NextDeadline();
  for (int i = 0; i < 20; ++i) Query(mld, 28, 30'000, IpAddress(), querier_);
  EXPECT_LE(mld.NextDeadline(), promised);
}

TEST_F(MldTest, QueriesThatAreNotHonestAreIgnored) {
  Make();
  AddPreferred("fe80::1");
  Mld mld(*context_);
  mld.Join(Ip("fe80::1"));
  Query(mld, 28, 100, IpAddress(), Ip("2001:2::9"));  // RFC 3810 section 5.1.14
  Query(mld, 28, 100, Ip("ff02::1:ff99:9999"), querier_);
  for (size_t size = 20; size < 24; ++size) Query(mld, size, 100, IpAddress(), querier_);
  for (size_t size = 25; size < 28; ++size) Query(mld, size, 100, IpAddress(), querier_);
  EXPECT_EQ(mld.NextDeadline(), Instant::Never());
}

// 61 groups do not fit one packet of the minimum MTU.
TEST_F(MldTest, ManyGroupsTakeSeveralReports) {
  Make();
  Mld mld(*context_);
  for (uint32_t i = 0; i < 61; ++i) mld.Join(Ip("fe80::" + std::to_string(i + 1)));
  ASSERT_EQ(mld.groups().size(), 61u);
  mld.ReportJoins();
  const auto first = SentReport();
  const auto second = SentReport();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->groups.size(), 60u);
  EXPECT_EQ(second->groups.size(), 1u);
  EXPECT_FALSE(SentReport());
}

TEST_F(MldTest, WithoutABufferNothingIsSent) {
  limits_.control_reserve = 0;
  Make(4);
  Mld mld(*context_);
  mld.Join(Ip("fe80::1"));
  std::vector<void*> held;
  Packet packet;
  while (link_->Allocate(&packet)) held.push_back(packet.handle);
  mld.ReportJoins();
  EXPECT_FALSE(SentReport());
  for (void* handle : held) link_->Free(handle);
  AdvanceTo(mld, mld.NextDeadline());
  EXPECT_TRUE(SentReport()) << "the second report still goes out";
}

}  // namespace
}  // namespace usher::ip_test
