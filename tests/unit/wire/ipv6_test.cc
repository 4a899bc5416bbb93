#include "stack/wire/ipv6.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

const char* const kAddresses =
    "2001 0002 0000 0000 0000 0000 0000 0001 2001 0002 0000 0000 0000 0000 0000 0002";

// A packet whose header names `next` and whose payload is `payload`.
std::vector<uint8_t> Packet(uint8_t next, std::string_view payload) {
  auto bytes = Hex("6020 0abc 0000 00 40");
  const auto addresses = Hex(kAddresses);
  const auto rest = Hex(payload);
  bytes.insert(bytes.end(), addresses.begin(), addresses.end());
  bytes.insert(bytes.end(), rest.begin(), rest.end());
  Store16(bytes.data() + 4, static_cast<uint16_t>(rest.size()));
  bytes[6] = next;
  return bytes;
}

Ipv6Extensions Walk(const std::vector<uint8_t>& packet) {
  const ExactCopy copy(packet);
  const auto view = Ipv6View::Parse(copy.span());
  EXPECT_TRUE(view.has_value());
  return view ? Ipv6Extensions::Walk(*view) : Ipv6Extensions();
}

TEST(Ipv6View, ReadsAHeader) {
  auto bytes = Packet(6, "01020304");
  bytes.push_back(0);  // padding
  const auto view = Ipv6View::Parse(bytes);
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(view->traffic_class(), 2);
  EXPECT_EQ(view->flow_label(), 0xabcu);
  EXPECT_EQ(view->payload_length(), 4);
  EXPECT_EQ(view->next_header(), 6);
  EXPECT_EQ(view->hop_limit(), 64);
  EXPECT_EQ(view->src().ToString(), "2001:2::1");
  EXPECT_EQ(view->dst().ToString(), "2001:2::2");
  EXPECT_EQ(view->payload().size(), 4u);
  EXPECT_EQ(view->packet().size(), 44u);
}

TEST(Ipv6View, SaysWhyItRefuses) {
  const auto good = Packet(6, "01020304");
  const auto why = [](const std::vector<uint8_t>& bytes) {
    WireError error = WireError::kNone;
    EXPECT_FALSE(Ipv6View::Parse(bytes, &error).has_value());
    return error;
  };
  auto bytes = good;
  bytes[0] = 0x40;
  EXPECT_EQ(why(bytes), WireError::kVersion);
  bytes = good;
  bytes[5] = 5;
  EXPECT_EQ(why(bytes), WireError::kTruncated);
  for (size_t at : {8, 24}) {
    bytes = good;
    StoreIpv6(bytes.data() + at, IpAddress::V4(0x01020304));
    EXPECT_EQ(why(bytes), WireError::kMappedAddress);
  }
  for (size_t n = 0; n < good.size(); ++n)
    EXPECT_EQ(why({good.begin(), good.begin() + static_cast<long>(n)}), WireError::kTruncated);
}

TEST(Ipv6Header, RoundTrip) {
  for (uint64_t seed = 1; seed <= 1000; ++seed) {
    Lcg random(seed);
    const Ipv6Header header{.src = LoadIpv6(random.Bytes(16).data()),
                            .dst = LoadIpv6(random.Bytes(16).data()),
                            .flow_label = random.Below(1 << 20),
                            .payload_length = static_cast<uint16_t>(random.Below(100)),
                            .next_header = static_cast<uint8_t>(random.Next()),
                            .hop_limit = static_cast<uint8_t>(random.Next()),
                            .traffic_class = static_cast<uint8_t>(random.Next())};
    std::vector<uint8_t> packet(40 + header.payload_length);
    ASSERT_EQ(header.Emit(packet.data()), 40u);
    const auto view = Ipv6View::Parse(packet);
    ASSERT_TRUE(view.has_value()) << "seed " << seed;
    EXPECT_EQ(view->src(), header.src) << "seed " << seed;
    EXPECT_EQ(view->dst(), header.dst) << "seed " << seed;
    EXPECT_EQ(view->flow_label(), header.flow_label) << "seed " << seed;
    EXPECT_EQ(view->payload().size(), header.payload_length) << "seed " << seed;
    EXPECT_EQ(view->next_header(), header.next_header) << "seed " << seed;
    EXPECT_EQ(view->hop_limit(), header.hop_limit) << "seed " << seed;
    EXPECT_EQ(view->traffic_class(), header.traffic_class) << "seed " << seed;
  }
}

TEST(Ipv6Extensions, NoneAtAll) {
  const auto result = Walk(Packet(6, "0102"));
  EXPECT_EQ(result.verdict, Ipv6Verdict::kAccept);
  EXPECT_EQ(result.protocol, 6);
  EXPECT_EQ(result.protocol_at, 6);
  EXPECT_EQ(result.payload_at, 40);
  EXPECT_FALSE(result.fragment.has_value());
}

struct WalkCase {
  const char* what;
  uint8_t next;
  const char* payload;
  Ipv6Verdict verdict;
  int protocol;    // if accepted; otherwise the problem's code
  int payload_at;  // if accepted; otherwise the problem's pointer
};

constexpr Ipv6Verdict kOk = Ipv6Verdict::kAccept;
constexpr Ipv6Verdict kDrop = Ipv6Verdict::kDrop;
constexpr Ipv6Verdict kAlways = Ipv6Verdict::kProblem;
constexpr Ipv6Verdict kUnicast = Ipv6Verdict::kProblemUnlessMulticast;

const WalkCase kWalkCases[] = {
    {"hop-by-hop, padded", 0, "06 00 01 04 00000000 ff", kOk, 6, 48},
    {"destination options", 60, "06 00 000000000000", kOk, 6, 48},
    {"all in order", 0,
     "3c 00 0104 00000000 | 2b 00 0104 00000000 | 3c 00 00 00 00000000 | 06 00 0104 00000000", kOk,
     6, 72},
    {"no next header", 59, "", kOk, 59, 40},
    {"unknown upper layer is not ours to judge", 0, "fd 00 0104 00000000", kOk, 253, 48},
    {"ESP ends the walk", 60, "32 00 0104 00000000 0102", kOk, 50, 48},
    {"longer header", 60, "06 01 010c 000000000000000000000000", kOk, 6, 56},
    {"hop-by-hop second", 60, "00 00 0104 00000000 06 00 0104 00000000", kUnicast, 1, 40},
    {"hop-by-hop twice", 0, "00 00 0104 00000000 06 00 0104 00000000", kUnicast, 1, 40},
    {"cut off", 0, "06 00 0104 000000", kDrop, 0, 0},
    {"length beyond the packet", 0, "06 01 0104 00000000", kDrop, 0, 0},
    {"nothing where a header should be", 60, "", kDrop, 0, 0},
    {"option beyond its header", 60, "06 00 0105 00000000", kDrop, 0, 0},
    {"option without a length", 60, "06 00 0103 000000 01", kDrop, 0, 0},
    {"unknown option, skip", 60, "06 00 1e04 00000000", kOk, 6, 48},
    {"unknown option, drop", 60, "06 00 4004 00000000", kDrop, 0, 0},
    {"unknown option, report always", 60, "06 00 8004 00000000", kAlways, 2, 42},
    {"unknown option, report if unicast", 60, "06 00 c004 00000000", kUnicast, 2, 42},
    {"unknown option after padding", 60, "06 00 00 0100 8001 00", kAlways, 2, 45},
    {"jumbo payload", 0, "06 00 c204 00010000", kUnicast, 2, 42},
    {"routing type 0, none left", 43, "06 02 00 00 00000000 0000000000000000 0000000000000000", kOk,
     6, 64},
    {"routing type 0, one left", 43, "06 02 00 01 00000000 0000000000000000 0000000000000000",
     kUnicast, 0, 42},
    {"routing type 4, one left", 43, "06 00 04 01 00000000", kUnicast, 0, 42},
    {"routing unknown, none left", 43, "06 00 fd 00 00000000", kOk, 6, 48},
    {"eight headers", 60,
     "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000"
     "3c00010400000000 3c00010400000000 3c00010400000000 0600010400000000",
     kOk, 6, 104},
    {"nine headers", 60,
     "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000"
     "3c00010400000000 3c00010400000000 3c00010400000000 3c00010400000000 0600010400000000",
     kDrop, 0, 0},
    {"17 options", 60,
     "06 04 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00"
     "0102 0000",
     kDrop, 0, 0},
    {"atomic fragment", 44, "06 00 0000 0000002a ffff", kOk, 6, 48},
    {"atomic fragment, then destination options", 44, "3c 00 0000 0000002a 0600 0104 00000000", kOk,
     6, 56},
    {"first fragment ends the walk", 44, "3c 00 0001 0000002a 0600 0104 00000000", kOk, 60, 48},
    {"last fragment", 44, "06 00 0008 0000002a ff", kOk, 6, 48},
    {"fragment of odd length, more to come", 44, "06 00 0001 0000002a ffff", kUnicast, 0, 4},
    {"fragment that would end beyond 65535", 44, "06 00 fff8 0000002a 0102030405060708", kUnicast,
     0, 42},
    {"fragment that ends at 65535", 44, "06 00 fff8 0000002a 01020304050607", kOk, 6, 48},
    {"the same behind 8 bytes that count", 60,
     "2c 00 0104 00000000 06 00 fff8 0000002a 01020304050607", kUnicast, 0, 50},
    {"fragment in a fragment", 44, "2c 00 0000 0000002a 06 00 0000 0000002b ffff", kDrop, 0, 0},
};

TEST(Ipv6Extensions, Table) {
  for (const WalkCase& c : kWalkCases) {
    const auto result = Walk(Packet(c.next, c.payload));
    EXPECT_EQ(result.verdict, c.verdict) << c.what;
    if (c.verdict == kOk) {
      EXPECT_EQ(result.protocol, c.protocol) << c.what;
      EXPECT_EQ(result.payload_at, c.payload_at) << c.what;
    } else if (c.verdict == kDrop) {
      EXPECT_NE(result.error, WireError::kNone) << c.what;
    } else {
      EXPECT_EQ(result.problem_code, c.protocol) << c.what;
      EXPECT_EQ(result.problem_at, c.payload_at) << c.what;
    }
  }
}

TEST(Ipv6Extensions, PointerForAnUnknownProtocol) {
  EXPECT_EQ(Walk(Packet(253, "")).protocol_at, 6);
  EXPECT_EQ(Walk(Packet(60, "3c00010400000000 fd00010400000000")).protocol_at, 48);
}

TEST(Ipv6Extensions, RouterAlert) {
  EXPECT_TRUE(Walk(Packet(0, "3a 00 0502 0000 0100")).router_alert);
  EXPECT_FALSE(Walk(Packet(0, "3a 00 0104 00000000")).router_alert);
  // Only Hop-by-Hop carries it.
  EXPECT_FALSE(Walk(Packet(60, "3a 00 0502 0000 0100")).router_alert);
}

TEST(Ipv6Extensions, WhatReassemblyNeeds) {
  const auto result = Walk(Packet(60, "2c 00 0104 00000000 06 00 0011 deadbeef 0102030405060708"));
  ASSERT_EQ(result.verdict, kOk);
  ASSERT_TRUE(result.fragment.has_value());
  EXPECT_EQ(result.fragment->id, 0xdeadbeefu);
  EXPECT_EQ(result.fragment->offset, 16);
  EXPECT_TRUE(result.fragment->more);
  EXPECT_FALSE(result.fragment->is_atomic());
  EXPECT_EQ(result.fragment->header_at, 48);
  EXPECT_EQ(result.fragment->next_header_at, 40);
  EXPECT_EQ(result.payload_at, 56);
  EXPECT_EQ(result.protocol, 6);
}

TEST(Ipv6Extensions, TruncationsAndMutationsStayInside) {
  for (const WalkCase& c : kWalkCases) {
    ForEachTruncationAndMutation(Packet(c.next, c.payload), [](ByteSpan bytes) {
      const auto view = Ipv6View::Parse(bytes);
      if (!view) return;
      ASSERT_LE(view->packet().size(), bytes.size());
      const auto result = Ipv6Extensions::Walk(*view);
      if (result.verdict == kOk) {
        ASSERT_LE(result.payload_at, view->packet().size());
        ASSERT_LT(result.protocol_at, view->packet().size());
        Touch(view->packet().subspan(result.payload_at));
      } else if (result.verdict != kDrop) {
        ASSERT_LT(result.problem_at, view->packet().size());
      }
    });
  }
}

// A payload cut anywhere, with the length field telling so: the walk itself must see the end.
TEST(Ipv6Extensions, PayloadCutAnywhere) {
  for (const WalkCase& c : kWalkCases) {
    const auto whole = Packet(c.next, c.payload);
    for (size_t n = 40; n <= whole.size(); ++n) {
      auto bytes = whole;
      bytes.resize(n);
      Store16(bytes.data() + 4, static_cast<uint16_t>(n - 40));
      const auto result = Walk(bytes);
      ASSERT_LE(result.payload_at, n) << c.what;
    }
  }
}

}  // namespace
}  // namespace usher
