// One suite, run over IPv4 and IPv6: the fixture takes its family from the parameter.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "stack/wire/address.h"

namespace usher::test {

inline std::string FamilyName(const ::testing::TestParamInfo<Family>& info) {
  return info.param == Family::kIpv4 ? "V4" : "V6";
}

#define USHER_FOR_BOTH_FAMILIES(suite)                                                     \
  INSTANTIATE_TEST_SUITE_P(Family, suite, ::testing::Values(Family::kIpv4, Family::kIpv6), \
                           ::usher::test::FamilyName)

}  // namespace usher::test
