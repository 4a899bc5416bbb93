#include "stack/wire/tcp_options.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

std::string Describe(const TcpOptions& o) {
  std::string text;
  const auto add = [&text](const std::string& s) { text += (text.empty() ? "" : " ") + s; };
  if (o.mss) add("mss=" + std::to_string(*o.mss));
  if (o.window_scale) add("ws=" + std::to_string(*o.window_scale));
  if (o.window_scale_clamped) add("clamped");
  if (o.sack_permitted) add("sackok");
  if (o.timestamps)
    add("ts=" + std::to_string(o.timestamps->value) + "," + std::to_string(o.timestamps->echo));
  for (const SackBlock& b : o.sack_blocks())
    add("sack=" + std::to_string(b.begin.value()) + "-" + std::to_string(b.end.value()));
  if (o.fast_open) {
    add(o.fast_open->experimental ? "fo-exp=" : "fo=");
    for (uint8_t b : o.fast_open->bytes())
      text += "0123456789abcdef"[b >> 4], text += "0123456789abcdef"[b & 15];
  }
  if (o.md5) add("md5");
  return text;
}

struct ParseCase {
  const char* what;
  bool syn;
  const char* bytes;
  const char* expected;
};

// By the rules of Linux's tcp_parse_options.
const ParseCase kParseCases[] = {
    {"nothing", true, "", ""},
    {"Linux SYN", true, "020405b4 0402080a 00000001 00000002 01030307",
     "mss=1460 ws=7 sackok ts=1,2"},
    {"Linux SYN layout without SYN", false, "020405b4 0402080a 00000001 00000002 01030307",
     "ts=1,2"},
    {"Linux SYN layout, MSS 0", true, "02040000 0402080a 00000001 00000002 01030307",
     "ws=7 sackok ts=1,2"},
    {"Linux SYN layout, scale 15", true, "020405b4 0402080a 00000001 00000002 0103030f",
     "mss=1460 ws=14 clamped sackok ts=1,2"},
    {"Linux SYN layout, scale 14", true, "020405b4 0402080a 00000001 00000002 0103030e",
     "mss=1460 ws=14 sackok ts=1,2"},
    {"almost the Linux SYN layout: MSS length", true,
     "020305b4 0402080a 00000001 00000002 01030307", ""},
    {"almost the Linux SYN layout: end for the NOP", true,
     "020405b4 0402080a 00000001 00000002 00030307", "mss=1460 sackok ts=1,2"},
    {"macOS SYN", true, "020405b4 01030306 0101080a 00000001 00000000 04020000",
     "mss=1460 ws=6 sackok ts=1,0"},
    {"Windows SYN", true, "020405b4 01030308 01010402", "mss=1460 ws=8 sackok"},
    {"timestamps alone", false, "0101080a 00000003 00000004", "ts=3,4"},
    {"timestamps alone on a SYN", true, "0101080a 00000003 00000004", "ts=3,4"},
    {"timestamps before the NOPs", false, "080a00000003000000040101", "ts=3,4"},
    {"12 bytes, not timestamps", false, "0101050a 00000003 00000004", "sack=3-4"},
    {"timestamps twice: the last", false, "080a0000000300000004 080a0000000500000006", "ts=5,6"},
    {"timestamps of wrong length", false, "0809 00000003000000 01 01 01", ""},
    {"length 0 stops", true, "020405b4 0300 0402", "mss=1460"},
    {"length 1 stops", true, "020405b4 0301 0402", "mss=1460"},
    {"unknown of length 0 stops", true, "fd00 020405b4", ""},
    {"unknown is stepped over", true, "1e06 01020304 020405b4", "mss=1460"},
    {"beyond the end stops", true, "020405b4 030307 080a00000001", "mss=1460 ws=7"},
    {"kind without length stops", true, "020405b4 04", "mss=1460"},
    {"end of list stops", true, "00 020405b4", ""},
    {"only NOPs", true, "01010101", ""},
    {"MSS without SYN", false, "020405b4", ""},
    {"MSS 0", true, "02040000", ""},
    {"MSS 0 after another keeps that one", true, "020405b4 02040000", "mss=1460"},
    {"MSS twice: the last", true, "020405b4 02040218", "mss=536"},
    {"MSS of wrong length", true, "020305 0202 02050102 03", ""},
    {"MSS 65535", true, "0204ffff", "mss=65535"},
    {"scale without SYN", false, "01030307", ""},
    {"scale 0", true, "01030300", "ws=0"},
    {"scale 255", true, "010303ff", "ws=14 clamped"},
    {"scale 255, then 3", true, "010303ff 01030303", "ws=3"},
    {"scale of wrong length", true, "03040707", ""},
    {"SACK permitted without SYN", false, "01010402", ""},
    {"SACK permitted of wrong length", true, "040300 00", ""},
    {"one SACK block", false, "0101050a 0000000a 00000014", "sack=10-20"},
    {"inverted and empty blocks as they are", false, "01010512 00000014 0000000a 00000007 00000007",
     "sack=20-10 sack=7-7"},
    {"four SACK blocks", false,
     "01010522 00000001 00000002 00000003 00000004 00000005 00000006 00000007 00000008",
     "sack=1-2 sack=3-4 sack=5-6 sack=7-8"},
    {"timestamps and three SACK blocks", false,
     "0101080a 00000009 00000008 0101051a 00000001 00000002 00000003 00000004 00000005 00000006",
     "ts=9,8 sack=1-2 sack=3-4 sack=5-6"},
    {"SACK without a block", false, "05020101", ""},
    {"SACK of 9 bytes", false, "0509 00000001 000000 010101", ""},
    {"two SACK options: the last", false, "050a0000000100000002 050a0000000300000004", "sack=3-4"},
    {"SACK on a SYN is read", true, "050a0000000100000002", "sack=1-2"},
    {"Fast Open request", true, "2202", "fo="},
    {"Fast Open cookie", true, "220a 0102030405060708", "fo=0102030405060708"},
    {"Fast Open, shortest cookie", true, "2206 01020304", "fo=01020304"},
    {"Fast Open, longest cookie", true, "2212 000102030405060708090a0b0c0d0e0f",
     "fo=000102030405060708090a0b0c0d0e0f"},
    {"Fast Open, too short", true, "2204 0102", ""},
    {"Fast Open, too long", true, "2214 000102030405060708090a0b0c0d0e0f1011", ""},
    {"Fast Open, odd length", true, "2207 0102030405", ""},
    {"Fast Open without SYN", false, "220a 0102030405060708", ""},
    {"Fast Open, then one of bad length", true, "2206 01020304 2204 0102", ""},
    {"Fast Open, then one of odd length", true, "2206 01020304 2203 01", "fo=01020304"},
    {"experimental Fast Open request", true, "fe04 f989", "fo-exp="},
    {"experimental Fast Open cookie", true, "fe0c f989 0102030405060708",
     "fo-exp=0102030405060708"},
    {"experimental of another kind", true, "fe04 e2d4", ""},
    {"experimental too short for a magic", true, "fe03 f9", ""},
    {"MD5 signature", true, "0101 1312 000102030405060708090a0b0c0d0e0f", "md5"},
    {"user timeout is ignored", true, "1c04 8001 020405b4", "mss=1460"},
};

TEST(TcpOptions, OddLayouts) {
  for (const ParseCase& c : kParseCases) {
    const ExactCopy bytes(Hex(c.bytes));
    EXPECT_EQ(Describe(TcpOptions::Parse(bytes.span(), c.syn)), c.expected) << c.what;
  }
}

// The fast paths must say what the loop says: a NOP in front forces the loop.
TEST(TcpOptions, FastPathsAgreeWithTheLoop) {
  const auto check = [](ByteSpan options, bool syn) {
    std::vector<uint8_t> slow{TcpOptionKind::kNop};
    slow.insert(slow.end(), options.begin(), options.end());
    ASSERT_EQ(Describe(TcpOptions::Parse(options, syn)), Describe(TcpOptions::Parse(slow, syn)));
  };
  for (const char* text :
       {"020405b4 0402080a 00000001 00000002 01030307", "0101080a 00000003 00000004"}) {
    ForEachTruncationAndMutation(Hex(text), [&](ByteSpan options) {
      check(options, true);
      check(options, false);
    });
  }
}

TEST(TcpOptions, LongerThanAnyHeaderIsStillBounded) {
  auto bytes = Hex("05aa");
  bytes.resize(0xaa, 1);
  EXPECT_EQ(TcpOptions::Parse(bytes, false).sack_count, TcpOptions::kMaxSackBlocks);
}

std::vector<uint8_t> Emitted(const TcpOptions& options) {
  std::vector<uint8_t> bytes(options.EmitSize());
  EXPECT_EQ(options.Emit(bytes.data()), bytes.size());
  return bytes;
}

FastOpenOption Cookie(std::string_view hex, bool experimental = false) {
  FastOpenOption option;
  const auto bytes = Hex(hex);
  option.length = static_cast<uint8_t>(bytes.size());
  option.experimental = experimental;
  std::copy(bytes.begin(), bytes.end(), option.cookie.begin());
  return option;
}

TEST(TcpOptions, WrittenAsLinuxWritesThem) {
  const TcpTimestamps ts{0x11223344, 0x55667788};
  EXPECT_EQ(Emitted({}), Hex(""));
  EXPECT_EQ(Emitted({.mss = 1460}), Hex("020405b4"));
  EXPECT_EQ(Emitted({.sack_permitted = true}), Hex("01010402"));
  EXPECT_EQ(Emitted({.timestamps = ts}), Hex("0101080a 11223344 55667788"));
  EXPECT_EQ(Emitted({.window_scale = 7}), Hex("01030307"));
  EXPECT_EQ(Emitted({.mss = 1460, .window_scale = 7, .sack_permitted = true, .timestamps = ts}),
            Hex("020405b4 0402080a 11223344 55667788 01030307"));
  EXPECT_EQ(Emitted({.mss = 1460, .window_scale = 7, .sack_permitted = true}),
            Hex("020405b4 01010402 01030307"));
  EXPECT_EQ(Emitted({.mss = 1460, .window_scale = 0, .timestamps = ts}),
            Hex("020405b4 0101080a 11223344 55667788 01030300"));
  EXPECT_EQ(Emitted({.mss = 1460, .fast_open = Cookie("0102030405060708")}),
            Hex("020405b4 220a0102030405060708 0101"));
  EXPECT_EQ(Emitted({.fast_open = Cookie("")}), Hex("2202 0101"));
  EXPECT_EQ(Emitted({.fast_open = Cookie("010203040506")}), Hex("2208 010203040506"));
  EXPECT_EQ(Emitted({.fast_open = Cookie("01020304", true)}), Hex("fe08f989 01020304"));
  EXPECT_EQ(Emitted({.fast_open = Cookie("", true)}), Hex("fe04f989"));
  EXPECT_EQ(Emitted({.sack_count = 2,
                     .timestamps = ts,
                     .sack = {{{Seq(1), Seq(2)}, {Seq(0xfffffff0), Seq(16)}}}}),
            Hex("0101080a 11223344 55667788 01010512 00000001 00000002 fffffff0 00000010"));
}

TEST(TcpOptions, FullSynOfLinuxFitsExactly) {
  const TcpOptions options{.mss = 1460,
                           .window_scale = 7,
                           .sack_permitted = true,
                           .timestamps = TcpTimestamps{1, 2},
                           .fast_open = Cookie("000102030405060708090a0b0c0d0e0f")};
  EXPECT_EQ(options.EmitSize(), 40u);
}

TEST(TcpOptions, EmitParseRoundTrip) {
  for (uint64_t seed = 1; seed <= 5000; ++seed) {
    Lcg random(seed);
    const bool syn = random.Chance();
    TcpOptions o;
    if (random.Chance()) o.timestamps = TcpTimestamps{random.Next(), random.Next()};
    if (syn) {
      if (random.Chance()) o.mss = static_cast<uint16_t>(1 + random.Below(65535));
      if (random.Chance()) o.window_scale = static_cast<uint8_t>(random.Below(15));
      o.sack_permitted = random.Chance();
      if (random.Chance()) {
        o.fast_open = FastOpenOption{.length = static_cast<uint8_t>(4 + 2 * random.Below(7)),
                                     .experimental = random.Chance()};
        for (size_t i = 0; i < o.fast_open->length; ++i)
          o.fast_open->cookie[i] = static_cast<uint8_t>(random.Next());
      }
    } else {
      o.sack_count = static_cast<uint8_t>(random.Below(5));
      for (size_t i = 0; i < o.sack_count; ++i)
        o.sack[i] = {Seq(random.Next()), Seq(random.Next())};
    }
    const auto bytes = Emitted(o);
    ASSERT_EQ(bytes.size() % 4, 0u) << "seed " << seed;
    ASSERT_EQ(Describe(TcpOptions::Parse(bytes, syn)), Describe(o)) << "seed " << seed;
  }
}

TEST(TcpOptions, RandomBytesAreReadWithinBounds) {
  for (uint64_t seed = 1; seed <= 20000; ++seed) {
    Lcg random(seed);
    auto bytes = random.Bytes(random.Below(41));
    // Small numbers make more of the bytes look like kinds and lengths.
    for (uint8_t& b : bytes)
      if (random.Chance()) b = static_cast<uint8_t>(b % 12);
    const ExactCopy copy(bytes);
    const TcpOptions o = TcpOptions::Parse(copy.span(), random.Chance());
    ASSERT_LE(o.sack_count, 4) << "seed " << seed;
    ASSERT_LE(o.window_scale.value_or(0), 14) << "seed " << seed;
  }
}

}  // namespace
}  // namespace usher
