#include "app/http/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/unit/app/http_client.h"

namespace usher {
namespace {

uint32_t ChooseSeed() {
  const char* seed = std::getenv("USHER_TEST_SEED");
  return seed != nullptr ? static_cast<uint32_t>(std::strtoul(seed, nullptr, 10))
                         : std::random_device{}();
}

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kHost[] = "Host: usher\r\n";

class HttpSessionTest : public ::testing::Test {
 protected:
  HttpSessionTest() {
    folder_.Write("index.html", "<p>usher</p>");
    folder_.Write("docs/index.html", "docs");
    folder_.Write("a b.txt", "space");
    auto site = StaticSite::Load(folder_.path().string(), StaticSiteOptions());
    EXPECT_TRUE(site.ok()) << site.status();
    site_ = *std::move(site);
    context_.emplace(
        site_.get(), [] { return std::string("{\"version\":\"t\"}"); }, limits_);
  }

  // Sends `request` whole and returns the bytes of the answer.
  std::string Ask(const std::string& request) {
    HttpClient client(&*context_);
    client.Send(request);
    return client.received;
  }
  std::vector<Response> Responses(const std::string& request) {
    auto responses = CutResponses(Ask(request));
    EXPECT_TRUE(responses.has_value()) << Ask(request);
    return responses.value_or(std::vector<Response>());
  }
  Response One(const std::string& request) {
    const std::vector<Response> responses = Responses(request);
    EXPECT_EQ(responses.size(), 1u) << Ask(request);
    return responses.empty() ? Response() : responses[0];
  }

  TempFolder folder_;
  HttpLimits limits_;
  std::unique_ptr<StaticSite> site_;
  std::optional<HttpContext> context_;
};

std::string Get(const std::string& target, const std::string& fields = "") {
  return "GET " + target + " HTTP/1.1\r\n" + kHost + fields + "\r\n";
}

std::string Post(const std::string& target, const std::string& body) {
  return "POST " + target + " HTTP/1.1\r\n" + kHost +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST_F(HttpSessionTest, ServesFileByteForByte) {
  const std::string etag = site_->Find("/")->etag;
  EXPECT_EQ(Ask(Get("/")),
            "HTTP/1.1 200 OK\r\nServer: usher\r\nContent-Type: text/html; charset=utf-8\r\n"
            "X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nETag: " +
                etag + "\r\nContent-Length: 12\r\n\r\n<p>usher</p>");
}

TEST_F(HttpSessionTest, DateAndConnectionStandInTheHead) {
  context_->set_date("Sun, 06 Nov 1994 08:49:37 GMT");
  const Response r = One(Get("/", "Connection: close\r\n"));
  EXPECT_EQ(r.fields.at("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(r.fields.at("connection"), "close");
  EXPECT_EQ(r.body, "<p>usher</p>");
  context_->set_date("");
  EXPECT_FALSE(One(Get("/")).fields.contains("date"));
}

// ---- One request, one status; whole and cut at every byte ----

struct StatusCase {
  std::string request;
  int status;
  bool closes;
};

void PrintTo(const StatusCase& c, std::ostream* os) {
  *os << ::testing::PrintToString(c.request.substr(0, 120)) << " -> " << c.status;
}

class HttpStatusTest : public HttpSessionTest, public ::testing::WithParamInterface<StatusCase> {};

TEST_P(HttpStatusTest, SameAnswerHoweverTheRequestIsCut) {
  const StatusCase& c = GetParam();
  HttpClient whole(&*context_);
  whole.Send(c.request);
  const bool head = c.request.starts_with("HEAD");
  const auto responses = CutResponses(whole.received, {head ? "HEAD" : ""});
  ASSERT_TRUE(responses.has_value()) << whole.received;
  ASSERT_EQ(responses->size(), 1u) << whole.received;
  EXPECT_EQ((*responses)[0].status, c.status);
  EXPECT_EQ(whole.session.wants_close(), c.closes);
  if (c.closes) {
    EXPECT_EQ((*responses)[0].fields.at("connection"), "close");
  }
  const size_t cuts = std::min<size_t>(c.request.size(), 400);
  for (size_t cut = 1; cut < cuts; ++cut) {
    HttpClient client(&*context_);
    client.Send(c.request.substr(0, cut));
    client.Send(c.request.substr(cut));
    ASSERT_EQ(client.received, whole.received) << "cut at " << cut;
    ASSERT_EQ(client.session.wants_close(), c.closes) << "cut at " << cut;
  }
  HttpClient bytewise(&*context_);
  bytewise.Send(
      c.request, [] { return 1; }, [] { return 1; });
  EXPECT_EQ(bytewise.received, whole.received);
}

const std::string kGet10 = "GET / HTTP/1.0\r\n";

INSTANTIATE_TEST_SUITE_P(
    Good, HttpStatusTest,
    ::testing::Values(
        StatusCase{Get("/"), 200, false}, StatusCase{Get("/index.html"), 200, false},
        StatusCase{Get("/?query=1#"), 400, true}, StatusCase{Get("/?query=1"), 200, false},
        StatusCase{Get("http://usher/"), 200, false}, StatusCase{Get("http://usher"), 200, false},
        StatusCase{Get("HTTP://usher?x"), 200, false}, StatusCase{Get("/a%20b.txt"), 200, false},
        StatusCase{Get("/%69ndex.html"), 200, false}, StatusCase{Get("/docs/"), 200, false},
        StatusCase{Get("/docs"), 301, false}, StatusCase{Get("/none"), 404, false},
        StatusCase{"\r\n\r\n" + Get("/"), 200, false},
        StatusCase{"GET / HTTP/1.1\nHost: usher\n\n", 200, false},
        StatusCase{Get("/", "Connection: close\r\n"), 200, true},
        StatusCase{Get("/", "Connection: foo, Close\r\n"), 200, true},
        StatusCase{Get("/", "Connection: Upgrade\r\nUpgrade: h2c\r\n"), 200, false},
        StatusCase{kGet10 + "\r\n", 200, true},
        StatusCase{kGet10 + "Connection: keep-alive\r\n\r\n", 200, false},
        StatusCase{"GET / HTTP/1.2\r\nHost: usher\r\n\r\n", 200, false},
        StatusCase{"HEAD / HTTP/1.1\r\nHost: usher\r\n\r\n", 200, false},
        StatusCase{"HEAD /none HTTP/1.1\r\nHost: usher\r\n\r\n", 404, false},
        StatusCase{"HEAD /status HTTP/1.1\r\nHost: usher\r\n\r\n", 200, false},
        StatusCase{"HEAD /bytes/77 HTTP/1.1\r\nHost: usher\r\n\r\n", 200, false},
        StatusCase{"HEAD /delay/1 HTTP/1.1\r\nHost: usher\r\n\r\n", 200, false},
        StatusCase{Get("/status"), 200, false}, StatusCase{Get("/close"), 200, true},
        StatusCase{Get("/bytes/0"), 200, false}, StatusCase{Get("/bytes/100"), 200, false},
        StatusCase{Get("/bytes/"), 404, false}, StatusCase{Get("/bytes/1x"), 404, false},
        StatusCase{Get("/bytes/-1"), 404, false},
        StatusCase{Get("/bytes/1099511627777"), 400, false},
        StatusCase{Get("/bytes/99999999999999999999999"), 400, false},
        StatusCase{Get("/delay/0"), 200, false}, StatusCase{Get("/delay/9999999999"), 400, false},
        StatusCase{Post("/echo", "hello"), 200, false}, StatusCase{Post("/echo", ""), 200, false},
        StatusCase{Get("/" + std::string(600, 'x')), 404, false},
        StatusCase{Get("/?" + std::string(600, 'x')), 200, false},
        StatusCase{Get("/" + std::string(7999, 'x')), 404, false}));

INSTANTIATE_TEST_SUITE_P(
    Refused, HttpStatusTest,
    ::testing::Values(
        StatusCase{"GET / HTTP/1.1\r\n\r\n", 400, true}, StatusCase{Get("/", kHost), 400, true},
        StatusCase{"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, true},
        StatusCase{"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, true},
        StatusCase{"GET / HTTP/2.0\r\nHost: usher\r\n\r\n", 505, true},
        StatusCase{"GET / HTTP/1\r\nHost: usher\r\n\r\n", 400, true},
        StatusCase{"GET / HTTP/11.1\r\nHost: usher\r\n\r\n", 400, true},
        StatusCase{"GET /\r\n\r\n", 505, true}, StatusCase{"GET / ICE/1.1\r\n\r\n", 400, true},
        StatusCase{"GET / HTTP/1.1 x\r\n\r\n", 400, true},
        StatusCase{"GET /a b HTTP/1.1\r\nHost: usher\r\n\r\n", 400, true},
        StatusCase{" GET / HTTP/1.1\r\n\r\n", 400, true},
        StatusCase{std::string("\x16\x03\x01\x02\x00", 5), 400, true},
        StatusCase{std::string(17, '\n'), 400, true},
        StatusCase{"FOO / HTTP/1.1\r\nHost: usher\r\n\r\n", 501, true},
        StatusCase{"GE / HTTP/1.1\r\nHost: usher\r\n\r\n", 501, true},
        StatusCase{"get / HTTP/1.1\r\nHost: usher\r\n\r\n", 501, true},
        StatusCase{"PROPFIND / HTTP/1.1\r\nHost: usher\r\n\r\n", 501, true},
        StatusCase{"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501, true},
        StatusCase{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501, true},
        StatusCase{std::string(100, 'A') + " / HTTP/1.1\r\n\r\n", 501, true},
        StatusCase{"GE\x01T / HTTP/1.1\r\n\r\n", 400, true},
        StatusCase{Get("/../etc/passwd"), 400, true}, StatusCase{Get("/docs/.."), 400, true},
        StatusCase{Get("/%2e%2e/etc/passwd"), 400, true}, StatusCase{Get("/a%2fb"), 400, true},
        StatusCase{Get("/a%5cb"), 400, true}, StatusCase{Get("/a%00"), 400, true},
        StatusCase{Get("/a%2"), 400, true}, StatusCase{Get("/a%zz"), 400, true},
        StatusCase{Get("/a\\b"), 400, true}, StatusCase{Get("/\xc3\xa9"), 400, true},
        StatusCase{Get("/\x01"), 400, true}, StatusCase{Get("*"), 400, true},
        StatusCase{Get("http:///x"), 400, true},
        StatusCase{Get("/" + std::string(8000, 'x')), 414, true},
        StatusCase{Get("/", "X: " + std::string(16384, 'x') + "\r\n"), 431, true},
        StatusCase{Get("/", "X: \x01\r\n"), 400, true},
        StatusCase{Get("/", std::string("X: a\0b\r\n", 8)), 400, true},
        StatusCase{Get("/", "X : a\r\n"), 400, true}, StatusCase{Get("/", ": a\r\n"), 400, true},
        StatusCase{Get("/", "X\r\n"), 400, true}, StatusCase{Get("/", "Expect: a\r\n"), 417, true},
        StatusCase{"POST / HTTP/1.1\r\nHost: usher\r\n\r\n", 405, false},
        StatusCase{"DELETE /bytes/5 HTTP/1.1\r\nHost: usher\r\n\r\n", 405, false},
        StatusCase{Get("/echo"), 405, false}, StatusCase{Post("/none", "abc"), 404, false},
        StatusCase{Post("/", "abc"), 405, false},
        StatusCase{"POST / HTTP/1.1\r\nHost: usher\r\nExpect: 100-continue\r\n"
                   "Content-Length: 3\r\n\r\n",
                   405, true},
        StatusCase{"POST / HTTP/1.1\r\nHost: usher\r\nContent-Length: 1048577\r\n\r\n", 413,
                   true}));

// RFC 9112 sections 5.2, 6.1, 6.3, 7.1: whatever two parsers could read differently.
INSTANTIATE_TEST_SUITE_P(
    Smuggling, HttpStatusTest, ::testing::ValuesIn([] {
      const auto post = [](const std::string& fields, const std::string& body) {
        return "POST / HTTP/1.1\r\nHost: usher\r\n" + fields + "\r\n" + body;
      };
      const std::string chunked = "Transfer-Encoding: chunked\r\n";
      return std::vector<StatusCase>{
          {post(chunked + "Content-Length: 3\r\n", "0\r\n\r\n"), 400, true},
          {post("Content-Length: 3\r\n" + chunked, "0\r\n\r\n"), 400, true},
          {post("Content-Length: 3\r\nTransfer-Encoding: x\r\n", "abc"), 400, true},
          {post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400, true},
          {post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400, true},
          {post("Content-Length: 3, 3\r\n", "abc"), 400, true},
          {post("Content-Length: +3\r\n", "abc"), 400, true},
          {post("Content-Length: -1\r\n", ""), 400, true},
          {post("Content-Length: 0x3\r\n", "abc"), 400, true},
          {post("Content-Length: 3 4\r\n", "abc"), 400, true},
          {post("Content-Length: 18446744073709551616\r\n", ""), 400, true},
          {post("Content-Length : 3\r\n", "abc"), 400, true},
          {post("Transfer-Encoding: gzip\r\n", ""), 400, true},
          {post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501, true},
          {post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"), 400, true},
          {post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400, true},
          {post("Transfer-Encoding: \x0b"
                "chunked\r\n",
                "0\r\n\r\n"),
           400, true},
          {post(chunked + chunked, "0\r\n\r\n"), 400, true},
          {post("X: a\r\n " + chunked, "0\r\n\r\n"), 400, true},
          {post("X: a\r\n\tb\r\n", ""), 400, true},
          {post("X: a\r\n \r\n", ""), 400, true},
          {post(" X: a\r\n", ""), 400, true},
          {post("X: a\rb\r\n", ""), 400, true},
          {post("X: a\r\n\rb\r\n", ""), 400, true},
          {"POST / HTTP/1.0\r\n" + chunked + "\r\n0\r\n\r\n", 400, true},
          {post(chunked, "g\r\n"), 400, true},
          {post(chunked, "\r\n"), 400, true},
          {post(chunked, "3\nabc\r\n0\r\n\r\n"), 400, true},
          {post(chunked, "3;a\nabc\r\n0\r\n\r\n"), 400, true},
          {post(chunked, "3;a\rxabc\r\n0\r\n\r\n"), 400, true},
          {post(chunked, "3\r\nabcXX0\r\n\r\n"), 400, true},
          {post(chunked, "3\r\nabcd\r\n0\r\n\r\n"), 400, true},
          {post(chunked, "0\r\nX: a\n\r\n"), 400, true},
          {post(chunked, "0\r\n X: a\r\n\r\n"), 400, true},
          {post(chunked, "10000000000000003\r\nabc\r\n0\r\n\r\n"), 400, true},
          {post(chunked, "3;" + std::string(9000, 'x')), 400, true},
          {post(chunked, "3 ; a=\"b\"\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"), 405, false},
      };
    }()));

// ---- Rows of requests ----

TEST_F(HttpSessionTest, AnswersPipelinedRequestsInOrder) {
  const std::vector<Response> r =
      Responses(Get("/") + Get("/none") + Post("/echo", "abc") + Get("/bytes/3") + Get("/status") +
                Get("/docs/") + "\r\n" + Get("/close") + Get("/"));
  ASSERT_EQ(r.size(), 7u);
  EXPECT_EQ(r[0].body, "<p>usher</p>");
  EXPECT_EQ(r[1].status, 404);
  EXPECT_EQ(r[2].body, "abc");
  EXPECT_EQ(r[3].body, std::string("\0\1\2", 3));
  EXPECT_EQ(r[4].body, "{\"version\":\"t\"}");
  EXPECT_EQ(r[5].body, "docs");
  EXPECT_EQ(r[6].fields.at("connection"), "close");
}

TEST_F(HttpSessionTest, ManyPipelinedRequestsWaitForRoom) {
  std::string requests;
  for (int i = 0; i < 1000; ++i) requests += Get("/");
  HttpClient client(&*context_);
  const size_t used = client.session.Consume(Bytes(requests), client.now);
  EXPECT_LT(used, requests.size());
  EXPECT_GE(used, 20 * Get("/").size());
  EXPECT_EQ(client.session.Consume(Bytes(requests.substr(used)), client.now), 0u);
  client.Take(SIZE_MAX);
  client.Send(requests.substr(used));
  const auto responses = CutResponses(client.received);
  ASSERT_TRUE(responses.has_value());
  EXPECT_EQ(responses->size(), 1000u);
}

TEST_F(HttpSessionTest, NothingIsAnsweredAfterTheClosingAnswer) {
  HttpClient client(&*context_);
  client.Send("BAD\x01" + Get("/"));
  ASSERT_TRUE(client.session.wants_close());
  EXPECT_FALSE(client.session.broken());
  const std::string before = client.received;
  EXPECT_EQ(client.session.Consume(Bytes(Get("/")), client.now), Get("/").size());
  EXPECT_EQ(client.session.output_size(), 0u);
  EXPECT_EQ(client.session.next_deadline(), Instant::Never());
}

// ---- Conditional requests, methods, continue ----

TEST_F(HttpSessionTest, UnchangedFileIsNotSentAgain) {
  const std::string etag = site_->Find("/")->etag;
  for (const std::string& value : {etag, "W/" + etag, "\"x\", " + etag, std::string("*")}) {
    const Response r = One(Get("/", "If-None-Match: " + value + " \r\n"));
    EXPECT_EQ(r.status, 304) << value;
    EXPECT_EQ(r.fields.at("etag"), etag);
    EXPECT_FALSE(r.fields.contains("content-length"));
  }
  EXPECT_EQ(One(Get("/", "If-None-Match: \"x\"\r\n")).status, 200);
  EXPECT_EQ(One(Get("/", "If-None-Match: " + std::string(200, 'x') + etag + "\r\n")).status, 200);
}

TEST_F(HttpSessionTest, SameHeadAgainGetsTheSameAnswer) {
  const std::string etag = site_->Find("/")->etag;
  // More than are remembered, some the beginnings of others, on old and new connections.
  const std::vector<std::string> requests = {
      Get("/"),         Get("/", "Connection: close\r\n"),
      Get("/docs/"),    Get("/", "If-None-Match: " + etag + "\r\n"),
      Get("/bytes/10"), "HEAD / HTTP/1.1\r\nHost: usher\r\n\r\n",
      Get("/none"),     "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
      Post("/", ""),    Post("/echo", ""),
      Get("/", kHost),  Post("/echo", "hello"),
      Get("/delay/1"),  Get("/", "X: " + std::string(500, 'x') + "\r\n")};
  const auto one_byte = [] { return 1; };
  std::mt19937 random(1);
  for (int round = 0; round < 500; ++round) {
    const std::string& request = requests[random() % (round % 3 == 0 ? 3 : requests.size())];
    HttpContext fresh(site_.get(), nullptr);
    HttpClient parsed(&fresh);
    parsed.Send(request, one_byte, one_byte);
    HttpClient client(&*context_);
    client.Send(request);
    ASSERT_EQ(client.received, parsed.received);
    ASSERT_EQ(client.session.wants_close(), parsed.session.wants_close());
    if (client.session.wants_close()) continue;
    client.Send("\r\n" + request);
    ASSERT_EQ(client.received, parsed.received + parsed.received);
  }
  context_->set_date("Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(One(Get("/")).fields.at("date"), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST_F(HttpSessionTest, MethodNotAllowedSaysWhatIs) {
  EXPECT_EQ(One(Get("/echo")).fields.at("allow"), "POST");
  EXPECT_EQ(One(Post("/", "")).fields.at("allow"), "GET, HEAD");
}

TEST_F(HttpSessionTest, RedirectLeadsToTheFolder) {
  EXPECT_EQ(One(Get("/docs")).fields.at("location"), "/docs/");
}

TEST_F(HttpSessionTest, HeadHasTheFieldsOfGetAndNoBody) {
  for (const char* target : {"/", "/bytes/1000", "/status", "/none"}) {
    std::string get = Get(target);
    const std::string whole = Ask(get);
    const std::string head = Ask("HEAD" + get.substr(3));
    EXPECT_EQ(head, whole.substr(0, whole.find("\r\n\r\n") + 4)) << target;
  }
}

TEST_F(HttpSessionTest, ContinueComesBeforeTheBody) {
  HttpClient client(&*context_);
  client.Send(
      "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_THAT(client.received, StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
  client.Send("abc" + Get("/"));
  const auto r = CutResponses(client.received);
  ASSERT_TRUE(r.has_value()) << client.received;
  ASSERT_EQ(r->size(), 3u);
  EXPECT_EQ((*r)[1].body, "abc");
  EXPECT_EQ((*r)[2].body, "<p>usher</p>");
  EXPECT_THAT(Ask("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"),
              StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpSessionTest, UnwantedChunkedBodyIsBounded) {
  std::string request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 17; ++i) request += "10000\r\n" + std::string(65536, 'x') + "\r\n";
  EXPECT_EQ(One(request).status, 413);
}

// ---- Streams ----

TEST_F(HttpSessionTest, BytesAreThePatternWithoutHoles) {
  const Response r = One(Get("/bytes/1000000"));
  ASSERT_EQ(r.body.size(), 1'000'000u);
  for (size_t i = 0; i < r.body.size(); ++i) {
    ASSERT_EQ(static_cast<uint8_t>(r.body[i]), i % 251) << i;
  }
}

TEST_F(HttpSessionTest, TerabyteTakesNoMemory) {
  HttpClient client(&*context_);
  client.session.Consume(Bytes(Get("/bytes/1099511627776") + Get("/")), client.now);
  uint64_t left = client.session.output_size();
  EXPECT_GT(left, uint64_t{1} << 40);
  client.session.ConsumeOutput((uint64_t{1} << 40) - 1'000'000);  // as if it had been sent
  client.Send("");
  EXPECT_THAT(client.received.substr(client.received.size() - 12), "<p>usher</p>");
}

TEST_F(HttpSessionTest, GatherShowsWhatOutputWouldInOrder) {
  HttpClient client(&*context_);
  client.session.Consume(Bytes(Get("/bytes/200000") + Get("/") + Get("/status")), client.now);
  std::vector<OutputPiece> pieces(64);
  pieces.resize(client.session.Output(std::span<OutputPiece>(pieces)));
  std::string gathered;
  for (const OutputPiece& p : pieces) gathered.append(p.bytes.begin(), p.bytes.end());
  EXPECT_EQ(gathered.size(), client.session.output_size());
  client.Take(SIZE_MAX);
  EXPECT_EQ(gathered, client.received);
}

TEST_F(HttpSessionTest, EchoHoldsBackWhenNobodyReads) {
  const std::string body(1 << 20, 'e');
  const std::string request = Post("/echo", body);
  HttpClient client(&*context_);
  size_t used = 0;
  for (int i = 0; i < 100; ++i) {
    used += client.session.Consume(Bytes(std::string_view(request).substr(used)), client.now);
  }
  EXPECT_LT(used, 5000u);
  EXPECT_LE(client.session.output_size(), OutputQueue::kOwnedCapacity);
  client.Send(request.substr(used));
  const auto r = CutResponses(client.received);
  ASSERT_TRUE(r.has_value() && r->size() == 1);
  EXPECT_EQ((*r)[0].body, body);
}

TEST_F(HttpSessionTest, ChunkedBodyIsEchoedInChunks) {
  const Response r =
      One("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
          "5\r\nhello\r\n1;x=y\r\n \r\n005\r\nworld\r\n0\r\nT: 1\r\n\r\n");
  EXPECT_EQ(r.fields.at("transfer-encoding"), "chunked");
  EXPECT_EQ(r.body, "hello world");
}

TEST_F(HttpSessionTest, BrokenEchoIsNotCompleted) {
  HttpClient client(&*context_);
  client.Send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX");
  EXPECT_TRUE(client.session.wants_close());
  EXPECT_TRUE(client.session.broken());
  EXPECT_THAT(client.received, Not(HasSubstr("\r\n0\r\n")));
}

// ---- Time ----

TEST_F(HttpSessionTest, DelayAnswersWhenDue) {
  HttpClient client(&*context_);
  const std::string requests = Get("/delay/250") + Get("/");
  EXPECT_EQ(client.session.Consume(Bytes(requests), client.now), Get("/delay/250").size());
  const Instant due = client.now + Duration::Millis(250);
  EXPECT_EQ(client.session.next_deadline(), due);
  client.session.OnTime(due - Duration::Nanos(1));
  EXPECT_EQ(client.session.output_size(), 0u);
  client.session.OnTime(due);
  client.now = due;
  client.Take(SIZE_MAX);
  EXPECT_THAT(client.received, HasSubstr("\r\n\r\nAnswered after 250 ms\n"));
  client.Send(Get("/"));
  EXPECT_THAT(client.received, HasSubstr("<p>usher</p>"));
}

TEST_F(HttpSessionTest, DelayIsAnsweredAfterThePeerFinished) {
  HttpClient client(&*context_);
  client.session.Consume(Bytes(Get("/delay/5")), client.now);
  client.session.FinishInput();
  EXPECT_FALSE(client.session.wants_close());
  client.session.OnTime(client.now + Duration::Millis(5));
  client.Take(SIZE_MAX);
  EXPECT_THAT(client.received, HasSubstr("Answered"));
  EXPECT_TRUE(client.session.wants_close());
}

TEST_F(HttpSessionTest, SlowHeadIsGivenUp) {
  HttpClient client(&*context_);
  client.Send("GET / HT");
  EXPECT_EQ(client.session.next_deadline(), client.now + limits_.head_time);
  client.now = client.now + Duration::Seconds(29);
  client.Send("T");  // a byte now and then buys no time
  client.now = client.now + Duration::Seconds(1);
  client.session.OnTime(client.now);
  client.Take(SIZE_MAX);
  EXPECT_THAT(client.received, StartsWith("HTTP/1.1 408 "));
  EXPECT_TRUE(client.session.wants_close());
}

TEST_F(HttpSessionTest, IdleConnectionIsClosedWithoutAWord) {
  HttpClient client(&*context_);
  client.Send(Get("/"));
  const size_t received = client.received.size();
  client.now = client.session.next_deadline();
  client.session.OnTime(client.now);
  EXPECT_TRUE(client.session.wants_close());
  EXPECT_EQ(client.session.output_size(), 0u);
  EXPECT_EQ(client.received.size(), received);
}

TEST_F(HttpSessionTest, SlowReaderIsNotIdle) {
  HttpClient client(&*context_);
  client.session.Consume(Bytes(Get("/")), client.now);
  client.now = client.session.next_deadline();
  client.session.OnTime(client.now);
  EXPECT_FALSE(client.session.wants_close());
  EXPECT_EQ(client.session.next_deadline(), client.now + limits_.idle_time);
}

TEST_F(HttpSessionTest, HalfRequestBeforeTheEndGetsNoAnswer) {
  HttpClient client(&*context_);
  client.Send(Get("/") + "GET / HTTP/1.1\r\nHo");
  client.session.FinishInput();
  EXPECT_TRUE(client.session.wants_close());
  EXPECT_EQ(CutResponses(client.received)->size(), 1u);
}

// ---- However the bytes are cut ----

TEST_F(HttpSessionTest, RandomCutsChangeNothing) {
  const uint32_t seed = ChooseSeed();
  SCOPED_TRACE("to reproduce: set USHER_TEST_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  const auto body = [&](size_t n) {
    std::string s(n, ' ');
    for (char& c : s) c = static_cast<char>(below(256));
    return s;
  };
  for (int round = 0; round < 60; ++round) {
    std::string requests;
    std::vector<std::string> methods;
    std::vector<std::string> bodies;
    const size_t count = 1 + below(30);
    for (size_t i = 0; i < count; ++i) {
      const size_t kind = below(6);
      methods.push_back(kind == 1 ? "HEAD" : "");
      std::string text = body(below(12000));
      if (kind == 0) {
        requests += Get("/", "X-Padding: " + std::string(below(300), 'p') + "\r\n");
        text = "<p>usher</p>";
      } else if (kind == 1) {
        requests += "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
        text.clear();
      } else if (kind == 2) {
        requests += Post("/echo", text);
      } else if (kind == 3) {
        requests += "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (size_t at = 0; at < text.size();) {
          const size_t n = std::min(1 + below(3000), text.size() - at);
          char size[16];
          std::snprintf(size, sizeof(size), "%zx\r\n", n);
          requests += size + text.substr(at, n) + "\r\n";
          at += n;
        }
        requests += "0\r\n\r\n";
      } else if (kind == 4) {
        requests += Get("/bytes/" + std::to_string(text.size()));
        for (size_t at = 0; at < text.size(); ++at) text[at] = static_cast<char>(at % 251);
      } else {
        requests += Get("/delay/1");
        text = "Answered after 1 ms\n";
      }
      bodies.push_back(text);
    }
    HttpClient client(&*context_);
    const size_t in = 1 + below(4000), out = 1 + below(4000);
    client.Send(
        requests, [&] { return 1 + below(in); }, [&] { return 1 + below(out); });
    const auto r = CutResponses(client.received, methods);
    ASSERT_TRUE(r.has_value());
    ASSERT_EQ(r->size(), count);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_EQ((*r)[i].status, 200);
      ASSERT_EQ((*r)[i].body, bodies[i]) << "response " << i;
    }
  }
}

// RFC 9112 section 2.2: not a matter of how the bytes were cut.
TEST_F(HttpSessionTest, ABareCrIsRefusedHoweverItCame) {
  for (const std::string head :
       {"GET / HTTP/1.1\r\nHost: a\r\nX:\r\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"})
    for (size_t in = 1; in <= head.size(); ++in) {
      HttpClient client(&*context_);
      client.Send(
          head, [in] { return in; }, [] { return 1000; });
      EXPECT_EQ(client.received.substr(0, 12), "HTTP/1.1 400") << head << " by " << in;
    }
}

// Noise made of the pieces that requests are made of: no crash, no endless loop, whole responses.
TEST_F(HttpSessionTest, NoiseNeverConfusesTheSession) {
  const uint32_t seed = ChooseSeed();
  SCOPED_TRACE("to reproduce: set USHER_TEST_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  const char* const parts[] = {"GET ",
                               "POST ",
                               "HEAD ",
                               "/",
                               "/echo",
                               " HTTP/1.1",
                               "\r\n",
                               "\r\n",
                               "\r",
                               "\n",
                               "Host: a",
                               "Content-Length: 5",
                               "\r\n\r\n",
                               "hello",
                               "5",
                               "0\r\n\r\n",
                               "Transfer-Encoding: chunked",
                               " ",
                               ":",
                               "\t",
                               "Expect: 100-continue",
                               "X",
                               "/status"};
  for (int round = 0; round < 3000; ++round) {
    std::string noise = round % 2 == 0 ? "POST /echo HTTP/1.1\r\nHost: a\r\n" : "";
    for (unsigned i = random() % 30; i > 0; --i) noise += parts[random() % std::size(parts)];
    HttpClient whole(&*context_);
    whole.Send(noise);
    HttpClient cut(&*context_);
    cut.Send(
        noise, [&] { return 1 + random() % 9; }, [&] { return 1 + random() % 9; });
    ASSERT_EQ(whole.session.wants_close(), cut.session.wants_close()) << noise;
    if (noise.find("chunked") == noise.npos) {
      ASSERT_EQ(whole.received, cut.received) << noise;
    }
  }
}

}  // namespace
}  // namespace usher
