// Counts what operator new is asked for while requests are served.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "tests/unit/app/http_client.h"

namespace {
uint64_t allocations = 0;
}

void* operator new(size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  std::abort();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace usher {
namespace {

TEST(HttpSessionAllocTest, ServingAllocatesNothing) {
  TempFolder folder;
  folder.Write("index.html", std::string(300, 'x'));
  auto site = StaticSite::Load(folder.path().string(), StaticSiteOptions());
  ASSERT_TRUE(site.ok());
  HttpContext context(site->get(), [] { return std::string("{}"); });
  context.set_date("Sun, 06 Nov 1994 08:49:37 GMT");
  const std::string tail = " HTTP/1.1\r\nHost: usher\r\nUser-Agent: test/1\r\nAccept: */*\r\n\r\n";
  std::string requests;
  for (const char* target : {"/", "/none", "/index%2ehtml", "/bytes/70000", "/delay/0"}) {
    requests += "GET " + std::string(target) + tail;
  }
  requests += "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
  HttpSession session(&context, Instant());

  uint64_t answered = 0;
  const auto serve = [&] {
    std::span<const uint8_t> rest = Bytes(requests);
    while (!rest.empty()) {
      rest = rest.subspan(session.Consume(rest, Instant()));
      session.OnTime(session.output_size() == 0 ? session.next_deadline() : Instant());
      answered += session.output_size();
      session.ConsumeOutput(session.output_size());
    }
  };
  serve();  // the library's own statics
  const uint64_t before = allocations;
  for (int i = 0; i < 100; ++i) serve();
  EXPECT_EQ(allocations, before);
  EXPECT_GT(answered, 101 * 70'000u);
  EXPECT_FALSE(session.wants_close());
}

TEST(HttpSessionAllocTest, CounterCounts) {
  const uint64_t before = allocations;
  auto* volatile p = new int(1);
  delete p;
  EXPECT_EQ(allocations, before + 1);
}

}  // namespace
}  // namespace usher
