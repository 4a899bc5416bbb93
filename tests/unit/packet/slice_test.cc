#include "stack/packet/slice.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "stack/port/memory_port.h"

namespace usher {
namespace {

class SliceTest : public ::testing::Test {
 protected:
  // A held packet that says `text`.
  Slice Make(const std::string& text) {
    Packet p;
    EXPECT_TRUE(pool_.Allocate(&p));
    std::copy(text.begin(), text.end(), p.data);
    BufferHeader* header = Slice::Hold(p, pool_);
    EXPECT_EQ(header->refs, 1u);
    EXPECT_EQ(header->next, nullptr);
    return Slice::Adopt(header, p.data, static_cast<uint32_t>(text.size()));
  }
  static std::string Text(const Slice& s) { return {s.bytes().begin(), s.bytes().end()}; }
  uint32_t held() const { return pool_.capacity() - pool_.available(); }

  HeapPool pool_{4};
};

TEST_F(SliceTest, ADefaultOneIsEmptyAndHoldsNothing) {
  Slice a;
  Slice b = a;
  EXPECT_TRUE(a.empty());
  EXPECT_TRUE(b.bytes().empty());
}

TEST_F(SliceTest, TheBufferGoesBackWithTheLastCopy) {
  {
    Slice outer;
    {
      const Slice first = Make("abc");
      const Slice second = first;
      outer = second;
      EXPECT_EQ(first.bytes().data(), outer.bytes().data());
      EXPECT_EQ(held(), 1u);
    }
    EXPECT_EQ(held(), 1u);
    EXPECT_EQ(Text(outer), "abc");
  }
  EXPECT_EQ(held(), 0u);
}

TEST_F(SliceTest, MovingTakesTheReferenceAlong) {
  Slice from = Make("abc");
  Slice to = std::move(from);
  EXPECT_EQ(Text(to), "abc");
  to = Slice();
  EXPECT_EQ(held(), 0u);
}

TEST_F(SliceTest, AssignmentLetsGoOfWhatWasThere) {
  Slice a = Make("first");
  a = Make("second");
  EXPECT_EQ(held(), 1u);
  EXPECT_EQ(Text(a), "second");
  Slice& same = a;
  a = same;
  EXPECT_EQ(Text(a), "second");
  EXPECT_EQ(held(), 1u);
}

TEST_F(SliceTest, APrefixIsRemovedFromThisViewOnly) {
  Slice a = Make("abcdef");
  const Slice b = a;
  a.RemovePrefix(4);
  EXPECT_EQ(Text(a), "ef");
  EXPECT_EQ(Text(b), "abcdef");
  a.RemovePrefix(2);
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(held(), 1u);
}

TEST_F(SliceTest, ReferencesCanBeCountedByHand) {
  Packet p;
  ASSERT_TRUE(pool_.Allocate(&p));
  BufferHeader* header = Slice::Hold(p, pool_);
  ++header->refs;
  Slice::Unref(header);
  EXPECT_EQ(held(), 1u);
  Slice::Unref(header);
  EXPECT_EQ(held(), 0u);
  Slice::Unref(nullptr);
}

}  // namespace
}  // namespace usher
