#include "stack/ip/events.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

std::string Text(NetworkEvent::Kind kind, std::string_view address, const MacAddress& mac = {}) {
  return ToString(NetworkEvent{kind, 1, *IpAddress::Parse(address), mac});
}

TEST(NetworkEvent, EveryKindHasItsSentence) {
  using Kind = NetworkEvent::Kind;
  const MacAddress mac{{2, 0, 0, 0, 0, 9}};
  EXPECT_EQ(Text(Kind::kAddressConflict, "198.18.0.2", mac),
            "interface 1: 198.18.0.2 is also claimed by 02:00:00:00:00:09");
  EXPECT_EQ(Text(Kind::kDuplicateAddress, "2001:2::2", mac),
            "interface 1: 2001:2::2 belongs to 02:00:00:00:00:09 and is not used");
  EXPECT_EQ(Text(Kind::kAddressReady, "fe80::1"), "interface 1: fe80::1 is ready");
  EXPECT_EQ(Text(Kind::kRouterFound, "fe80::9"), "interface 1: fe80::9 is a default router");
  EXPECT_EQ(Text(Kind::kRouterLost, "fe80::9"),
            "interface 1: fe80::9 is no default router any more");
  EXPECT_EQ(Text(Kind::kUnreachable, "198.18.0.1"), "interface 1: 198.18.0.1 does not answer");
  EXPECT_EQ(Text(static_cast<Kind>(99), "198.18.0.1"), "interface 1: 198.18.0.1");
}

}  // namespace
}  // namespace usher
