#include "stack/wire/address.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/wire_test_util.h"

namespace usher {
namespace {

IpAddress Ip(std::string_view text) {
  const auto address = IpAddress::Parse(text);
  EXPECT_TRUE(address.has_value()) << text;
  return address.value_or(IpAddress());
}

TEST(IpAddress, ReadsAndPrintsBothFamilies) {
  // Left: what is read; right: RFC 5952's form.
  const struct {
    const char* text;
    const char* canonical;
  } kTable[] = {
      {"198.18.0.1", "198.18.0.1"},
      {"0.0.0.0", "0.0.0.0"},
      {"255.255.255.255", "255.255.255.255"},
      {"::", "::"},
      {"::1", "::1"},
      {"2001:2::2", "2001:2::2"},
      {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
      {"fe80::", "fe80::"},
      {"1:0:0:0:0:0:0:0", "1::"},
      {"0:0:0:0:0:0:1:2", "::1:2"},
      {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
      {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
      {"::ffff:198.18.0.2", "198.18.0.2"},
  };
  for (const auto& row : kTable) EXPECT_EQ(Ip(row.text).ToString(), row.canonical);
}

TEST(IpAddress, RefusesEverythingElse) {
  using std::string_view_literals::operator""sv;
  for (std::string_view text : {""sv,
                                " "sv,
                                "1"sv,
                                "1.2.3"sv,
                                "1.2.3.4.5"sv,
                                "1.2.3.256"sv,
                                "1.2.3.4 "sv,
                                " 1.2.3.4"sv,
                                "1.2.3.4\0"sv,
                                "1.2.3.4/8"sv,
                                ":"sv,
                                ":::"sv,
                                "1::2::3"sv,
                                "12345::"sv,
                                "g::"sv,
                                "fe80::1%eth0"sv,
                                "[::1]"sv,
                                "1:2:3:4:5:6:7"sv,
                                "1:2:3:4:5:6:7:8:9"sv,
                                "2001:0db8:0000:0000:0000:0000:0000:0001:0000:0000"sv}) {
    EXPECT_FALSE(IpAddress::Parse(text).has_value()) << text;
  }
}

TEST(IpAddress, UnicastIsAHostsOwn) {
  for (const char* text :
       {"1.0.0.1", "126.255.255.255", "128.0.0.0", "198.18.0.1", "223.255.255.255", "240.0.0.1",
        "255.255.255.254", "::2", "2001:2::1", "fe80::1"})
    EXPECT_TRUE(Ip(text).is_unicast()) << text;
  for (const char* text : {"0.0.0.0", "127.0.0.1", "127.255.255.255", "224.0.0.0",
                           "239.255.255.255", "255.255.255.255", "::", "::1", "ff02::1"})
    EXPECT_FALSE(Ip(text).is_unicast()) << text;
}

TEST(IpPrefix, ContainsWhatIsInThePrefix) {
  const char* const addresses[] = {"0.0.0.0",       "10.0.0.1",  "10.0.0.129", "10.1.0.1",
                                   "138.0.0.1",     "::",        "2001:2::1",  "2001:2::2",
                                   "2001:2:0:1::2", "a001:2::2", "::ffff",     "::fffe:a00:1"};
  for (const char* network : addresses) {
    for (int length = 0; length <= (Ip(network).is_v4() ? 32 : 128); ++length) {
      const IpPrefix prefix(Ip(network), length);
      EXPECT_EQ(prefix.length(), length);
      for (const char* address : addresses)
        EXPECT_EQ(prefix.Contains(Ip(address), Ip(address).is_v4()),
                  Ip(address).InPrefix(Ip(network), length))
            << address << " in " << network << "/" << length;
    }
  }
}

TEST(IpAddress, FamiliesAndClasses) {
  EXPECT_TRUE(Ip("10.0.0.1").is_v4());
  EXPECT_EQ(Ip("10.0.0.1").v4(), 0x0a000001u);
  EXPECT_EQ(Ip("10.0.0.1").family(), Family::kIpv4);
  for (const char* text : {"::", "::10.0.0.1", "::fffe:a00:1", "1::ffff:a00:1", "0:0:0:1:0:ffff::"})
    EXPECT_EQ(Ip(text).family(), Family::kIpv6) << text;

  EXPECT_TRUE(Ip("0.0.0.0").is_unspecified());
  EXPECT_TRUE(Ip("::").is_unspecified());
  EXPECT_FALSE(Ip("::1").is_unspecified());
  EXPECT_TRUE(Ip("127.255.0.1").is_loopback());
  EXPECT_TRUE(Ip("::1").is_loopback());
  EXPECT_FALSE(Ip("::2").is_loopback());
  EXPECT_FALSE(Ip("::1:1").is_loopback());
  EXPECT_TRUE(Ip("224.0.0.1").is_multicast());
  EXPECT_TRUE(Ip("239.255.255.255").is_multicast());
  EXPECT_FALSE(Ip("240.0.0.1").is_multicast());
  EXPECT_TRUE(Ip("ff02::1").is_multicast());
  EXPECT_FALSE(Ip("fe80::1").is_multicast());
  EXPECT_TRUE(Ip("169.254.1.1").is_link_local());
  EXPECT_FALSE(Ip("169.253.1.1").is_link_local());
  EXPECT_TRUE(Ip("febf::1").is_link_local());
  EXPECT_FALSE(Ip("fec0::1").is_link_local());
  EXPECT_TRUE(Ip("255.255.255.255").is_broadcast());
  EXPECT_FALSE(Ip("198.19.255.255").is_broadcast());
}

TEST(IpAddress, InPrefix) {
  EXPECT_TRUE(Ip("198.19.255.255").InPrefix(Ip("198.18.0.0"), 15));
  EXPECT_FALSE(Ip("198.20.0.0").InPrefix(Ip("198.18.0.0"), 15));
  EXPECT_TRUE(Ip("1.2.3.4").InPrefix(Ip("0.0.0.0"), 0));
  EXPECT_TRUE(Ip("1.2.3.4").InPrefix(Ip("1.2.3.4"), 32));
  EXPECT_FALSE(Ip("1.2.3.5").InPrefix(Ip("1.2.3.4"), 32));
  EXPECT_TRUE(Ip("2001:2::2").InPrefix(Ip("2001:2::"), 48));
  EXPECT_FALSE(Ip("2001:2:1::2").InPrefix(Ip("2001:2::"), 48));
  EXPECT_FALSE(Ip("8000::").InPrefix(Ip("::"), 1));
  EXPECT_TRUE(Ip("::3").InPrefix(Ip("::2"), 127));
  EXPECT_FALSE(Ip("2001::3").InPrefix(Ip("::2"), 127));
  EXPECT_TRUE(Ip("ffff::").InPrefix(Ip("2001:2::"), 0));
  EXPECT_FALSE(Ip("1.2.3.4").InPrefix(Ip("::"), 0));
  EXPECT_FALSE(Ip("::").InPrefix(Ip("0.0.0.0"), 0));
  EXPECT_FALSE(Ip("1.2.3.4").InPrefix(Ip("1.2.3.4"), 33));
  EXPECT_FALSE(Ip("1.2.3.4").InPrefix(Ip("1.2.3.4"), -1));
}

TEST(IpAddress, WireFormRoundTrip) {
  uint8_t buffer[16] = {};
  StoreIpv4(buffer, Ip("198.18.0.2"));
  EXPECT_EQ(Load32(buffer), 0xc6120002u);
  EXPECT_EQ(LoadIpv4(buffer), Ip("198.18.0.2"));
  StoreIpv6(buffer, Ip("2001:2::2"));
  EXPECT_EQ(LoadIpv6(buffer), Ip("2001:2::2"));
}

TEST(IpAddress, EndpointText) {
  EXPECT_EQ(ToString(Ip("1.2.3.4"), 80), "1.2.3.4:80");
  EXPECT_EQ(ToString(Ip("2001:2::2"), 65535), "[2001:2::2]:65535");
}

TEST(IpAddress, MulticastForms) {
  EXPECT_EQ(SolicitedNodeMulticast(Ip("4037::01:800:200e:8c6c")), Ip("ff02::1:ff0e:8c6c"));
  EXPECT_EQ(ToString(MulticastMac(Ip("ff02::1:ff0e:8c6c"))), "33:33:ff:0e:8c:6c");
  EXPECT_EQ(ToString(MulticastMac(Ip("239.129.2.3"))), "01:00:5e:01:02:03");
}

TEST(MacAddress, ReadsAndPrints) {
  const auto mac = ParseMac("02:00:AB:cd:00:01");
  ASSERT_TRUE(mac.has_value());
  EXPECT_EQ(ToString(*mac), "02:00:ab:cd:00:01");
  EXPECT_FALSE(mac->is_multicast());
  EXPECT_TRUE(MacAddress::Broadcast().is_multicast());
  EXPECT_TRUE(MacAddress().is_zero());
  for (const char* text : {"", "02:00:ab:cd:00", "02:00:ab:cd:00:0", "02:00:ab:cd:00:0g",
                           "02-00-ab-cd-00-01", "02:00:ab:cd:00:01:", "020:0:ab:cd:00:01"})
    EXPECT_FALSE(ParseMac(text).has_value()) << text;
}

}  // namespace
}  // namespace usher
