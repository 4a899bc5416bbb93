#include "stack/base/check.h"

#include <gtest/gtest.h>

namespace usher {
namespace {

TEST(Check, PassesInSilenceAndEvaluatesOnce) {
  int evaluations = 0;
  USHER_CHECK(++evaluations == 1);
  EXPECT_EQ(evaluations, 1);
}

TEST(CheckDeathTest, NamesPlaceAndExpression) {
  EXPECT_DEATH(USHER_CHECK(1 + 1 == 3), "check_test\\.cc:[0-9]+: check failed: 1 \\+ 1 == 3");
}

#ifdef USHER_DEBUG
TEST(CheckDeathTest, DcheckIsLiveInDebugBuilds) {
  EXPECT_DEATH(USHER_DCHECK(false), "check failed: false");
}
#else
TEST(Check, DcheckEvaluatesNothingInReleaseBuilds) {
  int evaluations = 0;
  USHER_DCHECK(++evaluations == 2);
  EXPECT_EQ(evaluations, 0);
}
#endif

}  // namespace
}  // namespace usher
