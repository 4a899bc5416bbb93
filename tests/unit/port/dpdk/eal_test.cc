#include "stack/port/dpdk/eal.h"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <rte_eal.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/in_child.h"

namespace usher {
namespace {

using test::InChild;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Describe(const absl::Status& status) {
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", std::string(status.message()));
}

std::string Start(const std::vector<std::string>& args) {
  const auto eal = Eal::Start(args);
  if (!eal.ok()) return Describe(eal.status());
  std::string devices = "OK";
  for (const Eal::Device& d : (*eal)->devices())
    absl::StrAppend(&devices, " ", d.port, "=", d.name, "/", d.driver);
  return devices;
}

std::vector<std::string> NoHuge(std::vector<std::string> more = {}) {
  std::vector<std::string> args = {"--no-huge", "--no-shconf", "-m", "32"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(EalTest, StartsAndListsDevices) {
  EXPECT_EQ(InChild([] {
              return Start(NoHuge({"--vdev=net_null0", "--vdev", "net_ring0"}));
            }),
            "OK 0=net_null0/net_null 1=net_ring0/net_ring");
}

// The drivers that the configurations name come with our binary, as plugins of shared DPDK.
TEST(EalTest, DriversAreLoaded) {
  for (const char* driver : {"net_tap", "net_af_packet", "net_af_xdp", "net_virtio_user",
                             "net_vhost", "net_ring", "net_pcap", "net_memif", "net_null"}) {
    const std::string said = InChild(
        [&] { return Start(NoHuge({absl::StrCat("--vdev=", driver, "0,no_such_argument=1")})); });
    EXPECT_THAT(said, Not(HasSubstr("no driver"))) << driver;
  }
}

TEST(EalTest, FindsByNumberAndName) {
  EXPECT_EQ(InChild([] {
              const auto eal = Eal::Start(NoHuge({"--vdev=net_null0", "--vdev=net_null7"}));
              if (!eal.ok()) return Describe(eal.status());
              std::string found;
              for (const char* name : {"0", "1", "net_null7", "2", "net_nul", ""}) {
                const auto port = (*eal)->Find(name);
                absl::StrAppend(&found, port.ok() ? absl::StrCat(*port) : Describe(port.status()),
                                "\n");
              }
              return found;
            }),
            "0\n1\n1\n"
            "NOT_FOUND: no port 2; there is 0 (net_null0), 1 (net_null7)\n"
            "NOT_FOUND: no port net_nul; there is 0 (net_null0), 1 (net_null7)\n"
            "NOT_FOUND: no port ; there is 0 (net_null0), 1 (net_null7)\n");
}

TEST(EalTest, OnceInAProcess) {
  EXPECT_THAT(InChild([] {
                const auto first = Eal::Start(NoHuge());
                return Describe(first.status()) + Start(NoHuge());
              }),
              AllOf(StartsWith("OK"), HasSubstr("FAILED_PRECONDITION: EAL starts only once")));
}

TEST(EalTest, ErrorsAreOneLineAndSayWhat) {
  EXPECT_THAT(InChild([] { return Start(NoHuge({"--no-such-option"})); }),
              AllOf(StartsWith("INVALID_ARGUMENT: EAL arguments: "),
                    HasSubstr("unrecognized option '--no-such-option'"), Not(HasSubstr("\n"))));
  EXPECT_THAT(InChild([] { return Start(NoHuge({"--vdev=net_nonsense0"})); }),
              AllOf(StartsWith("INVALID_ARGUMENT: no driver for a device"),
                    HasSubstr("net_nonsense0"), Not(HasSubstr("\n"))));
  EXPECT_THAT(InChild([] { return Start(NoHuge({"--vdev=net_pcap0,rx_pcap=no-such-file.pcap"})); }),
              AllOf(StartsWith("INVALID_ARGUMENT: device net_pcap0"),
                    HasSubstr("no-such-file.pcap"), Not(HasSubstr("\n"))));
  EXPECT_THAT(InChild([] { return Start(NoHuge({"--vdev=net_af_packet0,iface=nosuchif"})); }),
              AllOf(HasSubstr("net_af_packet0"), Not(HasSubstr("\n"))));
}

TEST(EalTest, SecondServerWithTheSamePrefix) {
  const std::vector<std::string> args = {"--no-huge", "-m", "32",
                                         absl::StrCat("--file-prefix=usher-test-", getpid())};
  int started[2], done[2];
  ASSERT_EQ(pipe(started), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t first = fork();
  if (first == 0) {
    close(done[1]);
    auto eal = Eal::Start(args);
    char byte = eal.ok() ? '1' : '0';
    if (write(started[1], &byte, 1) != 1) _exit(1);
    while (read(done[0], &byte, 1) > 0) continue;
    eal = absl::CancelledError();
    std::filesystem::remove_all(rte_eal_get_runtime_dir());
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(started[0], &byte, 1), 1);
  EXPECT_EQ(byte, '1');
  const std::string second = InChild([&] { return Start(args); });
  for (int fd : {started[0], started[1], done[0], done[1]}) close(fd);
  waitpid(first, nullptr, 0);
  EXPECT_THAT(second, AllOf(StartsWith("ALREADY_EXISTS"), HasSubstr("--file-prefix")));
}

TEST(EalTest, TapWithoutPermission) {
  if (geteuid() != 0) {
    EXPECT_THAT(InChild([] { return Start(NoHuge({"--vdev=net_tap0"})); }),
                StartsWith("PERMISSION_DENIED: net_tap0"));
    return;
  }
  EXPECT_THAT(InChild([] {
                if (setgroups(0, nullptr) != 0 || setuid(65534) != 0) return std::string("setuid");
                return Start(NoHuge({"--vdev=net_tap0"}));
              }),
              AllOf(StartsWith("PERMISSION_DENIED: net_tap0"), HasSubstr("root")));
}

}  // namespace
}  // namespace usher
