#include "producer/reorder.h"

#include <gmock/gmock.h>

#include <string>

namespace millrace::producer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ReorderBuffer, GivesOutInTheOrderOfTheNumbers) {
  ReorderBuffer<std::string> buffer;
  EXPECT_THAT(buffer.put(2, "c"), IsEmpty());
  EXPECT_THAT(buffer.put(1, "b"), IsEmpty());
  EXPECT_EQ(buffer.waiting(), 2U);
  EXPECT_THAT(buffer.put(0, "a"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(buffer.put(3, "d"), ElementsAre("d"));
  EXPECT_EQ(buffer.next(), 4U);
  EXPECT_EQ(buffer.waiting(), 0U);
}

TEST(ReorderBuffer, IgnoresWhatItHasSeen) {
  ReorderBuffer<int> buffer;
  EXPECT_THAT(buffer.put(0, 1), ElementsAre(1));
  EXPECT_THAT(buffer.put(0, 2), IsEmpty());
  EXPECT_THAT(buffer.put(2, 3), IsEmpty());
  EXPECT_THAT(buffer.put(2, 4), IsEmpty());
  EXPECT_THAT(buffer.put(1, 2), ElementsAre(2, 3));
}

}  // namespace
}  // namespace millrace::producer
