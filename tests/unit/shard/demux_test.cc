#include "stack/shard/demux.h"

#include <gtest/gtest.h>

#include <map>

namespace usher {
namespace {

FourTuple Tuple(uint32_t i) {
  return {IpAddress::V4(0xc6120002), IpAddress::V4(0xc6120100 + i / 1000), 80,
          static_cast<uint16_t>(40000 + i % 1000)};
}

class DemuxTest : public ::testing::Test {
 protected:
  void Insert(uint32_t i, FlowId id) {
    ASSERT_TRUE(demux_.Insert(Tuple(i), id));
    names_[id.value()] = Tuple(i);
  }
  FlowId Find(uint32_t i) {
    return demux_.Find(demux_.Hash(Tuple(i)),
                       [&](FlowId id) { return names_.at(id.value()) == Tuple(i); });
  }

  SeededRandom random_{1};
  Demux demux_{1000, random_};
  std::map<uint32_t, FourTuple> names_;
};

TEST(FlowId, KindAndIndexShareAWord) {
  for (const FlowKind kind : {FlowKind::kConnection, FlowKind::kRequest, FlowKind::kTimeWait}) {
    for (const uint32_t index : {0u, 1u, (1u << FlowId::kIndexBits) - 1}) {
      const FlowId id(kind, index);
      EXPECT_EQ(id.kind(), kind);
      EXPECT_EQ(id.index(), index);
      EXPECT_EQ(FlowId::FromValue(id.value()), id);
      EXPECT_NE(id, FlowId::None()) << "a flow that could not be told from none";
    }
  }
  EXPECT_EQ(FlowId(), FlowId::None());
}

TEST_F(DemuxTest, FindsWhatWasInserted) {
  const FlowKind kinds[] = {FlowKind::kConnection, FlowKind::kRequest, FlowKind::kTimeWait};
  for (uint32_t i = 0; i < 600; ++i) Insert(i, FlowId(kinds[i % 3], i));
  EXPECT_EQ(demux_.size(), 600u);
  for (uint32_t i = 0; i < 600; ++i) EXPECT_EQ(Find(i), FlowId(kinds[i % 3], i));
  EXPECT_EQ(Find(600), FlowId::None());
}

TEST_F(DemuxTest, TheTupleIsComparedNotOnlyItsHash) {
  Insert(0, FlowId(FlowKind::kConnection, 7));
  uint32_t asked = 0;
  EXPECT_EQ(demux_.Find(demux_.Hash(Tuple(0)),
                        [&](FlowId id) {
                          ++asked;
                          EXPECT_EQ(id, FlowId(FlowKind::kConnection, 7));
                          return false;
                        }),
            FlowId::None());
  EXPECT_EQ(asked, 1u);
}

// A request becomes a connection, then TIME-WAIT: the same tuple, another flow.
TEST_F(DemuxTest, OneTupleChangesHands) {
  const FlowId request(FlowKind::kRequest, 3), connection(FlowKind::kConnection, 3);
  Insert(0, request);
  Insert(0, connection);
  demux_.Erase(Tuple(0), request);
  EXPECT_EQ(Find(0), connection);
  demux_.Erase(Tuple(0), connection);
  EXPECT_EQ(Find(0), FlowId::None());
  EXPECT_EQ(demux_.size(), 0u);
}

TEST_F(DemuxTest, EveryChangeShowsInTheVersion) {
  const uint64_t before = demux_.version();
  Insert(0, FlowId(FlowKind::kConnection, 0));
  const uint64_t inserted = demux_.version();
  EXPECT_NE(inserted, before);
  Find(0);
  EXPECT_EQ(demux_.version(), inserted);
  demux_.Erase(Tuple(0), FlowId(FlowKind::kConnection, 0));
  EXPECT_NE(demux_.version(), inserted);
  EXPECT_NE(demux_.version(), before);
}

TEST_F(DemuxTest, AFullTableRefuses) {
  for (uint32_t i = 0; i < 1000; ++i) Insert(i, FlowId(FlowKind::kConnection, i));
  EXPECT_FALSE(demux_.Insert(Tuple(1000), FlowId(FlowKind::kConnection, 1000)));
  demux_.Erase(Tuple(5), FlowId(FlowKind::kConnection, 5));
  Insert(1000, FlowId(FlowKind::kConnection, 1000));
  EXPECT_EQ(Find(1000), FlowId(FlowKind::kConnection, 1000));
}

TEST_F(DemuxTest, TheHashIsKeyed) {
  SeededRandom other_random(2);
  const Demux other(16, other_random);
  EXPECT_NE(demux_.Hash(Tuple(0)), other.Hash(Tuple(0)));
}

}  // namespace
}  // namespace usher
