#include "stack/wire/udp.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

TEST(UdpView, ReadsADatagram) {
  const auto bytes = Hex("3039 0035 000a 1234 abcd ffff");  // two bytes of padding
  const auto view = UdpView::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->src_port(), 12345);
  EXPECT_EQ(view->dst_port(), 53);
  EXPECT_EQ(view->length(), 10);
  EXPECT_EQ(view->checksum(), 0x1234);
  EXPECT_EQ(view->payload().size(), 2u);
  EXPECT_EQ(view->datagram().size(), 10u);
}

TEST(UdpView, TruncationsAndMutations) {
  const auto bytes = Hex("3039 0035 000a 1234 abcd");
  for (size_t n = 0; n < bytes.size(); ++n)
    EXPECT_FALSE(UdpView::Parse(ExactCopy(bytes, n).span()).has_value()) << n;
  ForEachTruncationAndMutation(bytes, [](ByteSpan packet) {
    const auto view = UdpView::Parse(packet);
    ASSERT_TRUE(!view || view->datagram().size() == view->length());
    if (view) Touch(view->payload());
  });
  for (uint8_t length = 0; length < 20; ++length) {
    auto copy = bytes;
    copy[5] = length;
    EXPECT_EQ(UdpView::Parse(copy).has_value(), length >= 8 && length <= 10) << int{length};
  }
}

}  // namespace
}  // namespace usher
