// The port against the kernel: TAP and veth, in a network namespace of this process's own, which
// goes when the process does.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "stack/port/dpdk/dpdk_device.h"
#include "stack/port/dpdk/eal.h"

namespace usher {
namespace {

using ::testing::HasSubstr;

constexpr int kExitSkipped = 77;
constexpr uint16_t kArp = 0x0806, kIpv4 = 0x0800, kIpv6 = 0x86dd;

Eal* g_eal;

// Runs `ip` and fails the caller if it does.
bool Ip(const std::string& arguments) {
  return std::system(absl::StrCat("ip ", arguments, " 2>&1").c_str()) == 0;
}

uint16_t EtherType(const Packet& p) { return static_cast<uint16_t>(p.data[12] << 8 | p.data[13]); }

bool IsArpRequestFor(const Packet& p, const char* address) {
  in_addr wanted;
  inet_pton(AF_INET, address, &wanted);
  return p.length >= 42 && EtherType(p) == kArp && p.data[21] == 1 &&
         std::memcmp(p.data + 38, &wanted, 4) == 0;
}

// Turns an ARP request into the reply, in its own buffer.
TxPacket ArpReply(const Packet& p, const MacAddress& mac) {
  std::array<uint8_t, 4> ours;
  std::memcpy(ours.data(), p.data + 38, 4);
  std::memcpy(p.data, p.data + 6, 6);
  std::memcpy(p.data + 6, mac.bytes.data(), 6);
  p.data[21] = 2;
  std::memcpy(p.data + 32, p.data + 22, 10);
  std::memcpy(p.data + 22, mac.bytes.data(), 6);
  std::memcpy(p.data + 28, ours.data(), 4);
  return {.data = p.data, .handle = p.handle, .length = p.length};
}

// One device with what the tests do to it.
class Wire {
 public:
  explicit Wire(const std::string& name, uint16_t queue_pairs = 1) {
    DpdkDeviceConfig config;
    config.queue_pairs = queue_pairs;
    config.rx_ring = config.tx_ring = 128;
    config.held_buffers = 256;
    auto device = DpdkDevice::Open(*g_eal->Find(name), config);
    EXPECT_TRUE(device.ok()) << device.status();
    device_ = *std::move(device);
  }
  DpdkDevice& device() { return *device_; }
  DpdkPort& port() { return device_->queue(0); }
  DpdkPool& pool() { return device_->pool(0); }

  // Polls, freeing what `wanted` does not take, until it takes one. Gives up after very long.
  bool Await(const std::function<bool(const Packet&)>& wanted, Packet* taken) {
    for (int i = 0; i < 20000; ++i) {
      std::array<Packet, kBurstSize> in;
      const uint32_t n = port().RxBurst(in);
      bool found = false;
      for (uint32_t k = 0; k < n; ++k) {
        if (!found && wanted(in[k])) {
          found = true;
          *taken = in[k];
        } else {
          pool().Free(in[k].handle);
        }
      }
      if (found) return true;
      if (n == 0) usleep(500);
    }
    return false;
  }

 private:
  std::unique_ptr<DpdkDevice> device_;
};

// A socket of the kernel's, sending small datagrams to the stack's address.
class KernelSender {
 public:
  explicit KernelSender(const char* to) : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    to_.sin_family = AF_INET;
    to_.sin_port = htons(9);
    inet_pton(AF_INET, to, &to_.sin_addr);
  }
  ~KernelSender() { close(fd_); }
  void Send(const std::string& text) {
    sendto(fd_, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&to_), sizeof(to_));
  }

 private:
  int fd_;
  sockaddr_in to_ = {};
};

bool HasText(const Packet& p, const std::string& text) {
  return EtherType(p) == kIpv4 && p.length >= 42 + text.size() &&
         std::memcmp(p.data + 42, text.data(), text.size()) == 0;
}

std::string NeighbourOf(const std::string& address) {
  const std::string command = absl::StrCat("ip neigh show ", address);
  FILE* pipe = popen(command.c_str(), "r");
  std::string said;
  for (int c; (c = fgetc(pipe)) != EOF;) said.push_back(static_cast<char>(c));
  pclose(pipe);
  return said;
}

// The kernel asks for our address, gets it, and sends to it.
void Converse(Wire& wire, const char* address) {
  KernelSender kernel(address);
  kernel.Send("first");
  Packet request;
  ASSERT_TRUE(wire.Await([&](const Packet& p) { return IsArpRequestFor(p, address); }, &request));
  const TxPacket reply = ArpReply(request, wire.device().mac());
  ASSERT_EQ(wire.port().TxBurst({&reply, 1}), 1u);
  Packet datagram;
  ASSERT_TRUE(wire.Await([](const Packet& p) { return HasText(p, "first"); }, &datagram));
  EXPECT_EQ(std::memcmp(datagram.data, wire.device().mac().bytes.data(), 6), 0);
  wire.pool().Free(datagram.handle);
  EXPECT_THAT(NeighbourOf(address), HasSubstr(ToString(wire.device().mac())));
}

TEST(TapTest, KernelFindsUsAndComesBackAfterThePoolWasEmpty) {
  Wire wire("net_tap0");
  ASSERT_TRUE(wire.port().LinkUp());
  ASSERT_TRUE(Ip("addr add 198.18.0.1/24 dev ushertest0"));
  EXPECT_EQ(wire.port().capabilities().tx_flags, 0);  // net_tap's own sums cost a buffer each
  Converse(wire, "198.18.0.2");

  const uint32_t baseline = wire.pool().available();
  KernelSender kernel("198.18.0.2");
  for (int round = 0; round < 3; ++round) {
    std::vector<void*> all;
    Packet p;
    while (wire.pool().Allocate(&p)) all.push_back(p.handle);
    // The kernel's queue of the TAP fills up, one poll loses a frame of it, and no more are sent:
    // what waits in the queue must come in all the same.
    for (int i = 0; i < 3000; ++i) kernel.Send("flood");
    const uint64_t before = wire.device().stats().rx_no_buffer;
    std::array<Packet, kBurstSize> in;
    for (int i = 0; i < 1000 && wire.device().stats().rx_no_buffer == before; ++i)
      EXPECT_EQ(wire.port().RxBurst(in), 0u);
    EXPECT_EQ(wire.device().stats().rx_no_buffer, before + 1);
    for (void* h : all) wire.pool().Free(h);
    Packet flooded;
    EXPECT_TRUE(wire.Await([](const Packet& q) { return HasText(q, "flood"); }, &flooded));
    wire.pool().Free(flooded.handle);
    // Empties the kernel's queue, so that the next round starts as this one did.
    while (const uint32_t n = wire.port().RxBurst(in))
      for (uint32_t i = 0; i < n; ++i) wire.pool().Free(in[i].handle);
  }
  EXPECT_EQ(wire.pool().available(), baseline);
}

TEST(TapTest, MulticastReachesUs) {
  Wire wire("net_tap1");
  ASSERT_TRUE(Ip("-6 addr add 2001:2::1/64 dev ushertest1 nodad"));
  const int fd = socket(AF_INET6, SOCK_DGRAM, 0);
  sockaddr_in6 to = {};
  to.sin6_family = AF_INET6;
  to.sin6_port = htons(9);
  inet_pton(AF_INET6, "2001:2::2", &to.sin6_addr);
  sendto(fd, "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
  close(fd);
  // The solicitation for 2001:2::2 goes to 33:33:ff:00:00:02.
  constexpr uint8_t kSolicitedNode[] = {0x33, 0x33, 0xff, 0x00, 0x00, 0x02};
  Packet p;
  ASSERT_TRUE(wire.Await(
      [&](const Packet& q) {
        return EtherType(q) == kIpv6 && std::memcmp(q.data, kSolicitedNode, 6) == 0;
      },
      &p));
  wire.pool().Free(p.handle);
}

TEST(TapTest, RefusesFramesItCanNeverSendAndGoesOn) {
  Wire wire("net_tap2");
  const uint32_t baseline = wire.pool().available();
  std::array<TxPacket, 3> out;
  const std::array<uint16_t, 3> lengths = {1600, 8, 60};
  for (int i = 0; i < 3; ++i) {
    Packet p;
    ASSERT_TRUE(wire.pool().Allocate(&p));
    std::memset(p.data, 0, lengths[i]);
    out[i] = {.data = p.data, .handle = p.handle, .length = lengths[i]};
  }
  EXPECT_EQ(wire.port().TxBurst(out), 3u);
  EXPECT_EQ(wire.port().counts().tx_refused, 2u);
  EXPECT_EQ(wire.device().stats().tx_packets, 1u);
  EXPECT_EQ(wire.pool().available(), baseline);
}

TEST(TapTest, StopAndStartInMidFlow) {
  Wire wire("net_tap3");
  ASSERT_TRUE(Ip("addr add 198.18.3.1/24 dev ushertest3"));
  Converse(wire, "198.18.3.2");
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(wire.device().Stop().ok());
    ASSERT_TRUE(wire.device().Start().ok());
    KernelSender kernel("198.18.3.2");
    ASSERT_TRUE(Ip(absl::StrCat("neigh replace 198.18.3.2 lladdr ", ToString(wire.device().mac()),
                                " dev ushertest3")));
    Packet p;
    kernel.Send("again");
    ASSERT_TRUE(wire.Await([](const Packet& q) { return HasText(q, "again"); }, &p));
    wire.pool().Free(p.handle);
  }
}

TEST(TapTest, KernelMacIsNotOurs) {
  Wire wire("net_tap4");
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  ifreq request = {};
  std::strcpy(request.ifr_name, "ushertest4");
  ASSERT_EQ(ioctl(fd, SIOCGIFHWADDR, &request), 0);
  close(fd);
  EXPECT_NE(std::memcmp(request.ifr_hwaddr.sa_data, wire.device().mac().bytes.data(), 6), 0);
  EXPECT_EQ(wire.device().mac().bytes[0] & 3, 2);  // unicast, locally administered
}

// Frames for several queue pairs: the kernel spreads them, each comes in once.
TEST(TapTest, QueuePairs) {
  Wire wire("net_tap5", 2);
  ASSERT_TRUE(Ip("addr add 198.18.5.1/24 dev ushertest5"));
  ASSERT_TRUE(Ip(absl::StrCat("neigh replace 198.18.5.2 lladdr ", ToString(wire.device().mac()),
                              " dev ushertest5")));
  for (int i = 0; i < 64; ++i) KernelSender("198.18.5.2").Send("spread");
  std::array<int, 2> received = {};
  for (int i = 0; i < 20000 && received[0] + received[1] < 64; ++i) {
    for (uint16_t q = 0; q < 2; ++q) {
      std::array<Packet, kBurstSize> in;
      const uint32_t n = wire.device().queue(q).RxBurst(in);
      for (uint32_t k = 0; k < n; ++k) {
        received[q] += HasText(in[k], "spread") ? 1 : 0;
        wire.device().pool(q).Free(in[k].handle);
      }
    }
    usleep(100);
  }
  EXPECT_EQ(received[0] + received[1], 64);
  EXPECT_GT(received[0], 0);
  EXPECT_GT(received[1], 0);
}

TEST(AfPacketTest, ConversesOverVeth) {
  Wire wire("net_af_packet0");
  Converse(wire, "198.18.9.2");
}

TEST(AfXdpTest, ConversesOverVeth) {
  Wire wire("net_af_xdp0");
  Converse(wire, "198.18.10.2");
}

TEST(TapNameTest, SecondUserOfAnInterfaceIsRefused) {
  Wire wire("net_tap6");
  const pid_t child = fork();
  if (child == 0) {
    execl("/proc/self/exe", "test-port-dpdk-live", "--second", nullptr);
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace

// What the child of SecondUserOfAnInterfaceIsRefused does.
int StartSecond() {
  const auto eal = Eal::Start(std::vector<std::string>{"--no-huge", "--no-shconf", "-m", "32",
                                                       "--vdev=net_tap0,iface=ushertest6"});
  return eal.status().code() == absl::StatusCode::kAlreadyExists ? 0 : 1;
}

int Main() {
  if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
    fprintf(stderr, "skipped: needs root and a network namespace\n");
    return kExitSkipped;
  }
  // The peer's kernel must finish its checksums: AF_PACKET shows frames as they are.
  if (!Ip("link set lo up") || !Ip("link add usherveth0 type veth peer name usherveth1") ||
      !Ip("link set usherveth0 up") || !Ip("link set usherveth1 up") ||
      !Ip("addr add 198.18.9.1/24 dev usherveth1") ||
      !Ip("link add usherveth2 type veth peer name usherveth3") || !Ip("link set usherveth2 up") ||
      !Ip("link set usherveth3 up") || !Ip("addr add 198.18.10.1/24 dev usherveth3"))
    return 1;
  std::vector<std::string> args = {"--no-huge",
                                   "--no-shconf",
                                   "-m",
                                   "128",
                                   "--vdev=net_af_packet0,iface=usherveth0",
                                   "--vdev=net_af_xdp0,iface=usherveth2"};
  for (int i = 0; i < 7; ++i)
    args.push_back(absl::StrCat("--vdev=net_tap", i, ",iface=ushertest", i));
  const auto eal = Eal::Start(args);
  if (!eal.ok()) {
    fprintf(stderr, "%s\n", std::string(eal.status().message()).c_str());
    return 1;
  }
  g_eal = eal->get();
  return RUN_ALL_TESTS();
}

}  // namespace usher

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 1 && std::string(argv[1]) == "--second") return usher::StartSecond();
  return usher::Main();
}
