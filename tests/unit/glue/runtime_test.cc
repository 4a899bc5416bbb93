// The runtime over net_ring devices, which loop back what they are given: no root, no hugepages.
// Each runtime has a process of its own, since EAL starts once in one.
#include "stack/glue/runtime.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/in_child.h"

namespace usher {
namespace {

using test::InChild;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Text(const absl::Status& status) {
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", std::string(status.message()));
}

// Two worker cores and the main one, which may all be one processor.
RuntimeOptions Options(const std::string& device = "net_ring0", const char* lcores = "(0-2)@0") {
  RuntimeOptions o;
  o.eal_args = {"--no-huge", "--no-shconf", "--no-telemetry", "-m",
                "256",       "--lcores",    lcores,           absl::StrCat("--vdev=", device)};
  o.interfaces.push_back({.port = device, .addresses = {"198.18.0.2/15"}});
  o.stack.max_connections = 64;
  o.stack.sysctls.tcp_mem = {256, 256, 256};
  o.drain = Duration::Millis(50);
  return o;
}

// Tells on which threads it was called, and how often it was told to stop.
struct Recorder : Application {
  void OnStopping(Shard& shard) override {
    const std::lock_guard lock(mutex);
    stopped.insert(shard.index());
    threads.insert(std::this_thread::get_id());
  }
  void OnClosed(Connection c, Error why) override {
    const std::lock_guard lock(mutex);
    errors.push_back(why);
    c.Close();
  }
  std::mutex mutex;
  std::set<uint32_t> stopped;
  std::set<std::thread::id> threads;
  std::vector<Error> errors;
};

TEST(RuntimeTest, RefusedBeforeEalIsTouched) {
  RuntimeOptions none = Options();
  none.interfaces.clear();
  EXPECT_EQ(Text(Runtime::Create(none).status()), "INVALID_ARGUMENT: no interface is configured");
  for (const char* bad : {"198.18.0.2", "198.18.0.2/33", "x/8", "", "2001:2::2/129", "1.2.3.4/"}) {
    RuntimeOptions o = Options();
    o.interfaces[0].addresses = {bad};
    EXPECT_THAT(Text(Runtime::Create(o).status()),
                AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr(absl::StrCat("'", bad, "'"))));
  }
}

TEST(RuntimeTest, FailedStartsSayWhyAndLeaveNothing) {
  EXPECT_THAT(InChild([] {
                RuntimeOptions o = Options();
                o.interfaces[0].port = "net_tap9";
                return Text(Runtime::Create(o).status());
              }),
              HasSubstr("NOT_FOUND: no port net_tap9; there is 0 (net_ring0)"));
  EXPECT_THAT(InChild([] {
                RuntimeOptions o = Options();
                o.shards = 3;
                return Text(Runtime::Create(o).status());
              }),
              HasSubstr("INVALID_ARGUMENT: 3 shards need 3 worker cores, EAL has 2"));
  EXPECT_THAT(InChild([] {
                RuntimeOptions o = Options();
                o.interfaces[0].addresses = {"224.0.0.1/8"};
                return Text(Runtime::Create(o).status());
              }),
              HasSubstr("cannot be a host's"));
  EXPECT_THAT(InChild([] {
                RuntimeOptions o = Options();
                o.application_bytes = uint64_t{1} << 60;
                return Text(Runtime::Create(o).status());
              }),
              AllOf(HasSubstr("RESOURCE_EXHAUSTED: max_connections = 64 needs"), HasSubstr("MiB")));
  // After a start that failed, EAL cannot be started again; that is said, too.
  EXPECT_THAT(InChild([] {
                RuntimeOptions o = Options();
                o.shards = 3;
                const bool first = Runtime::Create(o).ok();
                return absl::StrCat(first ? "started " : "",
                                    Text(Runtime::Create(Options()).status()));
              }),
              HasSubstr("FAILED_PRECONDITION: EAL starts only once"));
}

TEST(RuntimeTest, TwoShardsRunOnThreadsOfTheirOwnUntilStop) {
  EXPECT_EQ(InChild([] {
              auto made = Runtime::Create(Options());
              if (!made.ok()) return Text(made.status());
              Runtime& runtime = **made;
              if (runtime.stack().shard_count() != 2) return std::string("not two shards");
              Recorder application;
              uint16_t port = 0;
              if (const absl::Status s = runtime.Listen({}, application, &port); !s.ok())
                return Text(s);
              std::mutex mutex;
              std::set<std::thread::id> threads;
              std::atomic<int> answered = 0;
              int ready = 0;
              for (uint32_t i = 0; i < 2; ++i) {
                runtime.stack().Post(i, [&](Shard&) {
                  const std::lock_guard lock(mutex);
                  threads.insert(std::this_thread::get_id());
                  if (++answered == 2) runtime.Stop();
                });
              }
              const absl::Status ran = runtime.Run([&] { ++ready; });
              if (!ran.ok()) return Text(ran);
              if (threads.count(std::this_thread::get_id()) != 0) return std::string("main thread");
              if (application.threads != threads) return std::string("stopped on another thread");
              return absl::StrCat("threads ", threads.size(), ", told to stop ",
                                  application.stopped.size(), ", ready ", ready, ", port ",
                                  port != 0 ? "bound" : "none", ", stopping ", runtime.stopping());
            }),
            "threads 2, told to stop 2, ready 1, port bound, stopping 1");
}

TEST(RuntimeTest, OneCoreAloneServesItself) {
  EXPECT_EQ(InChild([] {
              auto made = Runtime::Create(Options("net_ring0", "0@0"));
              if (!made.ok()) return Text(made.status());
              Runtime& runtime = **made;
              std::thread::id polled;
              runtime.stack().Post(0, [&](Shard&) {
                polled = std::this_thread::get_id();
                runtime.Stop();
              });
              const absl::Status ran = runtime.Run();
              return absl::StrCat(Text(ran), runtime.stack().shard_count(), " ",
                                  polled == std::this_thread::get_id());
            }),
            "OK: 1 1");
}

TEST(RuntimeTest, StoppedBeforeItRunsItEndsAtOnce) {
  EXPECT_EQ(InChild([] {
              auto made = Runtime::Create(Options());
              if (!made.ok()) return Text(made.status());
              (*made)->Stop();
              return Text((*made)->Run());
            }),
            "OK: ");
}

TEST(RuntimeTest, NeverRunItEndsCleanly) {
  EXPECT_EQ(InChild([] {
              auto made = Runtime::Create(Options());
              const std::string said = Text(made.status());
              if (made.ok()) made->reset();
              return said;
            }),
            "OK: ");
}

TEST(RuntimeTest, SignalsStopIt) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EQ(InChild([signal] {
                auto made = Runtime::Create(Options());
                if (!made.ok()) return Text(made.status());
                (*made)->StopOnSignals();
                const absl::Status ran = (*made)->Run([signal] { raise(signal); });
                made->reset();
                raise(signal);  // none is there any more: nothing happens
                return Text(ran);
              }),
              "OK: ")
        << signal;
  }
}

// A connection that does not end (here: to a host that is not there) is given the drain time and
// then reset.
TEST(RuntimeTest, WhatDoesNotEndIsResetAfterTheDrainTime) {
  EXPECT_EQ(InChild([] {
              auto made = Runtime::Create(Options());
              if (!made.ok()) return Text(made.status());
              Runtime& runtime = **made;
              Recorder application;
              std::atomic<bool> opened = false;
              runtime.stack().Post(0, [&](Shard&) {
                Connection c;
                opened = runtime.stack().Connect(0, *IpAddress::Parse("198.18.0.77"), 80,
                                                 application, &c) == Error::kNone;
                runtime.Stop();
              });
              const Instant before = runtime.clock().Now();
              const absl::Status ran = runtime.Run();
              const bool waited = runtime.clock().Now() - before >= Duration::Millis(50);
              return absl::StrCat(Text(ran), opened.load(), waited,
                                  runtime.stack().shard(0).connection_count());
            }),
            "OK: 110");
}

}  // namespace
}  // namespace usher
