// The stack without DPDK, in a loop of one's own: a client and an echo server, each a stack with
// one shard, joined by a cable made of memory, in a time of their own. Nothing here needs root.
#include <cstdio>
#include <cstring>
#include <string>

#include "stack/api/stack.h"
#include "stack/port/memory_port.h"

namespace {

constexpr usher::MacAddress kServerMac = {{0x02, 0, 0, 0, 0, 0x02}};
constexpr usher::MacAddress kClientMac = {{0x02, 0, 0, 0, 0, 0x01}};

// A stack with one memory port.
struct Host {
  Host(const usher::MacAddress& mac, const char* address, uint64_t seed)
      : pool(4096), port(pool, mac), random(seed) {
    usher::InterfaceConfig config;
    config.addresses = {*usher::InterfaceAddress::Parse(address)};
    const std::vector<usher::ShardInterface> ports[] = {{{&port, config}}};
    usher::StackOptions options;
    options.max_connections = 1024;
    options.passive_open.max_requests = 1024;
    stack = *usher::Stack::Create(options, ports, random);
  }
  usher::HeapPool pool;
  usher::MemoryPort port;
  usher::SeededRandom random;  // a real server takes keys from the system: see Runtime
  std::unique_ptr<usher::Stack> stack;
};

struct EchoServer : usher::Application {
  void OnAcceptable(usher::Acceptor acceptor) override {
    for (usher::Connection c; acceptor.Accept(&c) == usher::Error::kNone;) continue;
  }
  void OnReadable(usher::Connection c) override {
    usher::Slice slice;  // few bytes come here: they fit what the connection takes at once
    while (c.ReadSlice(&slice).error == usher::Error::kNone) {
      if (slice.empty()) return void(c.Close());
      c.Write(slice.bytes());
      slice = {};
    }
  }
};

struct Client : usher::Application {
  void OnConnected(usher::Connection c) override { c.Write("Hello, usher\n"); }
  void OnReadable(usher::Connection c) override {
    std::array<uint8_t, 64> bytes;
    const usher::IoResult read = c.Read(bytes);
    answer.append(reinterpret_cast<const char*>(bytes.data()), read.bytes);
    if (answer.ends_with('\n')) c.Close();
  }
  std::string answer;
};

void CarryFrames(usher::MemoryPort& from, usher::MemoryPort& to) {
  for (auto frame = from.TakeSent(); !frame.empty(); frame = from.TakeSent()) to.Inject(frame);
}

}  // namespace

int main() {
  Host server(kServerMac, "198.18.0.2/15", 1);
  Host client(kClientMac, "198.18.0.1/15", 2);
  EchoServer echo;
  Client application;
  if (!server.stack->Listen({.port = 7}, echo).ok()) return 1;

  usher::Instant now = usher::Instant::FromNanos(1);
  server.stack->Start(0, now);
  client.stack->Start(0, now);
  usher::Connection connection;
  client.stack->Connect(0, *usher::IpAddress::Parse("198.18.0.2"), 7, application, &connection);
  while (!application.answer.ends_with('\n') &&
         now < usher::Instant() + usher::Duration::Seconds(10)) {
    server.stack->Poll(0, now);
    client.stack->Poll(0, now);
    CarryFrames(server.port, client.port);
    CarryFrames(client.port, server.port);
    now = now + usher::Duration::Micros(10);
  }
  std::fputs(application.answer.c_str(), stdout);
  return application.answer == "Hello, usher\n" ? 0 : 1;
}
