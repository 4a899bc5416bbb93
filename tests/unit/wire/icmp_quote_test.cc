#include "stack/wire/icmp_quote.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

// A segment of ours: addresses, ports 80 to 40000, sequence number 0x12345678, and then some.
const char* const kQuote4 =
    "4500 05dc 0000 4000 4006 0000 c6120002 c6120001 0050 9c40 12345678 9abcdef0";
const char* const kQuote6 =
    "6000 0000 05b4 06 40 20010002000000000000000000000002 20010002000000000000000000000001"
    "0050 9c40 12345678 9abcdef0";

// `quote` with `bytes` at `at`.
std::vector<uint8_t> With(std::vector<uint8_t> quote, size_t at,
                          const std::vector<uint8_t>& bytes) {
  for (const uint8_t byte : bytes) quote.at(at++) = byte;
  return quote;
}

TEST(IcmpQuote, ReadsIpv4) {
  const auto quote = IcmpQuote::ParseIpv4(Hex(kQuote4));
  ASSERT_TRUE(quote);
  EXPECT_EQ(quote->src.ToString(), "198.18.0.2");
  EXPECT_EQ(quote->dst.ToString(), "198.18.0.1");
  EXPECT_EQ(quote->src_port, 80);
  EXPECT_EQ(quote->dst_port, 40000);
  EXPECT_EQ(quote->seq, 0x12345678u);
  EXPECT_EQ(quote->packet_size, 1500);
  EXPECT_EQ(quote->protocol, 6);
}

TEST(IcmpQuote, ReadsIpv6) {
  const auto quote = IcmpQuote::ParseIpv6(Hex(kQuote6));
  ASSERT_TRUE(quote);
  EXPECT_EQ(quote->src.ToString(), "2001:2::2");
  EXPECT_EQ(quote->dst.ToString(), "2001:2::1");
  EXPECT_EQ(quote->src_port, 80);
  EXPECT_EQ(quote->dst_port, 40000);
  EXPECT_EQ(quote->seq, 0x12345678u);
  EXPECT_EQ(quote->packet_size, 1500);
  EXPECT_EQ(quote->protocol, 6);
}

// Cut off at every length: header and 8 bytes are needed, not a byte more is read.
TEST(IcmpQuote, EveryTruncation) {
  const auto v4 = Hex(kQuote4);
  for (size_t n = 0; n <= v4.size(); ++n) {
    const ExactCopy copy(v4, n);
    EXPECT_EQ(IcmpQuote::ParseIpv4(copy.span()).has_value(), n >= 28) << n;
  }
  const auto v6 = Hex(kQuote6);
  for (size_t n = 0; n <= v6.size(); ++n) {
    const ExactCopy copy(v6, n);
    EXPECT_EQ(IcmpQuote::ParseIpv6(copy.span()).has_value(), n >= 48) << n;
  }
}

TEST(IcmpQuote, Ipv4OptionsAreSteppedOver) {
  auto quote = Hex(kQuote4);
  quote[0] = 0x47;
  EXPECT_FALSE(IcmpQuote::ParseIpv4(ExactCopy(quote).span()));
  const std::vector<uint8_t> options(8, 1);
  quote.insert(quote.begin() + 20, options.begin(), options.end());
  for (size_t n = 20; n <= quote.size(); ++n) {
    const auto parsed = IcmpQuote::ParseIpv4(ExactCopy(quote, n).span());
    ASSERT_EQ(parsed.has_value(), n >= 36) << n;
    if (parsed) {
      EXPECT_EQ(parsed->seq, 0x12345678u);
    }
  }
}

TEST(IcmpQuote, EveryHeaderLengthAndVersion) {
  auto quote = Hex(kQuote4);
  quote.resize(68);
  for (int first = 0; first < 256; ++first) {
    const auto parsed = IcmpQuote::ParseIpv4(With(quote, 0, {static_cast<uint8_t>(first)}));
    EXPECT_EQ(parsed.has_value(), first >> 4 == 4 && (first & 15) >= 5) << first;
    EXPECT_EQ(
        IcmpQuote::ParseIpv6(With(Hex(kQuote6), 0, {static_cast<uint8_t>(first)})).has_value(),
        first >> 4 == 6)
        << first;
  }
}

TEST(IcmpQuote, OnlyTheFirstFragmentHasPorts) {
  const auto quote = Hex(kQuote4);
  EXPECT_TRUE(IcmpQuote::ParseIpv4(With(quote, 6, {0x20, 0})));
  EXPECT_TRUE(IcmpQuote::ParseIpv4(With(quote, 6, {0xe0, 0}))) << "flags are no offset";
  EXPECT_FALSE(IcmpQuote::ParseIpv4(With(quote, 6, {0, 1})));
  EXPECT_FALSE(IcmpQuote::ParseIpv4(With(quote, 6, {0x1f, 0xff})));
}

TEST(IcmpQuote, Ipv6FragmentHeaderIsSteppedOver) {
  auto quote = Hex(kQuote6);
  quote[6] = IpProtocol::kFragment;
  const auto fragment = Hex("06 00 0001 00000009");
  quote.insert(quote.begin() + 40, fragment.begin(), fragment.end());
  for (size_t n = 40; n <= quote.size(); ++n)
    EXPECT_EQ(IcmpQuote::ParseIpv6(ExactCopy(quote, n).span()).has_value(), n >= 56) << n;
  const auto parsed = IcmpQuote::ParseIpv6(quote);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->protocol, 6);
  EXPECT_EQ(parsed->seq, 0x12345678u);
  EXPECT_FALSE(IcmpQuote::ParseIpv6(With(quote, 42, {0, 8}))) << "a later one";
  // A second fragment header is not ours: taken for what it says, never walked on.
  const auto twice = IcmpQuote::ParseIpv6(With(quote, 40, {IpProtocol::kFragment}));
  ASSERT_TRUE(twice);
  EXPECT_EQ(twice->protocol, IpProtocol::kFragment);
}

TEST(IcmpQuote, Ipv6LengthThatOverflowsIsCut) {
  EXPECT_EQ(IcmpQuote::ParseIpv6(With(Hex(kQuote6), 4, {0xff, 0xff}))->packet_size, 65535);
  EXPECT_EQ(IcmpQuote::ParseIpv6(With(Hex(kQuote6), 4, {0, 0}))->packet_size, 40);
}

// A mapped address in an IPv6 header could name an IPv4 connection.
TEST(IcmpQuote, MappedAddressesAreRefused) {
  const std::vector<uint8_t> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 18, 0, 2};
  EXPECT_FALSE(IcmpQuote::ParseIpv6(With(Hex(kQuote6), 8, mapped)));
  EXPECT_FALSE(IcmpQuote::ParseIpv6(With(Hex(kQuote6), 24, mapped)));
}

TEST(IcmpQuote, OtherProtocolsAreNamed) {
  EXPECT_EQ(IcmpQuote::ParseIpv4(With(Hex(kQuote4), 9, {17}))->protocol, 17);
  EXPECT_EQ(IcmpQuote::ParseIpv6(With(Hex(kQuote6), 6, {17}))->protocol, 17);
}

TEST(IcmpQuote, TruncationsAndMutationsReadNothingBeyond) {
  const auto use = [](ByteSpan packet) {
    IcmpQuote::ParseIpv4(packet);
    IcmpQuote::ParseIpv6(packet);
  };
  ForEachTruncationAndMutation(Hex(kQuote4), use);
  ForEachTruncationAndMutation(Hex(kQuote6), use);
}

}  // namespace
}  // namespace usher
