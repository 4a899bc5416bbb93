#include "stack/wire/icmpv4.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

// What a router quotes of a segment of ours: IP header and 8 bytes.
const char* const kQuote = "4500 05dc 0000 4000 4006 0000 c6120002 c6120001 0050 9c40 12345678";

TEST(Icmpv4View, EchoRequest) {
  const auto bytes = Hex("0800 f7fb 0001 0002 0001");
  const auto view = Icmpv4View::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->type(), Icmpv4Type::kEchoRequest);
  EXPECT_EQ(view->echo_id(), 1);
  EXPECT_EQ(view->echo_seq(), 2);
  EXPECT_EQ(view->body().size(), 2u);
  EXPECT_FALSE(view->is_error());
  EXPECT_TRUE(view->VerifyChecksum());
  EXPECT_EQ(view->rest(), 0x00010002u);
}

// RFC 1122 section 3.2.2: to these none is sent in answer. Source Quench and Redirect are among
// them.
TEST(Icmpv4View, ErrorsAreFiveTypes) {
  std::array<uint8_t, 8> bytes{};
  for (int type = 0; type < 256; ++type) {
    bytes[0] = static_cast<uint8_t>(type);
    EXPECT_EQ(Icmpv4View::Parse(bytes)->is_error(),
              type == 3 || type == 4 || type == 5 || type == 11 || type == 12)
        << type;
  }
}

TEST(Icmpv4View, EchoReplyInPlace) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Lcg random(seed);
    const auto body = random.Bytes(random.Below(64));
    std::vector<uint8_t> bytes(8 + body.size());
    ASSERT_EQ((Icmpv4Message{.type = Icmpv4Type::kEchoRequest, .rest = random.Next()}.Emit(
                  bytes.data(), body)),
              bytes.size());
    ASSERT_TRUE(Icmpv4View::Parse(bytes)->VerifyChecksum()) << "seed " << seed;
    MakeIcmpv4EchoReply(bytes.data());
    EXPECT_EQ(bytes[0], Icmpv4Type::kEchoReply);
    EXPECT_TRUE(Icmpv4View::Parse(bytes)->VerifyChecksum()) << "seed " << seed;
    EXPECT_TRUE(std::equal(body.begin(), body.end(), bytes.begin() + 8));
  }
}

TEST(Icmpv4View, FragmentationNeeded) {
  const auto bytes = Hex(std::string("0304 0000 0000 0578") + kQuote);
  const auto view = Icmpv4View::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_TRUE(view->is_error());
  EXPECT_EQ(view->code(), Icmpv4Unreachable::kFragmentationNeeded);
  EXPECT_EQ(view->next_hop_mtu(), 1400);
  const auto quote = view->quote();
  ASSERT_TRUE(quote.has_value());
  EXPECT_EQ(quote->src.ToString(), "198.18.0.2");
  EXPECT_EQ(quote->dst.ToString(), "198.18.0.1");
  EXPECT_EQ(quote->protocol, IpProtocol::kTcp);
  EXPECT_EQ(quote->src_port, 80);
  EXPECT_EQ(quote->dst_port, 40000);
  EXPECT_EQ(quote->seq, 0x12345678u);
  EXPECT_EQ(quote->packet_size, 1500);
}

TEST(Icmpv4View, ParameterProblem) {
  const auto bytes = Hex("0c00 0000 14000000");
  EXPECT_EQ(Icmpv4View::Parse(bytes)->pointer(), 20);
  EXPECT_TRUE(Icmpv4View::Parse(bytes)->is_error());
}

TEST(Icmpv4View, TruncationsAndMutations) {
  const auto bytes = Hex(std::string("0304 0000 0000 0578") + kQuote);
  for (size_t n = 0; n < bytes.size(); ++n) {
    const ExactCopy copy(bytes, n);
    const auto view = Icmpv4View::Parse(copy.span());
    EXPECT_EQ(view.has_value(), n >= 8) << n;
    if (view) {
      EXPECT_FALSE(view->quote().has_value()) << n;
    }
  }
  ForEachTruncationAndMutation(bytes, [](ByteSpan packet) {
    const auto view = Icmpv4View::Parse(packet);
    if (!view) return;
    Touch(view->body());
    view->VerifyChecksum();
    view->quote();
  });
}

TEST(IcmpQuote, Ipv4) {
  const auto quote = Hex(kQuote);
  const auto parses = [&](size_t at, uint8_t value) {
    auto copy = quote;
    copy[at] = value;
    return IcmpQuote::ParseIpv4(copy).has_value();
  };
  EXPECT_TRUE(parses(0, 0x45));
  EXPECT_FALSE(parses(0, 0x65));
  EXPECT_FALSE(parses(0, 0x44));
  EXPECT_FALSE(parses(0, 0x4f));
  EXPECT_FALSE(parses(7, 1)) << "not the first fragment";
  EXPECT_TRUE(parses(6, 0x20)) << "the first fragment";
  EXPECT_TRUE(parses(2, 0xff)) << "lengths are not believed";
}

TEST(Icmpv4Message, ErrorQuotesWithinLimits) {
  const std::vector<uint8_t> packet(1500, 0x45);
  std::vector<uint8_t> out(8 + Icmpv4Message::kMaxQuote);
  const Icmpv4Message message{.type = Icmpv4Type::kDestinationUnreachable,
                              .code = Icmpv4Unreachable::kPort};
  EXPECT_EQ(message.EmitError(out.data(), packet), out.size());
  const auto view = Icmpv4View::Parse(out);
  EXPECT_TRUE(view->VerifyChecksum());
  EXPECT_EQ(view->code(), Icmpv4Unreachable::kPort);
  EXPECT_EQ(out.size() + 20, 576u);
  EXPECT_EQ(message.EmitError(out.data(), ByteSpan(packet).first(28)), 36u);
}

}  // namespace
}  // namespace usher
