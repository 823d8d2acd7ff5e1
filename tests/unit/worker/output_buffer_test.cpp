#include "worker/output_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <stdexcept>

#include "worker/outbox.h"

namespace millrace::worker {
namespace {

using protocol::ItemStatus;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class OutputBufferTest : public testing::Test {
 protected:
  static Job job(std::uint64_t lease) {
    Job made;
    made.lease = LeaseId{lease};
    made.id = JobId{lease + 1000};
    return made;
  }
  void log(std::uint64_t lease, std::string_view line) { buffer_.log(job(lease), {}, line); }
  void chunk(std::uint64_t lease, std::size_t bytes) {
    buffer_.chunk(job(lease), {}, Payload::binary(std::string(bytes, 'x')));
  }
  std::string refusal_of_chunk(std::size_t bytes) {
    try {
      chunk(1, bytes);
    } catch (const std::length_error& error) {
      return error.what();
    }
    return "none";
  }
  /// Takes one message's worth and has it settled.
  std::vector<protocol::OutputItem> drain() {
    auto items = buffer_.take(now_).items;
    buffer_.settle(items, std::vector(items.size(), ItemStatus::ok));
    return items;
  }
  static std::vector<std::string> data(const std::vector<protocol::OutputItem>& items) {
    std::vector<std::string> all;
    for (const auto& item : items) all.push_back(item.data.bytes);
    return all;
  }
  bool woken() {
    pollfd fd{wakeup_.fd(), POLLIN, 0};
    const bool is = poll(&fd, 1, 0) == 1;
    wakeup_.clear();
    return is;
  }

  Wakeup wakeup_;
  OutputBuffer buffer_{wakeup_};
  Instant now_{Duration{1000}};
};

TEST_F(OutputBufferTest, NumbersTheItemsOfEachRun) {
  log(1, "one");
  log(2, "other");
  chunk(1, 3);
  log(1, "three\n");

  const auto items = drain();

  ASSERT_EQ(items.size(), 4U);
  EXPECT_EQ(items[0].lease, LeaseId{1});
  EXPECT_EQ(items[0].job, JobId{1001});
  EXPECT_EQ(items[0].n, 1U);
  EXPECT_EQ(items[0].data, Payload::text("one"));
  EXPECT_GT(items[0].at, Time{});
  EXPECT_EQ(items[1].n, 2U);
  EXPECT_EQ(items[1].type, OutputType::chunk);
  EXPECT_EQ(items[1].data, Payload::binary("xxx"));
  EXPECT_EQ(items[2].data.bytes, "three");
  EXPECT_EQ(items[3].lease, LeaseId{2});
  EXPECT_EQ(items[3].n, 1U);
}

TEST_F(OutputBufferTest, WakesTheAgentOnceForAllItHasNotTaken) {
  log(1, "one");
  EXPECT_TRUE(woken());
  log(1, "two");
  buffer_.progress(job(2), 1, 2, "");
  EXPECT_FALSE(woken());

  drain();
  EXPECT_FALSE(woken());
  log(1, "three");
  EXPECT_TRUE(woken());
}

TEST_F(OutputBufferTest, CutsALongLineBetweenCharacters) {
  buffer_.set_limits({.rows_max = 10, .bytes_max = 1000, .item_bytes_max = 6});
  log(1, "abcde€");

  EXPECT_THAT(data(drain()), ElementsAre("abcde"));
}

TEST_F(OutputBufferTest, EndsALogOfTooManyRowsWithALineThatSaysSo) {
  buffer_.set_limits({.rows_max = 3, .bytes_max = 10'000, .item_bytes_max = 100});
  for (const char* line : {"a", "b", "c", "d"}) log(1, line);

  EXPECT_THAT(data(drain()), ElementsAre("a", "b",
                                         "the rest of this log is not kept: the broker's limit "
                                         "output_rows_max is 3"));
}

TEST_F(OutputBufferTest, EndsALogOfTooManyBytesWithALineThatSaysSo) {
  buffer_.set_limits({.rows_max = 100, .bytes_max = 1000, .item_bytes_max = 500});
  for (int i = 0; i < 5; ++i) log(1, std::string(400, 'x'));

  const auto items = drain();

  ASSERT_EQ(items.size(), 3U);
  EXPECT_THAT(items[2].data.bytes, HasSubstr("output_bytes_max is 1000"));
  std::size_t bytes = 0;
  for (const auto& item : items) bytes += item.data.size();
  EXPECT_LE(bytes, 1000U);
}

TEST_F(OutputBufferTest, AChunkAboveALimitThrowsAndNamesIt) {
  buffer_.set_limits({.rows_max = 3, .bytes_max = 1000, .item_bytes_max = 600});
  EXPECT_EQ(refusal_of_chunk(601),
            "output_too_large: 601 bytes in a chunk, the broker's limit output_item_bytes_max is "
            "600");
  EXPECT_EQ(refusal_of_chunk(600), "none");
  EXPECT_THAT(refusal_of_chunk(401), HasSubstr("output_bytes_max is 1000"));
  EXPECT_EQ(refusal_of_chunk(200), "none");
  EXPECT_EQ(refusal_of_chunk(200), "none");
  EXPECT_THAT(refusal_of_chunk(0), HasSubstr("output_rows_max is 3"));

  EXPECT_EQ(drain().size(), 3U);
}

TEST_F(OutputBufferTest, TellsTheFirstProgressAtOnceAndThenTheNewestAfterAWhile) {
  buffer_.progress(job(1), 1, 9, "begin");
  EXPECT_THAT(data(drain()), ElementsAre(R"({"done":1,"total":9,"text":"begin"})"));
  buffer_.progress(job(1), 2, 9, "");
  buffer_.progress(job(1), 3, 9, "");

  const auto early = buffer_.take(now_ + kProgressEvery - Duration{1});
  EXPECT_TRUE(early.items.empty());
  EXPECT_EQ(early.next_due, now_ + kProgressEvery);
  now_ += kProgressEvery;

  const auto items = drain();
  EXPECT_THAT(data(items), ElementsAre(R"({"done":3,"total":9,"text":""})"));
  EXPECT_EQ(items.at(0).n, 2U);
  EXPECT_EQ(items.at(0).type, OutputType::progress);
  EXPECT_EQ(buffer_.take(now_).next_due, std::nullopt);
}

TEST_F(OutputBufferTest, TheLastProgressIsDueWhenTheRunEnds) {
  buffer_.progress(job(1), 1, 2, "");
  drain();
  buffer_.progress(job(1), 2, 2, "");

  EXPECT_EQ(buffer_.end(LeaseId{1}), std::nullopt);

  EXPECT_THAT(data(drain()), ElementsAre(R"({"done":2,"total":2,"text":""})"));
}

TEST_F(OutputBufferTest, ProgressOfADayLeavesRoomForTheLog) {
  buffer_.set_limits({.rows_max = 200, .bytes_max = 1'000'000, .item_bytes_max = 1000});
  std::size_t rows = 0;
  for (std::uint64_t i = 0; i < 2 * 24 * 3600; ++i, now_ += kProgressEvery) {
    buffer_.progress(job(1), i, 0, "");
    rows += drain().size();
  }

  EXPECT_GT(rows, 50U);
  EXPECT_LT(rows, 150U);
}

TEST_F(OutputBufferTest, ProgressIsJsonWhateverItsText) {
  buffer_.progress(job(1), 1, 0, std::string("\"\\\n\x01\xff\xc3\xa9\xed\xa0\x80", 10));

  EXPECT_THAT(data(drain()),
              ElementsAre("{\"done\":1,\"total\":0,\"text\":\"\\\"\\\\\\u000a\\u0001\xEF\xBF\xBD"
                          "\xc3\xa9\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"}"));
}

TEST_F(OutputBufferTest, ProgressBeyondTheLimitsIsLeftOutAndHoldsNothingUp) {
  buffer_.set_limits({.rows_max = 1, .bytes_max = 1000, .item_bytes_max = 100});
  buffer_.progress(job(1), 1, 0, "");
  EXPECT_TRUE(drain().empty());
  buffer_.progress(job(1), 2, 0, "");

  EXPECT_TRUE(buffer_.end(LeaseId{1}));
}

TEST_F(OutputBufferTest, OneMessageTakesSoManyItemsAndBytes) {
  for (std::size_t i = 0; i <= kParcelItemsMax; ++i) log(1, "x");
  EXPECT_EQ(drain().size(), kParcelItemsMax);
  EXPECT_EQ(drain().size(), 1U);
  for (int i = 0; i < 20; ++i) chunk(1, 64 * kKiB);

  std::size_t bytes = 0;
  for (const auto& item : drain()) bytes += item.data.size();
  EXPECT_LE(bytes, kParcelBytesMax);
  EXPECT_GE(bytes, kParcelBytesMax - 65 * kKiB);
}

TEST_F(OutputBufferTest, EndedRunsGoFirstAndTheOthersInTurn) {
  for (std::size_t i = 0; i <= kParcelItemsMax; ++i) log(1, "x");
  log(2, "two");
  log(3, "three");
  EXPECT_EQ(buffer_.end(LeaseId{3}), std::nullopt);

  EXPECT_EQ(drain().at(0).lease, LeaseId{3});
  EXPECT_EQ(drain().at(0).lease, LeaseId{2});
}

TEST_F(OutputBufferTest, ARunIsOverWhenItHasReturnedAndAllIsSettled) {
  EXPECT_TRUE(buffer_.end(LeaseId{9}));  // it wrote nothing
  log(1, "one");
  const auto items = buffer_.take(now_).items;
  EXPECT_EQ(buffer_.end(LeaseId{1}), std::nullopt);

  const auto settlement = buffer_.settle(items, {ItemStatus::duplicate});

  ASSERT_EQ(settlement.ended.size(), 1U);
  EXPECT_EQ(settlement.ended[0].lease, LeaseId{1});
  EXPECT_FALSE(settlement.ended[0].chunk_lost);
  EXPECT_EQ(settlement.lost, 0U);
}

TEST_F(OutputBufferTest, RemembersThatAChunkWasRefused) {
  chunk(1, 1);
  log(1, "one");
  const auto items = buffer_.take(now_).items;

  const auto settlement = buffer_.settle(items, {ItemStatus::refused, ItemStatus::stale});

  EXPECT_EQ(settlement.lost, 2U);
  EXPECT_EQ(settlement.refused, 1U);
  EXPECT_EQ(settlement.first_lost, JobId{1001});
  const auto ended = buffer_.end(LeaseId{1});
  ASSERT_TRUE(ended);
  EXPECT_TRUE(ended->chunk_lost);
}

TEST_F(OutputBufferTest, OfALostLeaseNothingIsKept) {
  log(1, "taken");
  const auto items = buffer_.take(now_).items;
  log(1, "waiting");
  buffer_.progress(job(1), 1, 2, "");

  buffer_.discard(LeaseId{1});
  log(1, "late");
  chunk(1, 1);
  buffer_.progress(job(1), 2, 2, "");

  EXPECT_TRUE(buffer_.take(now_).items.empty());
  EXPECT_EQ(buffer_.end(LeaseId{1}), std::nullopt);
  const auto settlement = buffer_.settle(items, {ItemStatus::stale});
  EXPECT_EQ(settlement.lost, 0U);
  EXPECT_EQ(settlement.ended.size(), 1U);
}

TEST_F(OutputBufferTest, IsFullUntilEnoughIsSettled) {
  OutputBuffer small(wakeup_, 1000);
  small.log(job(1), {}, std::string(2000, 'x'));
  EXPECT_TRUE(small.is_full());
  const auto items = small.take(now_).items;
  EXPECT_TRUE(small.is_full());

  small.settle(items, {ItemStatus::ok});

  EXPECT_FALSE(small.is_full());
  small.set_outcome_bytes(1000);
  EXPECT_TRUE(small.is_full());
}

TEST_F(OutputBufferTest, AStopWhileThereIsNoRoomIsSaidToWhoWrites) {
  OutputBuffer small(wakeup_, 1000);
  small.set_outcome_bytes(1000);
  std::stop_source stop;
  stop.request_stop();

  EXPECT_THROW(small.chunk(job(1), stop.get_token(), {}), std::runtime_error);
  small.log(job(1), stop.get_token(), "one");
  small.log(job(1), stop.get_token(), "two");

  const auto items = small.take(now_).items;
  ASSERT_EQ(items.size(), 1U);
  EXPECT_THAT(items[0].data.bytes, StartsWith("the rest of this log is not kept: the run was "));
}

}  // namespace
}  // namespace millrace::worker
