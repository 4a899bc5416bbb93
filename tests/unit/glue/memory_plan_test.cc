#include "stack/glue/memory_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stack/packet/pool.h"

namespace usher {
namespace {

// What may wait in connections always leaves some of the pool free to receive with.
TEST(MemoryPlan, WhatWaitsFitsThePoolsWithRoomToReceive) {
  for (const uint32_t connections : {16u, 1000u, 65536u, 1'000'000u, 16'000'000u}) {
    for (const uint32_t shards : {1u, 3u, 16u}) {
      StackOptions options;
      options.max_connections = connections;
      const MemoryPlan plan = PlanMemory(&options, shards);
      const uint64_t pool_bytes = uint64_t{plan.held_buffers} * kBufferRoom * shards;
      EXPECT_LE(options.sysctls.tcp_mem[2] * 4096, pool_bytes * 7 / 8);
      EXPECT_GE(options.sysctls.tcp_mem[2] * 4096, pool_bytes * 3 / 4);
      EXPECT_LT(options.sysctls.tcp_mem[0], options.sysctls.tcp_mem[1]);
      EXPECT_LT(options.sysctls.tcp_mem[1], options.sysctls.tcp_mem[2]);
      EXPECT_GE(options.passive_open.max_requests, connections);
    }
  }
}

TEST(MemoryPlan, ConfiguredTcpMemDecidesThePools) {
  StackOptions options;
  options.sysctls.tcp_mem = {1000, 2000, 100'000};
  const MemoryPlan plan = PlanMemory(&options, 2);
  EXPECT_EQ(options.sysctls.tcp_mem[2], 100'000u) << "as configured";
  EXPECT_GE(uint64_t{plan.held_buffers} * kBufferRoom * 7 / 8, 50'000u * 4096u - kBufferRoom);
}

TEST(MemoryPlan, TablesThatDoNotFitAreToldWithTheFigure) {
  StackOptions options;
  options.max_connections = 1'000'000;
  PlanMemory(&options, 1);
  EXPECT_TRUE(CheckTablesFit(options, 1, 0, UINT64_MAX).ok());
  const absl::Status status = CheckTablesFit(options, 1, 0, 100 << 20);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              ::testing::ContainsRegex("max_connections = 1000000 needs [0-9]+ MiB.*has 100 MiB"));
}

// What the services take has to fit as well, and is in the figure.
TEST(MemoryPlan, ApplicationsCount) {
  StackOptions options;
  options.max_connections = 1000;
  PlanMemory(&options, 1);
  constexpr uint64_t kGibibyte = uint64_t{1} << 30;
  EXPECT_TRUE(CheckTablesFit(options, 1, 0, kGibibyte).ok());
  EXPECT_TRUE(CheckTablesFit(options, 1, kGibibyte / 2, kGibibyte).ok());
  const absl::Status status = CheckTablesFit(options, 1, 5 * kGibibyte, kGibibyte);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), ::testing::ContainsRegex("needs 51[0-9][0-9] MiB"));
}

TEST(MemoryPlan, TheMachineSaysWhatItHas) {
  EXPECT_GT(AvailableMemory(), uint64_t{1} << 20);
  EXPECT_LT(AvailableMemory(), uint64_t{1} << 50);
}

}  // namespace
}  // namespace usher
