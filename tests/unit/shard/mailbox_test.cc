#include "stack/shard/mailbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "stack/port/memory_port.h"
#include "stack/shard/shard.h"

namespace usher {
namespace {

class MailboxTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ShardOptions options;
    options.max_connections = 16;
    ResolveSysctls(options.sysctls, options.max_connections);
    InterfaceConfig config;
    config.addresses = {{IpAddress::V4(0xc6120002), 15}};
    const ShardInterface interfaces[] = {{&port_, config}};
    auto made = Shard::Create(options, interfaces, random_);
    ASSERT_TRUE(made.ok()) << made.status();
    shard_ = *std::move(made);
  }

  HeapPool pool_{64};
  MemoryPort port_{pool_, MacAddress{{2, 0, 0, 0, 0, 1}}};
  SeededRandom random_{1};
  std::unique_ptr<Shard> shard_;
  Mailbox mailbox_;
};

TEST_F(MailboxTest, ErrandsRunOnceInTheirOrderWithTheShard) {
  std::vector<int> ran;
  for (int i = 0; i < 3; ++i) {
    mailbox_.Post([&, i](Shard& s) {
      EXPECT_EQ(&s, shard_.get());
      ran.push_back(i);
    });
  }
  EXPECT_TRUE(mailbox_.pending());
  EXPECT_TRUE(ran.empty());
  mailbox_.Run(*shard_);
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2}));
  EXPECT_FALSE(mailbox_.pending());
  mailbox_.Run(*shard_);
  EXPECT_EQ(ran.size(), 3u);
}

TEST_F(MailboxTest, WhatAnErrandPostsWaitsForTheNextPass) {
  int ran = 0;
  mailbox_.Post([&](Shard&) {
    ++ran;
    mailbox_.Post([&](Shard&) { ++ran; });
  });
  mailbox_.Run(*shard_);
  EXPECT_EQ(ran, 1);
  EXPECT_TRUE(mailbox_.pending());
  mailbox_.Run(*shard_);
  EXPECT_EQ(ran, 2);
  EXPECT_FALSE(mailbox_.pending());
}

TEST_F(MailboxTest, AnErrandMayOwnWhatCannotBeCopied) {
  int got = 0;
  mailbox_.Post([&got, value = std::make_unique<int>(42)](Shard&) { got = *value; });
  mailbox_.Run(*shard_);
  EXPECT_EQ(got, 42);
}

TEST_F(MailboxTest, NothingPostedByOtherThreadsIsLost) {
  constexpr int kEach = 2000;
  int ran = 0;  // only errands touch it, and they run here
  std::vector<std::thread> posters;
  for (int t = 0; t < 2; ++t) {
    posters.emplace_back([&] {
      for (int i = 0; i < kEach; ++i) mailbox_.Post([&ran](Shard&) { ++ran; });
    });
  }
  while (ran < 2 * kEach) {
    if (mailbox_.pending())
      mailbox_.Run(*shard_);
    else
      std::this_thread::yield();
  }
  for (std::thread& t : posters) t.join();
  EXPECT_EQ(ran, 2 * kEach);
  EXPECT_FALSE(mailbox_.pending());
}

}  // namespace
}  // namespace usher
