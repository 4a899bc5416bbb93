#include "app/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace usher {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGood[] = R"([eal]
args = ["--no-huge", "-m", "512"]
[[interface]]
port = 0
addresses = ["198.18.0.2/15", "2001:2::2/48"]
gateway = "198.18.0.1"
mtu = 1500
vlan = 0
[stack]
shards = 0
max_connections = 65536
strict_cookies = false
cookie_ack_parking = true
listen_model = "linux-classic"
[sysctl]
"net.core.somaxconn" = 100
"net.ipv4.tcp_rmem" = [4096, 100000, 200000]
[[listener]]
address = "::"
port = 80
backlog = 1024
listen_model = "linux"
service = "http"
[[listener]]
port = 7
service = "echo"
md5 = ["198.18.0.1/32 between us", "2001:2::/48 six"]
)";

absl::StatusOr<ServerConfig> Parse(const std::string& text, std::vector<std::string> sets = {}) {
  return ParseConfig(text, "a/b.toml", {.sets = std::move(sets), .eal = std::nullopt});
}

TEST(Config, TakesEveryKeyOfTheContract) {
  const auto config = Parse(kGood);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->runtime.eal_args, ElementsAre("--no-huge", "-m", "512"));
  ASSERT_EQ(config->runtime.interfaces.size(), 1u);
  const RuntimeInterface& i = config->runtime.interfaces[0];
  EXPECT_EQ(i.port, "0");
  ASSERT_EQ(i.config.addresses.size(), 2u);
  EXPECT_EQ(i.config.addresses[1].prefix_length, 48);
  EXPECT_EQ(i.config.gateway, IpAddress::Parse("198.18.0.1"));
  EXPECT_EQ(config->runtime.stack.sysctls.somaxconn, 100);
  EXPECT_THAT(config->runtime.stack.sysctls.tcp_rmem, ElementsAre(4096, 100000, 200000));
  ASSERT_EQ(config->listeners.size(), 2u);
  EXPECT_EQ(config->listeners[0].service, ServiceKind::kHttp);
  EXPECT_EQ(config->listeners[0].spec.model, ListenModel::kLinux);
  EXPECT_EQ(config->listeners[0].spec.backlog, 1024);
  EXPECT_TRUE(config->listeners[0].spec.cookie_ack_parking) << "of [stack]";
  EXPECT_EQ(config->listeners[1].spec.model, std::nullopt);
  const Md5Rules& md5 = config->listeners[1].spec.md5;
  ASSERT_EQ(md5.size(), 2u);
  EXPECT_EQ(md5[0].peer, IpAddress::Parse("198.18.0.1"));
  EXPECT_EQ(md5[0].prefix_length, 32);
  EXPECT_EQ(std::string(md5[0].key.bytes.begin(), md5[0].key.bytes.begin() + md5[0].key.size),
            "between us");
  EXPECT_EQ(md5[1].prefix_length, 48);
}

TEST(Config, FilesOfTheTreeAreGood) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(USHER_CONFIG)) {
    if (entry.path().extension() != ".toml") continue;
    ++files;
    const auto config = LoadConfig(entry.path().string(), {});
    EXPECT_TRUE(config.ok()) << config.status();
  }
  EXPECT_GE(files, 6);
}

TEST(Config, SetsOverrideSysctlsAndDottedKeys) {
  const auto config =
      Parse(kGood, {"net.core.somaxconn=7", "interface.0.mtu=1400", "listener.1.service=discard",
                    "stack.listen_model=bsd", "interface.0.addresses.0=198.18.0.9/15",
                    "net.ipv4.tcp_wmem=4096 8192 16384", "listener.2.port=9",
                    "interface.0.rx_checksum=port", "interface.0.tso=false",
                    "listener.2.service=\"chargen\""});
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->runtime.stack.sysctls.somaxconn, 7);
  EXPECT_EQ(config->runtime.interfaces[0].config.mtu, 1400);
  EXPECT_EQ(config->runtime.interfaces[0].offloads.rx_checksum, ChecksumPolicy::kPort);
  EXPECT_EQ(config->runtime.interfaces[0].offloads.tx_checksum, ChecksumPolicy::kAuto);
  EXPECT_FALSE(config->runtime.interfaces[0].offloads.tso);
  EXPECT_EQ(config->runtime.interfaces[0].config.addresses[0].address,
            IpAddress::Parse("198.18.0.9"));
  EXPECT_EQ(config->runtime.stack.passive_open.default_model, ListenModel::kBsd);
  EXPECT_EQ(config->runtime.stack.sysctls.tcp_wmem[2], 16384);
  ASSERT_EQ(config->listeners.size(), 3u);
  EXPECT_EQ(config->listeners[1].service, ServiceKind::kDiscard);
  EXPECT_EQ(config->listeners[2].spec.port, 9);
}

TEST(Config, EalOfTheCommandLineTakesThePlaceOfTheFile) {
  const auto config = ParseConfig(kGood, "f", {.sets = {}, .eal = "-l 1 --vdev='net_tap0, x'"});
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(config->runtime.eal_args, ElementsAre("-l", "1", "--vdev=net_tap0, x"));
  EXPECT_FALSE(ParseConfig(kGood, "f", {.sets = {}, .eal = "'open"}).ok());
}

// A good file with `from` replaced by `to` must be refused with a message like this.
struct Refused {
  const char* from;
  const char* to;
  const char* message;
};

class ConfigRefuses : public ::testing::TestWithParam<Refused> {};

TEST_P(ConfigRefuses, WithFileLineKeyAndReason) {
  std::string text = kGood;
  const size_t at = text.find(GetParam().from);
  ASSERT_NE(at, std::string::npos);
  text.replace(at, std::string(GetParam().from).size(), GetParam().to);
  const auto config = Parse(text);
  ASSERT_FALSE(config.ok());
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(GetParam().message));
  EXPECT_EQ(std::string(config.status().message()).find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    Bad, ConfigRefuses,
    ::testing::Values(
        Refused{"/32 between us", "/32", "listener.1.md5: must be the peers, a blank and a key"},
        Refused{"198.18.0.1/32", "198.18.0.1/33", "listener.1.md5: must be the peers"},
        Refused{"mtu = 1500", "mtu = 15000", "a/b.toml:7: interface.0.mtu: must be a whole number"},
        Refused{"mtu = 1500", "mtu = \"x\"", "a/b.toml:7: interface.0.mtu: must be a whole number"},
        Refused{"mtu = 1500", "mtu = ", "a/b.toml:7: "},
        Refused{"mtu = 1500", "tx_checksum = \"nic\"",
                "a/b.toml:7: interface.0.tx_checksum: 'nic' is none of auto, stack, port"},
        Refused{"mtu = 1500", "tso = \"on\"", "a/b.toml:7: interface.0.tso: must be true or false"},
        Refused{"mtu", "mtv", "a/b.toml:7: interface.0.mtv: no such key; did you mean mtu?"},
        Refused{"max_connections", "max_conn",
                "stack.max_conn: no such key; did you mean max_connections?"},
        Refused{"[stack]", "[stak]", "a/b.toml:9: stak: no such section; did you mean stack?"},
        Refused{"\"198.18.0.2/15\"", "\"198.18.0.2\"",
                "a/b.toml:5: interface.0.addresses: '198.18.0.2' is no ADDRESS/PREFIX"},
        Refused{"\"198.18.0.2/15\"", "\"198.18.0.0/15\"", "names its network"},
        Refused{"\"198.18.0.1\"", "\"10.0.0.1\"",
                "a/b.toml:6: interface.0.gateway: gateway 10.0.0.1 is on none"},
        Refused{"\"198.18.0.1\"", "\"198.18.0.2\"", "is our own address"},
        Refused{"somaxconn", "somaxcon",
                "a/b.toml:16: sysctl.net.core.somaxcon: no such setting; did you mean "
                "net.core.somaxconn?"},
        Refused{"net.core.somaxconn", "somaxconn", "did you mean net.core.somaxconn?"},
        Refused{"\"net.core.somaxconn\"", "net.core.somaxconn", "dots must be in quotes"},
        Refused{"= 100\n", "= -1\n", "bad value '-1', allowed: 0 to"},
        Refused{"= 100\n", "= \"\"\n", "a/b.toml:16: sysctl.net.core.somaxconn: has no value"},
        Refused{"\"linux\"", "\"linus\"",
                "a/b.toml:22: listener.0.listen_model: 'linus' is none of linux-classic"},
        Refused{"address = \"::\"", "address = \"10.1.1.1\"",
                "a/b.toml:19: listener.0.address: 10.1.1.1 is no interface's address; there are "
                "198.18.0.2, 2001:2::2"},
        Refused{"port = 7", "port = 80",
                "a/b.toml:25: listener.1.port: [::]:80 is taken by listener.0"},
        Refused{"port = 7", "port = 70000", "must be a whole number from 1 to 65535"},
        Refused{"port = 7\n", "", "listener.1.port: missing"},
        Refused{"service = \"http\"", "service = \"http\"\nroot = \"nowhere\"",
                "a/b.toml:24: listener.0.root: no folder 'nowhere'"},
        Refused{"service = \"echo\"", "service = \"echo\"\nroot = \".\"",
                "only service = \"http\" has files"},
        Refused{"service = \"echo\"", "", "listener.1.service: missing"},
        Refused{"[[interface]]", "[interface]", "interface: must be [[interface]]"},
        Refused{"shards = 0", "shards = true", "stack.shards: must be a whole number"}));

TEST(Config, SetsAreBlamedByTheirText) {
  const auto message = [](const char* set) {
    return std::string(Parse(kGood, {set}).status().message());
  };
  EXPECT_THAT(message("interface.0.mtu=9"), HasSubstr("--set interface.0.mtu=9: interface.0.mtu:"));
  EXPECT_THAT(message("net.core.somaxcon=9"), HasSubstr("did you mean net.core.somaxconn"));
  EXPECT_THAT(message("interface.5.mtu=1400"), HasSubstr("there is no 5 in interface"));
  EXPECT_THAT(message("nothing"), HasSubstr("must be KEY=VALUE"));
  EXPECT_THAT(message("stack..shards=1"), HasSubstr("empty name"));
  EXPECT_THAT(message("stack.shards.x=1"), HasSubstr("--set stack.shards.x=1"));
}

TEST(Config, MissingPartsAndFiles) {
  EXPECT_THAT(std::string(Parse("").status().message()), HasSubstr("interface: missing; add"));
  EXPECT_THAT(std::string(LoadConfig("no/such.toml", {}).status().message()),
              HasSubstr("no/such.toml: cannot be read"));
}

TEST(Config, PortsAreFreeByAddressFamilyAndReuseport) {
  std::string other = kGood;
  other +=
      "[[listener]]\naddress = \"0.0.0.0\"\nport = 9\nservice = \"none\"\n"
      "[[listener]]\nv6_only = true\nport = 9\nservice = \"none\"\n";
  EXPECT_TRUE(Parse(other).ok()) << Parse(other).status();
  other += "[[listener]]\naddress = \"198.18.0.2\"\nport = 9\nservice = \"none\"\n";
  EXPECT_FALSE(Parse(other).ok());
  std::string shared = kGood;
  for (int i = 0; i < 2; ++i)
    shared += "[[listener]]\nport = 9\nreuseport = true\nservice = \"none\"\n";
  EXPECT_TRUE(Parse(shared).ok()) << Parse(shared).status();
}

}  // namespace
}  // namespace usher
