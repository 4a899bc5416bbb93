#include "tools/load/frame_template.h"

#include <gtest/gtest.h>

#include "stack/base/random.h"
#include "stack/wire/ethernet.h"
#include "stack/wire/ipv4.h"
#include "stack/wire/tcp.h"

namespace usher::load {
namespace {

const FrameTemplate::Addresses kAddresses = {.src_mac = {{2, 0, 0, 0, 0, 1}},
                                             .dst_mac = {{2, 0, 0, 0, 0, 2}},
                                             .dst = IpAddress::V4(0xc6120002),
                                             .dst_port = 8080};

struct Read {
  EthernetView ethernet;
  Ipv4View ip;
  TcpView tcp;
};

Read ReadBack(const FrameTemplate& frame, uint8_t* bytes) {
  const auto ethernet = EthernetView::Parse({bytes, frame.size()});
  const auto ip = Ipv4View::Parse(ethernet->payload());
  const auto tcp = TcpView::Parse(ip->payload());
  return {*ethernet, *ip, *tcp};
}

TEST(FrameTemplateTest, SynIsThatOfLinux) {
  const FrameTemplate syn = FrameTemplate::Syn(kAddresses);
  std::array<uint8_t, FrameTemplate::kMaxSize> bytes;
  EXPECT_EQ(syn.size(), 74u);
  syn.Write(bytes.data(), 0xc6130405, 40000, 123456789, 0);
  const Read r = ReadBack(syn, bytes.data());
  EXPECT_EQ(r.ethernet.src(), kAddresses.src_mac);
  EXPECT_EQ(r.ethernet.dst(), kAddresses.dst_mac);
  EXPECT_EQ(r.ip.src(), IpAddress::V4(0xc6130405));
  EXPECT_EQ(r.ip.dst(), kAddresses.dst);
  EXPECT_EQ(r.ip.total_length(), 60u);
  EXPECT_EQ(r.tcp.src_port(), 40000);
  EXPECT_EQ(r.tcp.dst_port(), 8080);
  EXPECT_EQ(r.tcp.seq(), Seq(123456789));
  EXPECT_EQ(r.tcp.flags(), TcpFlags::kSyn);
  const TcpOptions options = r.tcp.options();
  EXPECT_EQ(options.mss, 1460);
  EXPECT_EQ(options.window_scale, 7);
  EXPECT_TRUE(options.sack_permitted);
  EXPECT_TRUE(options.timestamps.has_value());
}

TEST(FrameTemplateTest, AckIsBare) {
  const FrameTemplate ack = FrameTemplate::Ack(kAddresses);
  std::array<uint8_t, FrameTemplate::kMaxSize> bytes;
  EXPECT_EQ(ack.size(), 54u);
  ack.Write(bytes.data(), 0x0a000001, 1024, 7, 8);
  const Read r = ReadBack(ack, bytes.data());
  EXPECT_EQ(r.tcp.flags(), TcpFlags::kAck);
  EXPECT_EQ(r.tcp.seq(), Seq(7));
  EXPECT_EQ(r.tcp.ack(), Seq(8));
  EXPECT_TRUE(r.tcp.payload().empty());
}

TEST(FrameTemplateTest, ChecksumsHoldForAnyFields) {
  SeededRandom random(11);
  for (const FrameTemplate& frame :
       {FrameTemplate::Syn(kAddresses), FrameTemplate::Ack(kAddresses)}) {
    for (int i = 0; i < 10'000; ++i) {
      std::array<uint8_t, FrameTemplate::kMaxSize> bytes;
      const uint64_t a = i == 0 ? 0 : i == 1 ? UINT64_MAX : random.Next64();
      const uint64_t b = i == 0 ? 0 : i == 1 ? UINT64_MAX : random.Next64();
      frame.Write(bytes.data(), static_cast<uint32_t>(a), static_cast<uint16_t>(a >> 32),
                  static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32));
      const Read r = ReadBack(frame, bytes.data());
      ASSERT_TRUE(r.ip.VerifyChecksum()) << i;
      ASSERT_TRUE(r.tcp.VerifyChecksum(r.ip.src(), r.ip.dst())) << i;
    }
  }
}

}  // namespace
}  // namespace usher::load
