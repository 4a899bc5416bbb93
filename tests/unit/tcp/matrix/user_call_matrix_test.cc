// Every call of the user in every state: RFC 9293 sections 3.10.1 to 3.10.6, with the errors that
// Linux gives for them. Calls on a connection that the user has let go of: connection_test.cc in
// tests/unit/api.
#include <array>
#include <string>

#include "tests/unit/tcp/matrix/state_world.h"

namespace usher::test {
namespace {

// What a call gives, which segment leaves ("-": none), and the state afterwards. RFC 9293 queues a
// RECEIVE that finds nothing; one that must not block is told EAGAIN. What it calls "connection
// closing" is EPIPE when writing and the end of the stream when reading.
struct Row {
  Place place;
  const char* read;
  const char* write;
  const char* shutdown;  // of the sending side: CLOSE of the RFC, which leaves receiving open
  const char* close;     // and nobody reads any more
  const char* abort;
};
// In SYN-RECEIVED the RFC lets the FIN go at once or queues it behind what is written; here it
// always waits for ESTABLISHED. Text that nobody will read is told by a reset (RFC 2525).
constexpr std::array kRows = {
    Row{Place::kSynSent, "EAGAIN", "1 byte", "ENOTCONN - SYN-SENT", "ok - UNCONN", "ok - UNCONN"},
    Row{Place::kSynReceivedActive, "EAGAIN", "1 byte", "ok - SYN-RECV", "ok - SYN-RECV",
        "ok RA UNCONN"},
    Row{Place::kEstablished, "EAGAIN", "1 byte", "ok FA FIN-WAIT-1", "ok FA FIN-WAIT-1",
        "ok RA UNCONN"},
    Row{Place::kEstablishedUnread, "10 bytes", "1 byte", "ok FA FIN-WAIT-1", "ok RA UNCONN",
        "ok RA UNCONN"},
    Row{Place::kFinWait1, "EAGAIN", "EPIPE", "ok - FIN-WAIT-1", "ok - FIN-WAIT-1", "ok RA UNCONN"},
    Row{Place::kFinWait2, "EAGAIN", "EPIPE", "ok - FIN-WAIT-2", "ok - FIN-WAIT-2", "ok RA UNCONN"},
    Row{Place::kCloseWait, "end", "1 byte", "ok FA LAST-ACK", "ok FA LAST-ACK", "ok RA UNCONN"},
    Row{Place::kClosing, "end", "EPIPE", "ok - CLOSING", "ok - CLOSING", "ok - UNCONN"},
    Row{Place::kLastAck, "end", "EPIPE", "ok - LAST-ACK", "ok - LAST-ACK", "ok - UNCONN"},
};

std::string Name(Error error) {
  switch (error) {
    case Error::kNone:
      return "ok";
    case Error::kAgain:
      return "EAGAIN";
    case Error::kBrokenPipe:
      return "EPIPE";
    case Error::kNotConnected:
      return "ENOTCONN";
    case Error::kConnectionReset:
      return "ECONNRESET";
    default:
      return ToString(error);
  }
}
std::string Bytes(size_t n) { return std::to_string(n) + (n == 1 ? " byte" : " bytes"); }

class UserCallMatrixTest : public ::testing::TestWithParam<Family> {
 protected:
  // Enters the state, calls, leaves.
  template <class Call>
  std::string In(Place place, Call&& call) {
    world_.Enter(place);
    const Seq rcv_nxt = world_.station().rcv_nxt;
    std::string result = call();
    world_.Leave(rcv_nxt);
    EXPECT_TRUE(world_.Empty()) << ToString(place);
    return result;
  }
  std::string AfterCall(Error error) {
    std::string sent;
    for (const SentTcp& s : world_.TakeSentAfterPoll()) sent += FlagsToString(s.flags) + " ";
    if (sent.empty()) sent = "- ";
    return Name(error) + " " + sent + ToString(world_.State());
  }
  std::string Read() {
    const size_t n = world_.Read(world_.user()).size();
    if (n != 0) return Bytes(n);
    return world_.last_error_ == Error::kNone ? "end" : Name(world_.last_error_);
  }
  std::string Write() {
    const IoResult r = world_.user().Write("x");
    return r.error == Error::kNone ? Bytes(r.bytes) : Name(r.error);
  }

  StateWorld world_{GetParam()};
};
USHER_FOR_BOTH_FAMILIES(UserCallMatrixTest);

TEST_P(UserCallMatrixTest, Receive) {
  for (const Row& row : kRows)
    EXPECT_EQ(In(row.place, [&] { return Read(); }), row.read) << ToString(row.place);
}

TEST_P(UserCallMatrixTest, Send) {
  for (const Row& row : kRows)
    EXPECT_EQ(In(row.place, [&] { return Write(); }), row.write) << ToString(row.place);
}

TEST_P(UserCallMatrixTest, CloseOfTheSendingSide) {
  for (const Row& row : kRows) {
    const auto call = [&] { return AfterCall(world_.user().Shutdown(ShutdownHow::kWrite)); };
    EXPECT_EQ(In(row.place, call), row.shutdown) << ToString(row.place);
  }
}

TEST_P(UserCallMatrixTest, Close) {
  for (const Row& row : kRows) {
    const auto call = [&] { return AfterCall(world_.user().Close()); };
    EXPECT_EQ(In(row.place, call), row.close) << ToString(row.place);
  }
}

TEST_P(UserCallMatrixTest, Abort) {
  for (const Row& row : kRows) {
    const auto call = [&] { return AfterCall(world_.user().Abort()); };
    EXPECT_EQ(In(row.place, call), row.abort) << ToString(row.place);
  }
}

TEST_P(UserCallMatrixTest, Status) {
  for (const Row& row : kRows)
    In(row.place, [&] {
      EXPECT_EQ(world_.user().state(), world_.State()) << ToString(row.place);
      EXPECT_EQ(world_.Find()->Info(world_.context()).state, world_.State());
      return "";
    });
}

// Section 3.10.1: "connection already exists", in every state that knows the pair.
TEST_P(UserCallMatrixTest, Open) {
  for (int i = 0; i < kPlaces; ++i) {
    const auto place = static_cast<Place>(i);
    const bool known = place != Place::kClosed && place != Place::kListen;
    In(place, [&] {
      EXPECT_EQ(world_.OpenAgain(), known ? Error::kAddressInUse : Error::kNone) << ToString(place);
      return "";
    });
  }
}

// CLOSED, while the user still holds what is left of a connection that was reset.
TEST_P(UserCallMatrixTest, AfterAReset) {
  for (const Place place : {Place::kEstablished, Place::kFinWait1, Place::kFinWait2}) {
    In(place, [&] {
      Arrival reset;
      reset.flags = TcpFlags::kRst;
      reset.seq = world_.station().rcv_nxt;
      EXPECT_EQ(world_.Arrive(reset).closed, Error::kConnectionReset);
      EXPECT_EQ(Read(), "end");  // Arrive has read why
      EXPECT_EQ(Write(), "ECONNRESET");
      EXPECT_EQ(AfterCall(world_.user().Shutdown(ShutdownHow::kBoth)), "ENOTCONN - UNCONN");
      EXPECT_EQ(AfterCall(world_.user().Close()), "ok - UNCONN");
      return "";
    });
  }
}

}  // namespace
}  // namespace usher::test
