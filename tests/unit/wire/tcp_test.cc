#include "stack/wire/tcp.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

// A SYN of a Linux client, 198.18.0.1:40000 to 198.18.0.2:80.
std::vector<uint8_t> LinuxSyn() {
  return Hex(
      "9c40 0050 12345678 00000000 a002 faf0 0000 0000"
      "0204 05b4 0402 080a 00112233 00000000 01 030307");
}

TEST(TcpView, ReadsALinuxSyn) {
  auto bytes = LinuxSyn();
  const auto src = IpAddress::V4(0xc6120001), dst = IpAddress::V4(0xc6120002);
  FillTcpChecksum(bytes.data(), bytes.size(), src, dst);
  const auto view = TcpView::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->src_port(), 40000);
  EXPECT_EQ(view->dst_port(), 80);
  EXPECT_EQ(view->seq(), Seq(0x12345678));
  EXPECT_EQ(view->ack(), Seq(0));
  EXPECT_EQ(view->flags(), TcpFlags::kSyn);
  EXPECT_EQ(view->window(), 64240);
  EXPECT_EQ(view->urgent(), 0);
  EXPECT_EQ(view->header_size(), 40u);
  EXPECT_EQ(view->option_bytes().size(), 20u);
  EXPECT_TRUE(view->payload().empty());
  EXPECT_EQ(view->sequence_length(), 1u);
  EXPECT_TRUE(view->VerifyChecksum(src, dst));
  EXPECT_FALSE(view->VerifyChecksum(src, IpAddress::V4(0xc6120003)));

  const TcpOptions options = view->options();
  EXPECT_EQ(options.mss, 1460);
  EXPECT_EQ(options.window_scale, 7);
  EXPECT_FALSE(options.window_scale_clamped);
  EXPECT_TRUE(options.sack_permitted);
  EXPECT_EQ(options.timestamps, (TcpTimestamps{0x00112233, 0}));
  EXPECT_EQ(options.sack_count, 0);
  EXPECT_FALSE(options.fast_open.has_value());
}

TEST(TcpView, ChecksumWorkedOutByHand) {
  // Words of the header: c738+1f90+0001+5002+0200 = 138cb; of the pseudo-header:
  // 7f00+0001+7f00+0001+0006+0014 = fe1c. Together 236e7, folded 36e9, complement c916.
  const auto bytes = Hex("c738 1f90 00000001 00000000 5002 0200 c916 0000");
  const auto loopback = IpAddress::V4(0x7f000001);
  EXPECT_TRUE(TcpView::Parse(bytes)->VerifyChecksum(loopback, loopback));
  auto filled = bytes;
  filled[16] = filled[17] = 0xaa;  // whatever stands there does not count
  FillTcpChecksum(filled.data(), filled.size(), loopback, loopback);
  EXPECT_EQ(filled, bytes);
}

TEST(TcpView, AllNineFlags) {
  auto bytes = LinuxSyn();
  Store16(bytes.data() + 12, 0xafff);
  const auto view = TcpView::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->flags(), TcpFlags::kAll);
  EXPECT_EQ(view->sequence_length(), 2u);
  EXPECT_TRUE(view->has(TcpFlags::kAe));
}

TEST(TcpView, RefusesEveryTruncationOfTheHeader) {
  const auto bytes = LinuxSyn();
  for (size_t n = 0; n < bytes.size(); ++n) {
    WireError why = WireError::kNone;
    EXPECT_FALSE(TcpView::Parse(ExactCopy(bytes, n).span(), &why).has_value()) << n;
    EXPECT_EQ(why, n < 20 ? WireError::kTruncated : WireError::kHeaderLength) << n;
  }
}

TEST(TcpView, RefusesBadDataOffsets) {
  auto bytes = LinuxSyn();
  for (unsigned offset = 0; offset < 16; ++offset) {
    bytes[12] = static_cast<uint8_t>(offset << 4);
    EXPECT_EQ(TcpView::Parse(bytes).has_value(), offset >= 5 && offset <= 10) << offset;
  }
}

TEST(TcpView, NothingReadsBeyondTheBuffer) {
  auto bytes = LinuxSyn();
  const auto payload = Hex("0102030405");
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  ForEachTruncationAndMutation(bytes, [](ByteSpan packet) {
    const auto view = TcpView::Parse(packet);
    if (!view) return;
    ASSERT_EQ(view->header_size() + view->payload().size(), packet.size());
    Touch(view->payload());
    Touch(view->option_bytes());
    for (bool syn : {false, true}) {
      const TcpOptions options = TcpOptions::Parse(view->option_bytes(), syn);
      ASSERT_LE(options.sack_count, TcpOptions::kMaxSackBlocks);
      ASSERT_LE(options.window_scale.value_or(0), 14);
      ASSERT_NE(options.mss, 0);
    }
  });
}

TEST(TcpHeader, EmitParseRoundTrip) {
  for (uint64_t seed = 1; seed <= 2000; ++seed) {
    Lcg random(seed);
    const TcpHeader header{.src_port = static_cast<uint16_t>(random.Next()),
                           .dst_port = static_cast<uint16_t>(random.Next()),
                           .seq = Seq(random.Next()),
                           .ack = Seq(random.Next()),
                           .flags = static_cast<uint16_t>(random.Next() & TcpFlags::kAll),
                           .window = static_cast<uint16_t>(random.Next()),
                           .urgent = static_cast<uint16_t>(random.Next())};
    TcpOptions options;
    if (random.Chance()) options.timestamps = TcpTimestamps{random.Next(), random.Next()};
    if ((header.flags & TcpFlags::kSyn) != 0 && random.Chance()) options.mss = 1460;
    std::vector<uint8_t> segment(20 + options.EmitSize());
    uint32_t sum = 0;
    ASSERT_EQ(header.Emit(segment.data(), options, &sum), segment.size());
    EXPECT_EQ(checksum::Fold(sum), checksum::Fold(checksum::Sum(segment))) << "seed " << seed;
    const auto payload = random.Bytes(random.Below(64));
    segment.insert(segment.end(), payload.begin(), payload.end());
    const IpAddress src = LoadIpv6(random.Bytes(16).data());
    const IpAddress dst = LoadIpv6(random.Bytes(16).data());
    FillTcpChecksum(segment.data(), segment.size(), src, dst);

    const auto view = TcpView::Parse(segment);
    ASSERT_TRUE(view.has_value()) << "seed " << seed;
    EXPECT_EQ(view->src_port(), header.src_port) << "seed " << seed;
    EXPECT_EQ(view->dst_port(), header.dst_port) << "seed " << seed;
    EXPECT_EQ(view->seq(), header.seq) << "seed " << seed;
    EXPECT_EQ(view->ack(), header.ack) << "seed " << seed;
    EXPECT_EQ(view->flags(), header.flags) << "seed " << seed;
    EXPECT_EQ(view->window(), header.window) << "seed " << seed;
    EXPECT_EQ(view->urgent(), header.urgent) << "seed " << seed;
    EXPECT_TRUE(
        std::equal(payload.begin(), payload.end(), view->payload().begin(), view->payload().end()));
    EXPECT_TRUE(view->VerifyChecksum(src, dst)) << "seed " << seed;
    EXPECT_EQ(view->options().timestamps, options.timestamps) << "seed " << seed;
    EXPECT_EQ(view->options().mss, options.mss) << "seed " << seed;
  }
}

}  // namespace
}  // namespace usher
