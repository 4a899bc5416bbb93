#include "stack/wire/icmpv6.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

const IpAddress kSrc = *IpAddress::Parse("2001:2::1");
const IpAddress kDst = *IpAddress::Parse("2001:2::2");

const char* const kQuoteHead =
    "6000 0000 05b4 06 40 20010002000000000000000000000002 20010002000000000000000000000001";
const char* const kQuoteTail = "0050 9c40 12345678";

std::vector<uint8_t> TooBig() {
  return Hex(std::string("0200 0000 00000514") + kQuoteHead + kQuoteTail);
}

TEST(Icmpv6View, EchoRequestChecksumWorkedOutByHand) {
  // 8000+0001+0002 = 8003; addresses 2001+0002+0001+2001+0002+0002 = 4009; length 8, protocol 3a:
  // 42. Sum c04e, complement 3fb1.
  const auto bytes = Hex("8000 3fb1 0001 0002");
  const auto view = Icmpv6View::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->type(), Icmpv6Type::kEchoRequest);
  EXPECT_EQ(view->echo_id(), 1);
  EXPECT_EQ(view->echo_seq(), 2);
  EXPECT_FALSE(view->is_error());
  EXPECT_TRUE(view->VerifyChecksum(kSrc, kDst));
  EXPECT_FALSE(view->VerifyChecksum(kSrc, *IpAddress::Parse("2001:2::3")));
}

TEST(Icmpv6View, PacketTooBig) {
  const auto bytes = TooBig();
  const auto view = Icmpv6View::Parse(bytes);
  EXPECT_TRUE(view->is_error());
  EXPECT_EQ(view->mtu(), 1300u);
  const auto quote = view->quote();
  ASSERT_TRUE(quote.has_value());
  EXPECT_EQ(quote->src, kDst);
  EXPECT_EQ(quote->dst, kSrc);
  EXPECT_EQ(quote->protocol, IpProtocol::kTcp);
  EXPECT_EQ(quote->src_port, 80);
  EXPECT_EQ(quote->dst_port, 40000);
  EXPECT_EQ(quote->seq, 0x12345678u);
  EXPECT_EQ(quote->packet_size, 1500);
}

TEST(Icmpv6View, QuoteOfFragments) {
  auto first = Hex(std::string(kQuoteHead) + "0600 0001 00000007" + kQuoteTail);
  first[6] = IpProtocol::kFragment;
  const auto quote = IcmpQuote::ParseIpv6(first);
  ASSERT_TRUE(quote.has_value());
  EXPECT_EQ(quote->protocol, IpProtocol::kTcp);
  EXPECT_EQ(quote->src_port, 80);
  auto later = first;
  later[43] = 0x09;
  EXPECT_FALSE(IcmpQuote::ParseIpv6(later).has_value());
  for (size_t n = 0; n < first.size(); ++n)
    EXPECT_FALSE(IcmpQuote::ParseIpv6(ExactCopy(first, n).span()).has_value()) << n;
}

TEST(Icmpv6View, QuoteOfMappedAddressIsRefused) {
  auto bytes = Hex(std::string(kQuoteHead) + kQuoteTail);
  StoreIpv6(bytes.data() + 8, IpAddress::V4(0xc6120002));
  EXPECT_FALSE(IcmpQuote::ParseIpv6(bytes).has_value());
}

TEST(Icmpv6View, TruncationsAndMutations) {
  const auto bytes = TooBig();
  for (size_t n = 0; n < bytes.size(); ++n) {
    const ExactCopy copy(bytes, n);
    const auto view = Icmpv6View::Parse(copy.span());
    EXPECT_EQ(view.has_value(), n >= 8) << n;
    if (view) {
      EXPECT_FALSE(view->quote().has_value()) << n;
    }
  }
  ForEachTruncationAndMutation(bytes, [](ByteSpan packet) {
    const auto view = Icmpv6View::Parse(packet);
    if (!view) return;
    Touch(view->body());
    view->VerifyChecksum(kSrc, kDst);
    view->quote();
  });
}

TEST(Icmpv6Message, RoundTripAndQuoteLimit) {
  const std::vector<uint8_t> packet(1500, 0x60);
  std::vector<uint8_t> out(8 + Icmpv6Message::kMaxQuote);
  const Icmpv6Message message{
      .type = Icmpv6Type::kParameterProblem, .code = Icmpv6Problem::kOption, .rest = 42};
  EXPECT_EQ(message.EmitError(out.data(), packet, kSrc, kDst), out.size());
  EXPECT_EQ(out.size() + 40, 1280u);
  const auto view = Icmpv6View::Parse(out);
  EXPECT_EQ(view->type(), Icmpv6Type::kParameterProblem);
  EXPECT_EQ(view->code(), Icmpv6Problem::kOption);
  EXPECT_EQ(view->pointer(), 42u);
  EXPECT_TRUE(view->VerifyChecksum(kSrc, kDst));
  EXPECT_EQ(message.Emit(out.data(), {}, kSrc, kDst), 8u);
  EXPECT_TRUE(Icmpv6View::Parse(ByteSpan(out).first(8))->VerifyChecksum(kSrc, kDst));
}

}  // namespace
}  // namespace usher
