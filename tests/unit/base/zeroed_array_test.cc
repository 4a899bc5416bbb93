#include "stack/base/zeroed_array.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

TEST(ZeroedArray, IsZeroAlignedAndWritable) {
  for (size_t size : {0u, 1u, 3u, 1'000u, 100'000u}) {
    ZeroedArray<uint64_t> array(size);
    EXPECT_EQ(array.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(array.data()) % 64, 0u);
    for (size_t i = 0; i < size; ++i) {
      ASSERT_EQ(array[i], 0u);
      array[i] = i;
    }
    for (size_t i = 0; i < size; ++i) ASSERT_EQ(array[i], i);
  }
}

TEST(ZeroedArrayDeathTest, ImpossibleSizeIsFatal) {
  EXPECT_DEATH(ZeroedArray<uint8_t>(SIZE_MAX - 10), "check failed");
}

}  // namespace
}  // namespace usher
