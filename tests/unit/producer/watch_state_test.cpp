#include "producer/watch_state.h"

#include <gmock/gmock.h>

namespace millrace::producer {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr Instant kStart{Duration{1'000'000}};

/// Results with one row at each cursor from `from`+1 to `upto`.
protocol::Results results(std::uint64_t from, std::uint64_t upto, bool end = false) {
  protocol::Results message;
  message.batch = BatchId{7};
  message.from = FinishSeq{from};
  message.cursor = FinishSeq{upto};
  message.end = end;
  for (std::uint64_t i = from + 1; i <= upto; ++i) {
    auto& row = message.rows.emplace_back();
    row.cursor = FinishSeq{i};
    row.job = JobId{100 + i};
  }
  return message;
}

std::vector<std::uint64_t> cursors(const std::vector<protocol::ResultRow>& rows) {
  std::vector<std::uint64_t> out;
  out.reserve(rows.size());
  for (const auto& row : rows) out.push_back(row.cursor.value);
  return out;
}

TEST(WatchState, FollowsRowsInOrder) {
  WatchState watch(BatchId{7}, FinishSeq{});
  EXPECT_THAT(cursors(watch.accept(results(0, 2))), ElementsAre(1, 2));
  EXPECT_THAT(cursors(watch.accept(results(2, 3, true))), ElementsAre(3));
  EXPECT_EQ(watch.cursor(), FinishSeq{3});
  EXPECT_TRUE(watch.ended());
}

TEST(WatchState, DropsWhatFollowsAGapAndAsksAgain) {
  WatchState watch(BatchId{7}, FinishSeq{});
  EXPECT_EQ(watch.next(kStart).from, FinishSeq{0});
  EXPECT_THAT(cursors(watch.accept(results(0, 2))), ElementsAre(1, 2));
  EXPECT_FALSE(watch.due(kStart + Duration{500}));
  EXPECT_THAT(watch.accept(results(4, 6, true)), IsEmpty());
  EXPECT_FALSE(watch.ended());
  EXPECT_TRUE(watch.due(kStart + WatchState::kGapWatchAfter));
  EXPECT_EQ(watch.next(kStart + WatchState::kGapWatchAfter).from, FinishSeq{2});
  EXPECT_THAT(cursors(watch.accept(results(2, 6, true))), ElementsAre(3, 4, 5, 6));
  EXPECT_TRUE(watch.ended());
}

TEST(WatchState, ShowsNoRowTwice) {
  WatchState watch(BatchId{7}, FinishSeq{});
  EXPECT_THAT(cursors(watch.accept(results(0, 3))), ElementsAre(1, 2, 3));
  EXPECT_THAT(watch.accept(results(0, 2)), IsEmpty());
  EXPECT_EQ(watch.cursor(), FinishSeq{3});
  EXPECT_THAT(cursors(watch.accept(results(1, 5))), ElementsAre(4, 5));
}

TEST(WatchState, IgnoresOtherBatches) {
  WatchState watch(BatchId{8}, FinishSeq{});
  EXPECT_THAT(watch.accept(results(0, 2, true)), IsEmpty());
  EXPECT_FALSE(watch.ended());
}

TEST(WatchState, IsDueAtFirstEachSecondAfterManyRowsAndInANewSession) {
  WatchState watch(BatchId{7}, FinishSeq{});
  EXPECT_TRUE(watch.due(kStart));
  static_cast<void>(watch.next(kStart));
  EXPECT_FALSE(watch.due(kStart + Duration{999}));
  EXPECT_TRUE(watch.due(kStart + Duration{1000}));
  static_cast<void>(watch.accept(results(0, WatchState::kRowsPerWatch - 1)));
  EXPECT_FALSE(watch.due(kStart));
  static_cast<void>(watch.accept(results(WatchState::kRowsPerWatch - 1, 1000)));
  EXPECT_TRUE(watch.due(kStart));
  EXPECT_EQ(watch.next(kStart).from, FinishSeq{1000});
  EXPECT_FALSE(watch.due(kStart));
  watch.renew();
  EXPECT_TRUE(watch.due(kStart));
}

TEST(WatchState, ReopensWhenMoreWasEnqueuedAfterAnEnd) {
  WatchState watch(BatchId{7}, FinishSeq{});
  static_cast<void>(watch.next(kStart));
  static_cast<void>(watch.accept(results(0, 2, true)));
  watch.reopen();
  EXPECT_FALSE(watch.ended());
  EXPECT_TRUE(watch.due(kStart));
}

}  // namespace
}  // namespace millrace::producer
