#include "stack/tcp/types.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>

namespace usher {
namespace {

constexpr int kStates = 11;
constexpr int kErrors = static_cast<int>(Error::kAlready) + 1;

// As ss prints them.
TEST(TcpTypes, StatesHaveTheNamesOfSs) {
  const char* const kNames[kStates] = {"UNCONN",  "LISTEN",     "SYN-SENT",   "SYN-RECV",
                                       "ESTAB",   "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT",
                                       "CLOSING", "LAST-ACK",   "TIME-WAIT"};
  for (int i = 0; i < kStates; ++i)
    EXPECT_STREQ(ToString(static_cast<TcpState>(i)), kNames[i]) << i;
  EXPECT_EQ(static_cast<int>(TcpState::kTimeWait), kStates - 1);
}

TEST(TcpTypes, EveryErrorHasANumberAndAText) {
  std::set<int> numbers;
  std::set<std::string> texts;
  for (int i = 0; i < kErrors; ++i) {
    const auto error = static_cast<Error>(i);
    numbers.insert(ToErrno(error));
    texts.insert(ToString(error));
    EXPECT_STRNE(ToString(error), "?") << i;
  }
  EXPECT_EQ(numbers.size(), static_cast<size_t>(kErrors)) << "two errors share a number";
  EXPECT_EQ(texts.size(), static_cast<size_t>(kErrors)) << "two errors share a text";
}

TEST(TcpTypes, NumbersAreLinuxs) {
  EXPECT_EQ(ToErrno(Error::kNone), 0);
  EXPECT_EQ(ToErrno(Error::kAgain), EAGAIN);
  EXPECT_EQ(ToErrno(Error::kBadHandle), EBADF);
  EXPECT_EQ(ToErrno(Error::kBrokenPipe), EPIPE);
  EXPECT_EQ(ToErrno(Error::kConnectionReset), ECONNRESET);
  EXPECT_EQ(ToErrno(Error::kConnectionRefused), ECONNREFUSED);
  EXPECT_EQ(ToErrno(Error::kTimedOut), ETIMEDOUT);
  EXPECT_EQ(ToErrno(Error::kAddressInUse), EADDRINUSE);
  EXPECT_EQ(ToErrno(Error::kAborted), ECONNABORTED);
}

// What is no value of the enumeration (memory gone wrong) is still answered.
TEST(TcpTypes, NoValueNoCrash) {
  EXPECT_STREQ(ToString(static_cast<TcpState>(200)), "?");
  EXPECT_STREQ(ToString(static_cast<Error>(200)), "?");
  EXPECT_EQ(ToErrno(static_cast<Error>(200)), EINVAL);
}

TEST(TcpTypes, EventsAreBits) {
  EXPECT_EQ(kEventConnected | kEventReadable | kEventWritable | kEventClosed, 15);
}

}  // namespace
}  // namespace usher
