// Whether the hot path takes its short cuts. They cost nothing to have a name here, and a test can
// build the same code without them: tests/sim/short_cuts_test.cc plays the same segments to both,
// and demands the same answers.
#pragma once

namespace usher {

#ifdef USHER_LONG_WAY
constexpr bool kShortCuts = false;
#else
constexpr bool kShortCuts = true;
#endif

}  // namespace usher
