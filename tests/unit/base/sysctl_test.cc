#include "stack/base/sysctl.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace usher {
namespace {

using testing::HasSubstr;

TEST(Sysctl, NamesAreSortedUniqueAndReadable) {
  const std::vector<std::string> names = SysctlNames();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
  for (const std::string& name : names) EXPECT_TRUE(GetSysctl(Sysctls(), name).ok()) << name;
}

// Each setting by itself: what one writes is what that name, and no other, then gives.
TEST(Sysctl, EveryNameReachesItsOwnSetting) {
  const Sysctls defaults;
  for (const std::string& name : SysctlNames()) {
    SCOPED_TRACE(name);
    Sysctls changed;
    const std::string before = *GetSysctl(defaults, name);
    // Something else that every range allows.
    std::string value = before == "1" ? "0" : "1";
    if (name == "net.ipv4.tcp_congestion_control") value = "reno";
    if (name == "net.ipv4.tcp_fastopen_key") value = "00000001-00000000-00000000-00000000";
    if (name == "net.ipv4.tcp_rto_max_ms") value = "1000";
    if (name == "net.core.rmem_max") value = "2305";
    if (name.starts_with("net.ipv4.tcp_m") && before == "48") value = "49";
    if (name == "net.ipv4.ip_local_port_range") value = "1024\t2048";
    if (before.find('\t') != std::string::npos && value == "1") value = "1\t2\t3";
    ASSERT_TRUE(SetSysctl(changed, name, value).ok());
    for (const std::string& other : SysctlNames()) {
      EXPECT_EQ(*GetSysctl(changed, other), other == name ? value : *GetSysctl(defaults, other));
    }
  }
}

TEST(Sysctl, DefaultsAreThoseOfLinux) {
  const Sysctls s;
  EXPECT_EQ(*GetSysctl(s, "net.core.somaxconn"), "4096");
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_syncookies"), "1");
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_rmem"), "4096\t131072\t33554432");
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_notsent_lowat"), "4294967295");
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_challenge_ack_limit"), "2147483647");
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.ip_local_port_range"), "32768\t60999");
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_congestion_control"), "cubic");
}

TEST(Sysctl, FastOpenKeysAreReadAndShownAsLinuxDoes) {
  Sysctls s;
  const std::string name = "net.ipv4.tcp_fastopen_key";
  const std::string none = "00000000-00000000-00000000-00000000";
  EXPECT_EQ(*GetSysctl(s, name), none);
  EXPECT_FALSE(s.tcp_fastopen_key.given());
  ASSERT_TRUE(SetSysctl(s, name, " 1-aB-0-ffffffff\n").ok());
  EXPECT_EQ(*GetSysctl(s, name), "00000001-000000ab-00000000-ffffffff");
  EXPECT_TRUE(s.tcp_fastopen_key.given());
  EXPECT_FALSE(s.tcp_fastopen_key.backup);
  const std::string two = "00010203-04050607-08090a0b-0c0d0e0f,10111213-14151617-18191a1b-1c1d1e1f";
  ASSERT_TRUE(SetSysctl(s, name, two).ok());
  EXPECT_EQ(*GetSysctl(s, name), two);
  EXPECT_EQ(s.tcp_fastopen_key.primary[1], 0x04050607u);
  EXPECT_EQ((*s.tcp_fastopen_key.backup)[3], 0x1c1d1e1fu);
  for (const char* bad : {" ", "1", "1-2-3", "1-2-3-", "1-2-3-4-5", "1-2-3-4,", "1-2-3-4,5-6-7",
                          "1-2-3-4,5-6-7-8,9-a-b-c", "123456789-2-3-4", "1-2-3-g", "1 2 3 4",
                          "-1-2-3-4", "1-2-3-4 x", ",1-2-3-4", "0x1-2-3-4"}) {
    const absl::Status status = SetSysctl(s, name, bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), HasSubstr("xxxxxxxx-")) << bad;
    EXPECT_EQ(*GetSysctl(s, name), two) << "unchanged by " << bad;
  }
}

TEST(Sysctl, NamesMayHaveSlashes) {
  Sysctls s;
  EXPECT_TRUE(SetSysctl(s, "net/ipv4/tcp_sack", "0").ok());
  EXPECT_EQ(s.tcp_sack, 0);
  EXPECT_EQ(*GetSysctl(s, "net/ipv4/tcp_sack"), "0");
}

TEST(Sysctl, UnknownNamesAreRefused) {
  Sysctls s;
  for (const char* name : {"net.ipv4.tcp_sac", "net.ipv4.tcp_sackk", "tcp_sack", "", "zzz"}) {
    const absl::Status status = SetSysctl(s, name, "1");
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
    EXPECT_EQ(GetSysctl(s, name).status().code(), absl::StatusCode::kNotFound);
  }
}

TEST(Sysctl, RangesHoldAtBothEnds) {
  struct Case {
    const char* name;
    const char* good[2];
    const char* bad[2];
  };
  const Case cases[] = {
      {"net.core.somaxconn", {"0", "2147483647"}, {"-1", "2147483648"}},
      {"net.ipv4.tcp_syncookies", {"0", "255"}, {"-1", "256"}},
      {"net.ipv4.tcp_syn_retries", {"1", "127"}, {"0", "128"}},
      {"net.ipv4.tcp_ecn", {"0", "2"}, {"-1", "3"}},
      {"net.ipv4.tcp_adv_win_scale", {"-31", "31"}, {"-32", "32"}},
      {"net.ipv4.tcp_min_snd_mss", {"48", "65535"}, {"47", "65536"}},
      {"net.ipv4.tcp_rto_max_ms", {"1000", "120000"}, {"999", "120001"}},
      {"net.ipv4.tcp_notsent_lowat", {"0", "4294967295"}, {"-1", "4294967296"}},
      {"net.ipv4.tcp_keepalive_time", {"-2147483", "2147483"}, {"-2147484", "2147484"}},
      {"net.ipv4.tcp_max_syn_backlog",
       {"-2147483648", "2147483647"},
       {"-2147483649", "2147483648"}},
      {"net.ipv4.ip_local_port_range", {"1024 1024", "1024 65535"}, {"1023 2000", "1024 65536"}},
      {"net.ipv4.tcp_reordering", {"1", "300"}, {"0", "301"}},
      {"net.ipv4.tcp_wmem", {"1 1 1", "1 1 2147483647"}, {"0 1 1", "1 1 2147483648"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Sysctls s;
    for (const char* value : c.good) EXPECT_TRUE(SetSysctl(s, c.name, value).ok()) << value;
    const std::string before = *GetSysctl(s, c.name);
    for (const char* value : c.bad) {
      const absl::Status status = SetSysctl(s, c.name, value);
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << value;
    }
    EXPECT_EQ(*GetSysctl(s, c.name), before);
  }
}

TEST(Sysctl, ReorderingIsBoundedByItsMaximum) {
  Sysctls s;
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_max_reordering", "301").ok());
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_reordering", "301").ok());
  EXPECT_FALSE(SetSysctl(s, "net.ipv4.tcp_reordering", "302").ok());
}

TEST(Sysctl, BadValuesSayWhatIsAllowed) {
  Sysctls s;
  EXPECT_EQ(std::string(SetSysctl(s, "net.ipv4.tcp_syn_retries", "0").message()),
            "net.ipv4.tcp_syn_retries: bad value '0', allowed: 1 to 127");
  const absl::Status vegas = SetSysctl(s, "net.ipv4.tcp_congestion_control", "vegas");
  EXPECT_EQ(std::string(vegas.message()),
            "net.ipv4.tcp_congestion_control: bad value 'vegas', allowed: bbr cubic dctcp reno");
  EXPECT_TRUE(absl::IsNotFound(vegas)) << "ENOENT on Linux";
  EXPECT_EQ(std::string(SetSysctl(s, "net.ipv4.ip_local_port_range", "9000 8000").message()),
            "net.ipv4.ip_local_port_range: bad value '9000 8000', allowed: 2 numbers from 1024 to "
            "65535, the "
            "second not below the first");
}

TEST(Sysctl, TextThatIsNoNumberIsRefused) {
  Sysctls s;
  for (const std::string& value : {std::string(" "), std::string("x"), std::string("1x"),
                                   std::string("+1"), std::string("- 1"), std::string("0x"),
                                   std::string("1\0", 2), std::string("99999999999999999999")}) {
    EXPECT_FALSE(SetSysctl(s, "net.ipv4.tcp_retries2", value).ok()) << value;
  }
  EXPECT_EQ(s.tcp_retries2, 15);
}

TEST(Sysctl, NumbersAreReadAsLinuxReadsThem) {
  Sysctls s;
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_fastopen", " 0x602\n").ok());
  EXPECT_EQ(s.tcp_fastopen, 0x602);
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_fastopen", "010").ok());
  EXPECT_EQ(s.tcp_fastopen, 8);
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_fastopen", "3 x").ok()) << "nobody looks behind the last";
  EXPECT_EQ(s.tcp_fastopen, 3);
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_fastopen", "").ok()) << "nothing is written";
  EXPECT_EQ(s.tcp_fastopen, 3);
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_rmem", "5000 \t 6000").ok());  // the third stays
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_rmem"), "5000\t6000\t33554432");
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_rmem", "1 2 3 4").ok());
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_rmem"), "1\t2\t3");
  EXPECT_FALSE(SetSysctl(s, "net.ipv4.tcp_rmem", "4 x").ok());
  EXPECT_FALSE(SetSysctl(s, "net.ipv4.tcp_rmem", "4 5 0").ok());
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.tcp_rmem"), "1\t2\t3");
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.ip_local_port_range", "2000").ok());
  EXPECT_EQ(*GetSysctl(s, "net.ipv4.ip_local_port_range"), "2000\t60999");
  EXPECT_FALSE(SetSysctl(s, "net.ipv4.ip_local_port_range", "61000").ok());
  EXPECT_FALSE(SetSysctl(s, "net.ipv4.tcp_congestion_control", " reno").ok());
  EXPECT_TRUE(SetSysctl(s, "net.ipv4.tcp_congestion_control", "reno\n").ok());
}

}  // namespace
}  // namespace usher
