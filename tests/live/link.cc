// A link between devices of this network namespace, with the faults of a real path.
//
//   link CLIENT_DEVICE SERVER_DEVICE... [KEY=VALUE...]
//
// Frames of the first device go to the others and back; with several servers the link learns who is
// where, as a switch does. Each direction has its own queue in front of its own bottleneck. Keys:
//   rate_mbit=N      of each direction; 0: no bottleneck
//   queue=N          frames that wait at the bottleneck at most; what comes then is lost
//   delay_ms=X       each way
//   loss=X reorder=X duplicate=X corrupt=X   shares between 0 and 1, both ways
//   late_ms=X        how much later than its successors a reordered frame comes
//   seed=N
// Ends with SIGTERM, or with its parent, or when a device goes; its last line is JSON, what it did.
// ICMP, ICMPv6 and ARP meet no fault, so that neighbours are found.
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <queue>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Nanos = std::chrono::nanoseconds;
using Mac = std::array<uint8_t, 6>;
using Frame = std::vector<uint8_t>;

constexpr int kWrongCall = 2;
constexpr size_t kLargestFrame = 65'536;
constexpr int kSocketBuffer = 16 << 20;

volatile std::sig_atomic_t stopping = 0;

struct Faults {
  double rate_mbit = 0;
  double queue = 1000;
  double delay_ms = 0;
  double loss = 0;
  double reorder = 0;
  double late_ms = 5;
  double duplicate = 0;
  double corrupt = 0;
  double seed = 1;

  bool Set(const std::string& key, double value) {
    const std::map<std::string, double*> places = {
        {"rate_mbit", &rate_mbit}, {"queue", &queue},     {"delay_ms", &delay_ms},
        {"loss", &loss},           {"reorder", &reorder}, {"late_ms", &late_ms},
        {"duplicate", &duplicate}, {"corrupt", &corrupt}, {"seed", &seed}};
    const auto place = places.find(key);
    if (place == places.end() || !(value >= 0)) return false;
    *place->second = value;
    return true;
  }
};

struct Counts {
  uint64_t frames = 0;
  uint64_t lost = 0;
  uint64_t overflowed = 0;
  uint64_t reordered = 0;
  uint64_t duplicated = 0;
  uint64_t corrupted = 0;
};

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "link: %s\n", what.c_str());
  std::exit(kWrongCall);
}

Nanos Milliseconds(double ms) { return Nanos(static_cast<int64_t>(ms * 1e6)); }

// A raw socket on a device, in promiscuous mode, that does not hear itself.
class Device {
 public:
  explicit Device(const std::string& name) : name_(name) {
    const int index = static_cast<int>(if_nametoindex(name.c_str()));
    if (index == 0) Die("there is no device " + name);
    socket_ = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (socket_ < 0) Die(std::string("socket: ") + std::strerror(errno));
    const int one = 1;
    ::setsockopt(socket_, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer);
    ::setsockopt(socket_, SOL_SOCKET, SO_SNDBUFFORCE, &kSocketBuffer, sizeof kSocketBuffer);
    packet_mreq all{};
    all.mr_ifindex = index;
    all.mr_type = PACKET_MR_PROMISC;
    ::setsockopt(socket_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = index;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      Die(name + ": " + std::strerror(errno));
  }
  int descriptor() const { return socket_; }
  const std::string& name() const { return name_; }

  // Empty: nothing is there.
  Frame Receive() const {
    thread_local std::array<uint8_t, kLargestFrame> room;
    const ssize_t n = ::recv(socket_, room.data(), room.size(), 0);
    if (n <= 0) return {};
    return {room.begin(), room.begin() + n};
  }
  void Send(const Frame& frame) const {
    // A frame that the device does not take is lost, as on any link.
    if (::send(socket_, frame.data(), frame.size(), 0) < 0 && errno == ENXIO) stopping = 1;
  }

 private:
  std::string name_;
  int socket_ = -1;
};

// One way through the link.
class Direction {
 public:
  Direction(const Faults& faults, uint64_t seed) : faults_(faults), random_(seed) {}

  void Take(Frame frame, std::vector<const Device*> to, Clock::time_point now) {
    ++counts.frames;
    const bool spared = !IsTcpOrUdp(frame);
    if (!spared && Happens(faults_.loss)) {
      ++counts.lost;
      return;
    }
    while (!waiting_.empty() && waiting_.front() <= now) waiting_.pop();
    if (waiting_.size() >= static_cast<size_t>(faults_.queue)) {
      ++counts.overflowed;
      return;
    }
    free_at_ = std::max(free_at_, now);
    if (faults_.rate_mbit > 0) {
      free_at_ +=
          Nanos(static_cast<int64_t>(static_cast<double>(frame.size()) * 8e3 / faults_.rate_mbit));
      waiting_.push(free_at_);
    }
    Clock::time_point out = free_at_ + Milliseconds(faults_.delay_ms);
    if (!spared && Happens(faults_.reorder)) {
      ++counts.reordered;
      out += Milliseconds(faults_.late_ms);
    }
    if (!spared && Happens(faults_.corrupt)) {
      ++counts.corrupted;
      const size_t bit = sizeof(ether_header) * 8 + random_() % ((frame.size() - 14) * 8);
      frame[bit / 8] = static_cast<uint8_t>(frame[bit / 8] ^ (1u << bit % 8));
    }
    if (!spared && Happens(faults_.duplicate)) {
      ++counts.duplicated;
      due_.push({out, next_++, frame, to});
    }
    due_.push({out, next_++, std::move(frame), std::move(to)});
  }

  void Deliver(Clock::time_point now) {
    for (; !due_.empty() && due_.top().at <= now; due_.pop())
      for (const Device* device : due_.top().to) device->Send(due_.top().frame);
  }
  Clock::time_point next() const { return due_.empty() ? Clock::time_point::max() : due_.top().at; }

  Counts counts;

 private:
  struct Due {
    Clock::time_point at;
    uint64_t order;
    Frame frame;
    std::vector<const Device*> to;
    bool operator<(const Due& other) const {  // std::priority_queue gives the greatest first
      return std::pair(other.at, other.order) < std::pair(at, order);
    }
  };

  bool Happens(double share) {
    return share > 0 && std::uniform_real_distribution<>(0, 1)(random_) < share;
  }
  static bool IsTcpOrUdp(const Frame& frame) {
    if (frame.size() < 34) return false;
    const unsigned type = frame[12] << 8 | frame[13];
    const uint8_t protocol = type == ETHERTYPE_IP ? frame[23] : frame[20];
    return (type == ETHERTYPE_IP || type == ETHERTYPE_IPV6) &&
           (protocol == IPPROTO_TCP || protocol == IPPROTO_UDP);
  }

  const Faults faults_;
  std::mt19937_64 random_;
  std::priority_queue<Due> due_;
  std::queue<Clock::time_point> waiting_;  // when each frame at the bottleneck has passed it
  Clock::time_point free_at_{};
  uint64_t next_ = 0;
};

class Link {
 public:
  Link(const std::vector<std::string>& names, const Faults& faults)
      : up_(faults, static_cast<uint64_t>(faults.seed) * 2),
        down_(faults, static_cast<uint64_t>(faults.seed) * 2 + 1) {
    for (const std::string& name : names) devices_.emplace_back(name);
  }

  void Run() {
    while (stopping == 0) {
      Wait();
      const Clock::time_point now = Clock::now();
      for (size_t i = 0; i < devices_.size(); ++i)
        for (Frame f = devices_[i].Receive(); f.size() >= sizeof(ether_header);
             f = devices_[i].Receive())
          Forward(i, std::move(f), now);
      up_.Deliver(Clock::now());
      down_.Deliver(Clock::now());
    }
  }

  void Report() const {
    std::printf("{");
    for (const auto& [name, counts] : {std::pair("up", &up_.counts), {"down", &down_.counts}})
      std::printf(
          "%s\"%s\": {\"frames\": %llu, \"lost\": %llu, \"overflowed\": %llu, "
          "\"reordered\": %llu, \"duplicated\": %llu, \"corrupted\": %llu}",
          name[0] == 'u' ? "" : ", ", name, Long(counts->frames), Long(counts->lost),
          Long(counts->overflowed), Long(counts->reordered), Long(counts->duplicated),
          Long(counts->corrupted));
    std::printf("}\n");
  }

 private:
  static unsigned long long Long(uint64_t n) { return n; }

  void Wait() {
    std::vector<pollfd> wanted;
    for (const Device& device : devices_) wanted.push_back({device.descriptor(), POLLIN, 0});
    const Clock::time_point next = std::min(up_.next(), down_.next());
    timespec pause{.tv_sec = 1, .tv_nsec = 0};
    if (next != Clock::time_point::max()) {
      const auto left =
          std::max(Nanos(0), std::min<Nanos>(next - Clock::now(), Nanos(999'999'999)));
      pause = {.tv_sec = 0, .tv_nsec = left.count()};
    }
    ::ppoll(wanted.data(), wanted.size(), &pause, nullptr);
    for (const pollfd& p : wanted)
      if ((p.revents & (POLLERR | POLLNVAL)) != 0) {
        int error = 0;  // read, and so cleared: a device that is down for a moment says so
        socklen_t size = sizeof error;
        ::getsockopt(p.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error == ENXIO || error == ENODEV) stopping = 1;
      }
  }

  void Forward(size_t from, Frame frame, Clock::time_point now) {
    if (from != 0) {
      Mac source;
      std::copy_n(frame.begin() + 6, 6, source.begin());
      servers_[source] = from;
      down_.Take(std::move(frame), {&devices_[0]}, now);
      return;
    }
    Mac destination;
    std::copy_n(frame.begin(), 6, destination.begin());
    std::vector<const Device*> to;
    const auto known = servers_.find(destination);
    for (size_t i = 1; i < devices_.size(); ++i)
      if (known == servers_.end() || known->second == i) to.push_back(&devices_[i]);
    up_.Take(std::move(frame), std::move(to), now);
  }

  std::vector<Device> devices_;  // the client's, then the servers'
  std::map<Mac, size_t> servers_;
  Direction up_;
  Direction down_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> devices;
  Faults faults;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) {
      devices.push_back(argument);
      continue;
    }
    char* end = nullptr;
    const double value = std::strtod(argv[i] + equals + 1, &end);
    if (*end != '\0' || end == argv[i] + equals + 1 ||
        !faults.Set(argument.substr(0, equals), value))
      Die("no such setting: " + argument + " (they stand at the top of link.cc)");
  }
  if (devices.size() < 2) Die("usage: link CLIENT_DEVICE SERVER_DEVICE... [KEY=VALUE...]");
  struct sigaction stop {};
  stop.sa_handler = [](int) { stopping = 1; };
  ::sigaction(SIGTERM, &stop, nullptr);
  ::sigaction(SIGINT, &stop, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  Link link(devices, faults);
  std::puts("link: ready");
  std::fflush(stdout);
  link.Run();
  link.Report();
}
