#include "stack/wire/ethernet.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

const char* const kPlain = "020000000002 020000000001 0800 4500";
const char* const kTagged = "020000000002 020000000001 8100 a064 86dd 6000";

TEST(EthernetView, Untagged) {
  const auto frame = Hex(kPlain);
  const auto view = EthernetView::Parse(frame);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(ToString(view->dst()), "02:00:00:00:00:02");
  EXPECT_EQ(ToString(view->src()), "02:00:00:00:00:01");
  EXPECT_EQ(view->type(), EtherType::kIpv4);
  EXPECT_FALSE(view->tagged());
  EXPECT_EQ(view->vlan_id(), 0);
  EXPECT_EQ(view->priority(), 0);
  EXPECT_EQ(view->header_size(), 14u);
  EXPECT_EQ(view->payload().size(), 2u);
  EXPECT_EQ(view->payload()[0], 0x45);
}

TEST(EthernetView, Tagged) {
  const auto frame = Hex(kTagged);
  const auto view = EthernetView::Parse(frame);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->type(), EtherType::kIpv6);
  EXPECT_TRUE(view->tagged());
  EXPECT_EQ(view->vlan_id(), 100);
  EXPECT_EQ(view->priority(), 5);
  EXPECT_EQ(view->payload().size(), 2u);
}

TEST(EthernetView, SecondTagIsNotFollowed) {
  const auto frame = Hex("020000000002 020000000001 8100 0001 8100 0002 0800");
  EXPECT_EQ(EthernetView::Parse(frame)->type(), EtherType::kVlan);
}

TEST(EthernetView, RuntsAndMutations) {
  for (const char* text : {kPlain, kTagged}) {
    const auto frame = Hex(text);
    const size_t header = EthernetView::Parse(frame)->header_size();
    for (size_t n = 0; n <= frame.size(); ++n)
      EXPECT_EQ(EthernetView::Parse(ExactCopy(frame, n).span()).has_value(), n >= header) << n;
    ForEachTruncationAndMutation(frame, [](ByteSpan bytes) {
      const auto view = EthernetView::Parse(bytes);
      if (!view) return;
      ASSERT_EQ(view->header_size() + view->payload().size(), bytes.size());
      Touch(view->payload());
      Touch({view->src().bytes.data(), 6});
      ASSERT_LT(view->vlan_id(), 4096);
      ASSERT_LT(view->priority(), 8);
    });
  }
}

TEST(EthernetHeader, RoundTrip) {
  for (uint64_t seed = 1; seed <= 500; ++seed) {
    Lcg random(seed);
    EthernetHeader header{.dst = LoadMac(random.Bytes(6).data()),
                          .src = LoadMac(random.Bytes(6).data()),
                          .type = EtherType::kIpv4};
    if (random.Chance()) header.vlan_id = static_cast<uint16_t>(1 + random.Below(4094));
    std::vector<uint8_t> frame(header.size());
    ASSERT_EQ(header.Emit(frame.data()), frame.size());
    const auto view = EthernetView::Parse(frame);
    ASSERT_TRUE(view.has_value()) << "seed " << seed;
    EXPECT_EQ(view->dst(), header.dst) << "seed " << seed;
    EXPECT_EQ(view->src(), header.src) << "seed " << seed;
    EXPECT_EQ(view->type(), header.type) << "seed " << seed;
    EXPECT_EQ(view->vlan_id(), header.vlan_id) << "seed " << seed;
    EXPECT_EQ(view->header_size(), frame.size()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace usher
