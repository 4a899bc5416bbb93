// How many of all acknowledgment numbers pass for a SYN cookie? For a few tuples this tries all
// 2^32 of them against the check itself, plain and strict, and prints what passed: a few
// seconds a tuple. Exits 1 if the number is not what syn_cookie.h claims.
//
//   cookie_forgery [TUPLES [SEED]]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "stack/listen/syn_cookie.h"

namespace usher {
namespace {

struct Counts {
  uint64_t plain = 0;
  uint64_t strict_true_clock = 0;    // the forger knows a clock value of this minute
  uint64_t strict_random_clock = 0;  // he does not
};

Counts TryAll(const SynCookies& cookies, const FourTuple& tuple, Seq seq, Instant now,
              uint32_t random_echo) {
  const SynCookies::Prepared prepared = cookies.Prepare(tuple, seq, now);
  const auto true_echo = static_cast<uint32_t>(now.ms()) - 10;
  Counts counts;
  uint32_t ack = 0;
  do {
    const SynCookies::Verdict verdict = prepared.Check(Seq(ack));
    if (verdict.mss == 0) continue;
    ++counts.plain;
    counts.strict_true_clock += SynCookies::EchoFits(true_echo, verdict.count, now);
    counts.strict_random_clock += SynCookies::EchoFits(random_echo, verdict.count, now);
  } while (++ack != 0);
  return counts;
}

// Numbers that pass must pass the check that the stack itself calls, too.
bool Agrees(const SynCookies& cookies, const FourTuple& tuple, Seq seq, Instant now,
            SeededRandom& random) {
  const SynCookies::Prepared prepared = cookies.Prepare(tuple, seq, now);
  for (int i = 0; i < 1'000'000; ++i) {
    const Seq ack(static_cast<uint32_t>(random.Next64()));
    if (prepared.Check(ack).mss != cookies.Check(tuple, seq, ack, now).mss) return false;
  }
  const SynCookies::Cookie cookie = cookies.Make(tuple, seq - 1, 1460, now);
  return prepared.Check(cookie.iss + 1).mss == cookie.mss;
}

int Run(uint32_t tuples, uint64_t seed) {
  SeededRandom random(seed);
  const SynCookies cookies(random);
  bool good = true;
  for (uint32_t i = 0; i < tuples; ++i) {
    const bool v4 = i % 2 == 0;
    FourTuple tuple;
    tuple.local = v4 ? IpAddress::V4(0xc6120002) : *IpAddress::Parse("2001:2::2");
    tuple.remote =
        v4 ? IpAddress::V4(static_cast<uint32_t>(random.Next64())) : *IpAddress::Parse("2001:2::1");
    tuple.local_port = 80;
    tuple.remote_port = static_cast<uint16_t>(random.Next64());
    const Seq seq(static_cast<uint32_t>(random.Next64()));
    const Instant now = Instant::FromNanos(static_cast<int64_t>(random.Uniform(1ull << 58)));
    const auto random_echo = static_cast<uint32_t>(random.Next64());
    const auto begin = std::chrono::steady_clock::now();
    const Counts counts = TryAll(cookies, tuple, seq, now, random_echo);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    const bool as_claimed = counts.plain == 8 && counts.strict_true_clock <= 4 &&
                            Agrees(cookies, tuple, seq, now, random);
    good = good && as_claimed;
    std::printf(
        "%s seq %u: of 2^32 acknowledgments %llu pass; strict, clock known: %llu, clock guessed "
        "once: %llu; %.1f s%s\n",
        ToString(tuple.remote, tuple.remote_port).c_str(), seq.value(),
        static_cast<unsigned long long>(counts.plain),
        static_cast<unsigned long long>(counts.strict_true_clock),
        static_cast<unsigned long long>(counts.strict_random_clock), seconds,
        as_claimed ? "" : "  <- NOT AS CLAIMED");
  }
  return good ? 0 : 1;
}

}  // namespace
}  // namespace usher

int main(int argc, char** argv) {
  const uint32_t tuples = argc > 1 ? static_cast<uint32_t>(std::atoi(argv[1])) : 4;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : 1;
  return usher::Run(tuples, seed);
}
