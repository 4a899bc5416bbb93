// Every state against every segment: all 64 combinations of the six flags of RFC 793, the sequence
// number before, at, in, at the end of and past the window, the acknowledgment number in every
// relation to what was sent, with and without text; about 137,000 segments, each for a connection
// of its own. What is expected comes from oracle.cc, which is RFC 9293 section 3.10.7 by hand.
#include <array>
#include <memory>
#include <tuple>
#include <vector>

#include "tests/unit/tcp/matrix/state_world.h"

namespace usher::test {
namespace {

constexpr uint32_t kText = 10;

enum class SeqAt {
  kOld,          // ends before RCV.NXT
  kTouching,     // ends at RCV.NXT
  kOverlapping,  // begins one before RCV.NXT
  kNext,         // RCV.NXT
  kInside,
  kLast,  // the window's last number
  kEdge,  // RCV.NXT + RCV.WND
  kPast,
};
constexpr std::array kSeqNames = {"old",    "touching", "overlapping", "RCV.NXT",
                                  "inside", "last",     "edge",        "past"};

enum class AckAt {
  kAncient,    // older than any window
  kGhost,      // before the first byte
  kOld,        // one before SND.UNA
  kDuplicate,  // SND.UNA
  kSome,       // of what is in flight
  kAll,        // SND.NXT
  kPast,
};
constexpr std::array kAckNames = {"ancient", "ghost", "old", "SND.UNA", "some", "SND.NXT", "past"};

// The segment's sequence number; nullopt where it would be the same as another.
std::optional<Seq> SeqOf(const Station& st, SeqAt at, uint32_t length) {
  switch (at) {
    case SeqAt::kOld:
      return st.rcv_nxt - 30;
    case SeqAt::kTouching:
      if (length <= 1) return std::nullopt;
      return st.rcv_nxt - length;
    case SeqAt::kOverlapping:
      return st.rcv_nxt - 1;
    case SeqAt::kNext:
      return st.rcv_nxt;
    case SeqAt::kInside:
      return st.rcv_nxt + 100;
    case SeqAt::kLast:
      return st.right_edge - 1;
    case SeqAt::kEdge:
      return st.right_edge;
    case SeqAt::kPast:
      return st.right_edge + 1;
  }
  return std::nullopt;
}

std::optional<Seq> AckOf(const Station& st, AckAt at) {
  const auto in_flight = static_cast<uint32_t>(st.snd_nxt - st.snd_una);
  switch (at) {
    case AckAt::kAncient:
      return st.snd_una - (st.max_window + 1000);
    case AckAt::kGhost:
      return st.iss;
    case AckAt::kOld:
      return st.snd_una - 1;
    case AckAt::kDuplicate:
      return st.snd_una;
    case AckAt::kSome:
      if (in_flight < 2) return std::nullopt;
      return st.snd_una + in_flight / 2;
    case AckAt::kAll:
      if (in_flight == 0) return std::nullopt;
      return st.snd_nxt;
    case AckAt::kPast:
      return st.snd_nxt + 1;
  }
  return std::nullopt;
}

using Cell = std::tuple<Family, int, int>;  // place, flags

class ArrivalMatrixTest : public ::testing::TestWithParam<Cell> {
 protected:
  static void TearDownTestSuite() {
    for (auto& world : worlds_) world.reset();
  }
  static StateWorld& World(Family family) {
    auto& world = worlds_[family == Family::kIpv6 ? 1 : 0];
    if (world == nullptr) world = std::make_unique<StateWorld>(family);
    return *world;
  }
  static inline std::array<std::unique_ptr<StateWorld>, 2> worlds_;
};

TEST_P(ArrivalMatrixTest, AsTheRfcSays) {
  const auto [family, place, flags] = GetParam();
  StateWorld& world = World(family);
  int cases = 0;
  for (uint32_t text : {0u, kText}) {
    for (int seq_at = 0; seq_at <= static_cast<int>(SeqAt::kPast); ++seq_at) {
      for (int ack_at = 0; ack_at <= static_cast<int>(AckAt::kPast); ++ack_at) {
        Arrival a;
        a.flags = static_cast<uint16_t>(flags);
        a.text = text;
        // Without its flag the field means nothing: one that would be right, one that would not.
        if (!a.Has(TcpFlags::kAck) && ack_at < static_cast<int>(AckAt::kAll)) continue;
        world.Enter(static_cast<Place>(place));
        const Station st = world.station();
        const auto seq = SeqOf(st, static_cast<SeqAt>(seq_at), a.Length());
        const auto ack = AckOf(st, static_cast<AckAt>(ack_at));
        if (seq && ack) {
          a.seq = *seq;
          a.ack = *ack;
          const Outcome expected = Expected(st, a);
          const Outcome seen = world.Arrive(a);
          ++cases;
          if (!Agrees(expected, seen)) {
            ADD_FAILURE() << ToString(st.place) << " [" << FlagsToString(a.flags) << "] seq "
                          << kSeqNames[static_cast<size_t>(seq_at)] << " ack "
                          << kAckNames[static_cast<size_t>(ack_at)] << " text " << text
                          << "\n  expected: " << expected << "\n  seen:     " << seen;
          }
          world.Leave(expected.rcv_nxt);
        } else {
          world.Leave(st.rcv_nxt);
        }
        ASSERT_TRUE(world.Empty());
      }
    }
  }
  RecordProperty("segments", cases);
}

std::string CellName(const ::testing::TestParamInfo<Cell>& cell) {
  const auto [family, place, flags] = cell.param;
  const std::string text = FlagsToString(static_cast<uint16_t>(flags));
  return std::string(family == Family::kIpv4 ? "V4_" : "V6_") +
         ToString(static_cast<Place>(place)) + "_" + (text == "." ? "none" : text);
}

INSTANTIATE_TEST_SUITE_P(All, ArrivalMatrixTest,
                         ::testing::Combine(::testing::Values(Family::kIpv4, Family::kIpv6),
                                            ::testing::Range(0, kPlaces), ::testing::Range(0, 64)),
                         CellName);

}  // namespace
}  // namespace usher::test
