// The services over a cable of memory, in virtual time, spoken to by a client on the same stack.
#include "app/services.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/http_service.h"
#include "stack/api/stack.h"
#include "stack/port/memory_port.h"

namespace usher {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr MacAddress kServerMac = {{0x02, 0, 0, 0, 0, 0x02}};
constexpr MacAddress kClientMac = {{0x02, 0, 0, 0, 0, 0x01}};

struct Host {
  static constexpr uint32_t kBuffers = 8192;

  Host(const MacAddress& mac, const char* address, uint64_t seed)
      : pool(kBuffers), port(pool, mac), random(seed) {
    InterfaceConfig config;
    config.addresses = {*InterfaceAddress::Parse(address)};
    const std::vector<ShardInterface> ports[] = {{{&port, config}}};
    StackOptions options;
    options.max_connections = 256;
    options.passive_open.max_requests = 256;
    // As PlanMemory: what waits never takes the buffers that receiving needs.
    const uint64_t pages = uint64_t{kBuffers} * 7 / 8 * kBufferRoom / TcpMemory::kPageSize;
    options.sysctls.tcp_mem = {pages / 2, pages * 2 / 3, pages};
    auto made = Stack::Create(options, ports, random);
    EXPECT_TRUE(made.ok()) << made.status();
    stack = *std::move(made);
  }
  HeapPool pool;
  MemoryPort port;
  SeededRandom random;
  std::unique_ptr<Stack> stack;
};

// Sends `to_send`, then (if told to) ends its side; keeps what comes back while `reading`.
struct Client : Application {
  void OnConnected(Connection c) override { Push(c); }
  void OnWritable(Connection c) override { Push(c); }
  void OnReadable(Connection c) override {
    std::array<uint8_t, 4096> bytes;
    while (reading) {
      const IoResult read = c.Read(bytes);
      if (read.error != Error::kNone) return;
      if (read.bytes == 0) {
        ended = true;
        return;
      }
      received.append(reinterpret_cast<const char*>(bytes.data()), read.bytes);
    }
  }
  void OnClosed(Connection c, Error e) override {
    OnReadable(c);
    closed = true;
    why = e;
    c.Close();
  }
  void Push(Connection c) {
    while (sent < to_send.size()) {
      const IoResult written = c.Write(std::string_view(to_send).substr(sent));
      if (written.bytes == 0) return;
      sent += written.bytes;
    }
    if (end_when_sent) c.Shutdown(ShutdownHow::kWrite);
  }

  std::string to_send;
  size_t sent = 0;
  bool end_when_sent = false;
  bool reading = true;
  std::string received;
  bool ended = false;
  bool closed = false;
  Error why = Error::kNone;
};

class Services : public ::testing::Test {
 protected:
  Services() {
    server_.stack->Start(0, now_);
    client_.stack->Start(0, now_);
  }

  void Listen(Application& service, int backlog = 128) {
    ListenSpec spec;
    spec.port = 80;
    spec.backlog = backlog;
    ASSERT_TRUE(server_.stack->Listen(spec, service).ok());
  }
  Connection Connect(Client& client) {
    Connection c;
    EXPECT_EQ(client_.stack->Connect(0, *IpAddress::Parse("198.18.0.2"), 80, client, &c),
              Error::kNone);
    return c;
  }
  // Until `done`, or `limit` of virtual time has passed.
  bool RunUntil(const std::function<bool()>& done, Duration limit = Duration::Seconds(30)) {
    const Instant end = now_ + limit;
    while (!done()) {
      if (now_ > end) return false;
      const uint32_t work = server_.stack->Poll(0, now_) + client_.stack->Poll(0, now_);
      bool carried = Carry(server_.port, client_.port);
      carried |= Carry(client_.port, server_.port);
      Instant next = now_ + Duration::Micros(10);
      if (work == 0 && !carried)
        next = std::clamp(std::min(server_.stack->NextDeadline(0), client_.stack->NextDeadline(0)),
                          next, end + Duration::Nanos(1));
      now_ = next;
    }
    return true;
  }
  void Run(Duration time) {
    RunUntil([] { return false; }, time);
  }
  uint32_t server_connections() { return server_.stack->shard(0).connection_count(); }

  static bool Carry(MemoryPort& from, MemoryPort& to) {
    bool any = false;
    for (auto frame = from.TakeSent(); !frame.empty(); frame = from.TakeSent()) {
      to.Inject(frame);
      any = true;
    }
    return any;
  }

  Instant now_ = Instant::FromNanos(1'000'000'000);
  Host server_{kServerMac, "198.18.0.2/15", 1};
  Host client_{kClientMac, "198.18.0.1/15", 2};
};

std::string Pattern(size_t size) {
  std::string s(size, 0);
  for (size_t i = 0; i < size; ++i) s[i] = static_cast<char>(i % 251);
  return s;
}

TEST_F(Services, EchoGivesBackEveryByteThoughTheReaderIsSlow) {
  EchoService echo;
  Listen(echo);
  Client client;
  client.to_send = Pattern(3'000'000);
  client.end_when_sent = true;
  client.reading = false;
  Connection c = Connect(client);
  Run(Duration::Seconds(1));
  EXPECT_LT(client.sent, client.to_send.size()) << "nobody holds the sender back";
  client.reading = true;
  client.OnReadable(c);
  EXPECT_TRUE(RunUntil([&] { return client.ended; }));
  EXPECT_TRUE(client.received == client.to_send) << client.received.size();
  EXPECT_TRUE(RunUntil([&] { return server_connections() == 0; }));
}

TEST_F(Services, DiscardTakesEverythingAndSaysNothing) {
  DiscardService discard;
  Listen(discard);
  Client client;
  client.to_send = Pattern(1'000'000);
  client.end_when_sent = true;
  Connect(client);
  EXPECT_TRUE(RunUntil([&] { return client.ended; }));
  EXPECT_EQ(client.sent, client.to_send.size());
  EXPECT_EQ(client.received, "");
}

TEST_F(Services, ChargenSendsTheLinesOfRfc864) {
  ChargenService chargen;
  Listen(chargen);
  Client client;
  Connection c = Connect(client);
  EXPECT_TRUE(RunUntil([&] { return client.received.size() > 200'000; }));
  std::string ring;
  for (char p = ' '; p <= '~'; ++p) ring += p;
  ring += ring;
  for (size_t line = 0; (line + 1) * 74 <= client.received.size(); ++line) {
    ASSERT_EQ(client.received.substr(line * 74, 74), ring.substr(line % 95, 72) + "\r\n") << line;
  }
  c.Abort();
  EXPECT_TRUE(RunUntil([&] { return server_connections() == 0; }));
}

TEST_F(Services, NoServiceLetsTheQueueFill) {
  NoService none;
  Listen(none, 2);
  std::vector<Client> clients(3);
  for (Client& client : clients) Connect(client);
  Run(Duration::Millis(10));
  uint32_t waiting = 0;
  server_.stack->shard(0).passive_open().ForEachListener(
      [&](Handle, const Listener& l) { waiting = l.accept_queue.length(); });
  EXPECT_EQ(waiting, 3u);
}

class Http : public Services {
 protected:
  Http()
      : service_(
            nullptr, [] { return std::string("{}"); }, 256) {
    Listen(service_);
  }
  HttpService service_;
};

// What a start must find room for.
TEST(HttpServiceMemory, EverySessionCounts) {
  const uint64_t few = HttpService::MemoryNeeded(1000);
  const uint64_t many = HttpService::MemoryNeeded(1'001'000);
  EXPECT_GE((many - few) / 1'000'000, sizeof(HttpSession));
  EXPECT_LE((many - few) / 1'000'000, sizeof(HttpSession) + 128);
}

TEST_F(Http, PipelinedRequestsAreAnsweredInOrder) {
  Client client;
  client.to_send =
      "GET /bytes/3 HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /status HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /close HTTP/1.1\r\nHost: x\r\n\r\n";
  Connect(client);
  EXPECT_TRUE(RunUntil([&] { return client.ended; }));
  EXPECT_THAT(client.received, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(client.received, HasSubstr("\r\nDate: "));
  EXPECT_THAT(client.received, HasSubstr("\r\n\r\n{}HTTP/1.1 200 OK"));
}

TEST_F(Http, LargeBodyGoesOutWholeThoughTheReaderIsSlow) {
  Client client;
  client.to_send = "GET /bytes/5000000 HTTP/1.0\r\n\r\n";
  client.reading = false;
  Connection c = Connect(client);
  Run(Duration::Seconds(1));
  client.reading = true;
  client.OnReadable(c);
  EXPECT_TRUE(RunUntil([&] { return client.ended; }));
  const size_t body = client.received.find("\r\n\r\n") + 4;
  EXPECT_TRUE(client.received.substr(body) == Pattern(5'000'000));
}

TEST_F(Http, UploadComesBackUnchanged) {
  Client client;
  const std::string body = Pattern(2'000'000);
  client.to_send = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + body;
  Connect(client);
  EXPECT_TRUE(RunUntil([&] { return client.received.size() > body.size(); }));
  Run(Duration::Millis(1));
  EXPECT_TRUE(client.received.ends_with(body));
}

TEST_F(Http, DelayWaitsItsTimeAndHoldsWhatIsPipelinedBehindIt) {
  Client client;
  client.to_send =
      "GET /delay/700 HTTP/1.1\r\nHost: x\r\n\r\nGET /bytes/1 HTTP/1.1\r\nHost: x\r\n\r\n";
  Connect(client);
  Run(Duration::Millis(690));
  EXPECT_EQ(client.received, "");
  Run(Duration::Millis(20));
  EXPECT_THAT(client.received, HasSubstr("Answered after 700 ms"));
  EXPECT_THAT(client.received, HasSubstr("Content-Length: 1\r\n"));
}

TEST_F(Http, SilentClientIsClosedAfterItsTime) {
  Client client;
  Connect(client);
  Run(Duration::Seconds(74));
  EXPECT_FALSE(client.ended);
  Run(Duration::Seconds(2));
  EXPECT_TRUE(client.ended);
}

// Its answer fits in TCP's buffers, so for the session all is done; an orphan would not live so
// long.
TEST_F(Http, ClientThatHasNotItsAnswerYetIsNotIdle) {
  Client client;
  client.reading = false;
  client.to_send = "GET /bytes/150000 HTTP/1.1\r\nHost: x\r\n\r\n";
  Connection c = Connect(client);
  Run(Duration::Seconds(600));
  ASSERT_EQ(server_connections(), 1u);
  client.reading = true;
  client.OnReadable(c);
  EXPECT_TRUE(RunUntil([&] { return client.received.size() > 150'000; }));
  EXPECT_FALSE(client.ended);
}

// A reset must not overtake the answer to a request whose body nobody reads.
TEST_F(Http, AnswerToABadRequestIsReadThoughMoreComesBehindIt) {
  Client client;
  client.to_send = "NONSENSE\r\n\r\n" + Pattern(300'000);
  Connect(client);
  EXPECT_TRUE(RunUntil([&] { return client.ended; }));
  EXPECT_THAT(client.received, StartsWith("HTTP/1.1 400"));
  EXPECT_EQ(client.why, Error::kNone);
}

TEST_F(Http, PeerThatNeverEndsIsLetGoAfterTheLingerTime) {
  Client client;
  client.to_send = "GET /close HTTP/1.1\r\nHost: x\r\n\r\n";
  Connect(client);
  EXPECT_TRUE(RunUntil([&] { return client.ended; }));
  Run(Duration::Seconds(4));
  EXPECT_EQ(server_connections(), 1u);
  Run(Duration::Seconds(2));
  EXPECT_EQ(server_connections(), 0u) << "a small record is left of it";
}

TEST_F(Http, StoppingEndsWhatRestsAndAnswersWhatWasAsked) {
  Client resting, waiting;
  resting.to_send = "GET /bytes/1 HTTP/1.1\r\nHost: x\r\n\r\n";
  waiting.to_send = "GET /delay/500 HTTP/1.1\r\nHost: x\r\n\r\n";
  Connect(resting);
  Connect(waiting);
  Run(Duration::Millis(10));
  service_.OnStopping(server_.stack->shard(0));
  Run(Duration::Millis(100));
  EXPECT_TRUE(resting.ended);
  EXPECT_FALSE(waiting.ended);
  Run(Duration::Millis(500));
  EXPECT_THAT(waiting.received, HasSubstr("Answered after 500 ms"));
  EXPECT_TRUE(waiting.ended);
}

TEST_F(Http, ResetClientsLeaveNothingBehind) {
  std::vector<Client> clients(50);
  std::vector<Connection> connections;
  for (Client& client : clients) {
    client.to_send = "GET /bytes/100000000 HTTP/1.1\r\nHost: x\r\n\r\n";
    connections.push_back(Connect(client));
  }
  // (While the link address is asked for only a few SYNs are kept; the others come again.)
  EXPECT_TRUE(RunUntil([&] { return server_connections() == 50; }));
  for (Connection& c : connections) c.Abort();
  EXPECT_TRUE(RunUntil([&] { return server_connections() == 0; }));
  const TcpContext& context = server_.stack->shard(0).context();
  EXPECT_EQ(context.memory.charged_bytes(), 0u);
  Run(Duration::Millis(1));
  EXPECT_EQ(server_.pool.available(), server_.pool.capacity() - NetworkLimits().control_reserve);
}

}  // namespace
}  // namespace usher
