// Streams of results: live, from disk, and where the two meet.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Enqueued;
using protocol::ResultRow;
using protocol::Results;
using protocol::Watch;

/// What a client makes of a stream. Checks that each message begins where the last one ended.
struct Stream {
  Stream(TestPeer& watcher, BatchId id, FinishSeq from = {})
      : peer(watcher), batch(id), cursor(from) {}

  void watch() { peer.send(Watch{batch, cursor}); }
  /// Takes what has arrived; true when something has.
  bool take() {
    const auto messages = peer.take<Results>();
    for (const Results& message : messages) {
      EXPECT_EQ(message.from, cursor);
      for (const ResultRow& row : message.rows) {
        EXPECT_GT(row.cursor, cursor);
        EXPECT_LE(row.cursor, message.cursor);
        cursor = row.cursor;
        rows.push_back(row);
      }
      cursor = message.cursor;
      end = end || message.end;
      last = message;
    }
    return !messages.empty();
  }
  [[nodiscard]] std::vector<JobId> ids() const {
    std::vector<JobId> all;
    for (const ResultRow& row : rows) all.push_back(row.job);
    return all;
  }

  TestPeer& peer;
  BatchId batch;
  FinishSeq cursor;
  std::vector<ResultRow> rows;
  Results last;
  bool end = false;
};

std::vector<JobId> ids(std::initializer_list<std::uint64_t> values) {
  std::vector<JobId> all;
  for (std::uint64_t value : values) all.emplace_back(value);
  return all;
}

struct Watched {
  explicit Watched(std::size_t count, EngineOptions options = {}, bool seal = true)
      : broker(std::move(options)) {
    batch = producer.enqueue(jobs(count), {.seal = seal}).batch;
    taken = worker.take_jobs();
  }
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 10'000});
  BatchId batch;
  std::vector<Delivery> taken;
};

TEST(EngineWatch, RowsArriveAsTheJobsEnd) {
  Watched it(2);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  EXPECT_TRUE(stream.take());
  EXPECT_EQ(stream.last.total, 2U);
  EXPECT_EQ(stream.last.open, 2U);

  it.worker.ack(it.taken[1], "42");
  ASSERT_TRUE(stream.take());
  EXPECT_FALSE(stream.end);
  it.worker.reject(it.taken[0], "broken");
  ASSERT_TRUE(stream.take());

  ASSERT_EQ(stream.ids(), ids({2, 1}));
  EXPECT_EQ(stream.rows[0].state, JobState::done);
  EXPECT_EQ(stream.rows[0].result, Payload::text("42"));
  EXPECT_EQ(stream.rows[0].kind, "echo");
  EXPECT_EQ(stream.rows[0].attempts, 1);
  EXPECT_EQ(stream.rows[1].state, JobState::dead);
  EXPECT_EQ(stream.rows[1].error, "broken");
  EXPECT_TRUE(stream.end);
  EXPECT_EQ(stream.last.open, 0U);
}

TEST(EngineWatch, TheFirstAnswerEchoesTheRequestAndTheRestIsPushed) {
  Watched it(2);
  const auto correlation = it.producer.send(Watch{it.batch, {}});
  it.broker.run();

  const auto first = it.producer.answer(correlation);
  ASSERT_TRUE(first.has_value());
  EXPECT_TRUE(std::holds_alternative<Results>(*first));
  it.worker.ack(it.taken[0]);
  ASSERT_EQ(it.producer.inbox.size(), 1U);
  EXPECT_EQ(it.producer.inbox[0].correlation, 0U);
}

TEST(EngineWatch, WhatEndedBeforeIsReadFromDisk) {
  Watched it(3);
  it.worker.ack(it.taken[2]);
  it.worker.ack(it.taken[0]);

  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  stream.take();
  EXPECT_EQ(stream.ids(), ids({3, 1}));
  it.worker.ack(it.taken[1]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({3, 1, 2}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatch, AnEndedBatchIsReadFromDiskAndEnds) {
  Watched it(3);
  for (const Delivery& delivery : it.taken) it.worker.ack(delivery);

  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
  EXPECT_EQ(stream.last.total, 3U);
}

TEST(EngineWatch, ACursorGoesOnWhereItWas) {
  Watched it(3);
  for (const Delivery& delivery : it.taken) it.worker.ack(delivery);

  Stream stream(it.producer, it.batch, FinishSeq{2});
  stream.watch();
  it.broker.run();
  stream.take();

  EXPECT_EQ(stream.ids(), ids({3}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatch, ACursorAtTheEndGetsTheEndAlone) {
  Watched it(1, {}, false);
  it.producer.enqueue({}, {.batch = it.batch});
  it.worker.ack(it.taken[0]);

  Stream stream(it.producer, it.batch, FinishSeq{1});
  stream.watch();
  it.broker.run();
  stream.take();

  EXPECT_TRUE(stream.rows.empty());
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatch, JobsThatEndWhileTheDiskIsReadComeAfterwardsAndOnce) {
  Watched it(6);
  it.worker.ack(it.taken[0]);
  it.worker.ack(it.taken[1]);
  it.broker.hold_reads(true);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[2]);
  it.worker.ack(it.taken[3]);
  EXPECT_FALSE(stream.take());

  it.broker.hold_reads(false);
  it.broker.run();
  stream.take();
  it.worker.ack(it.taken[4]);
  it.worker.ack(it.taken[5]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatch, AWatchThatStartsBetweenTwoCommitsMissesNothing) {
  Watched it(8);
  it.broker.set_commit_turns(2);
  Stream stream(it.producer, it.batch);
  const auto ack = [&](std::size_t index) {
    const Delivery& delivery = it.taken[index];
    it.worker.send(protocol::Ack{{{delivery.lease, delivery.job, {}, {}, Duration{-1}, {}}}});
    it.broker.turn();
  };
  for (std::size_t i = 0; i < 4; ++i) ack(i);
  stream.watch();
  for (std::size_t i = 4; i < 8; ++i) ack(i);
  it.broker.run();
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatch, TwoWatchersSeeTheSame) {
  Watched it(2);
  Stream one(it.producer, it.batch);
  Stream two(it.broker.producer(), it.batch);
  one.watch();
  it.broker.run();
  it.worker.ack(it.taken[0]);
  two.watch();
  it.broker.run();
  it.worker.ack(it.taken[1]);
  one.take();
  two.take();

  EXPECT_EQ(one.ids(), ids({1, 2}));
  EXPECT_EQ(two.ids(), ids({1, 2}));
}

TEST(EngineWatch, RowsOfOtherBatchesStayOut) {
  Watched it(1);
  it.producer.enqueue(jobs(2));
  for (const Delivery& delivery : it.worker.take_jobs()) it.worker.ack(delivery);

  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[0]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1}));
}

TEST(EngineWatch, UnwatchEndsTheStream) {
  Watched it(1);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  stream.take();

  it.producer.send(protocol::Unwatch{it.batch});
  it.worker.ack(it.taken[0]);

  EXPECT_FALSE(stream.take());
}

TEST(EngineWatch, AnUnknownBatchIsNotFound) {
  EngineHarness broker;

  EXPECT_EQ(broker.producer().refusal(Watch{BatchId{7}, {}}), "not_found");
}

TEST(EngineWatch, AJobInsideABatchIsNoBatch) {
  Watched it(3);

  EXPECT_EQ(it.producer.refusal(Watch{BatchId{2}, {}}), "not_found");
}

// ---- batches of one
// ------------------------------------------------------------------------------

TEST(EngineWatchOne, AReadyJobIsItsOwnBatch) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued alone = producer.enqueue(jobs(1));
  Stream stream(producer, alone.batch);
  stream.watch();
  broker.run();
  stream.take();
  EXPECT_EQ(stream.last.open, 1U);

  TestPeer& worker = broker.worker();
  worker.ack(worker.take_job());
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1}));
  EXPECT_TRUE(stream.end);
  EXPECT_TRUE(broker.disk().batches.empty());
}

TEST(EngineWatchOne, AnEndedJobIsItsOwnBatch) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const Enqueued alone = producer.enqueue(jobs(1));
  worker.ack(worker.take_job());

  Stream stream(producer, alone.batch);
  stream.watch();
  broker.run();
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1}));
  EXPECT_TRUE(stream.end);
  EXPECT_EQ(stream.last.total, 1U);
}

TEST(EngineWatchOne, AJobOnDiskIsItsOwnBatch) {
  EngineOptions options;
  options.limits.window_jobs_max = 8;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(20));
  const Enqueued alone = producer.enqueue(jobs(1));
  Stream stream(producer, alone.batch);
  stream.watch();
  broker.run();
  stream.take();
  EXPECT_EQ(stream.last.open, 1U);

  TestPeer& worker = broker.worker({.credit = 100});
  for (const Delivery& delivery : worker.take_jobs()) worker.ack(delivery);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({21}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchOne, AJobThatEndsWhileItsBatchIsLookedUpEndsTheStream) {
  for (std::size_t wait = 0; wait < 6; ++wait) {
    EngineHarness broker;
    TestPeer& producer = broker.producer();
    TestPeer& worker = broker.worker();
    const Enqueued alone = producer.enqueue(jobs(1));
    const Delivery delivery = worker.take_job();
    broker.set_commit_turns(3);
    Stream stream(producer, alone.batch);

    worker.send(protocol::Ack{{{delivery.lease, delivery.job, {}, {}, Duration{-1}, {}}}});
    for (std::size_t i = 0; i < wait; ++i) broker.turn();
    stream.watch();
    broker.run();
    stream.take();

    EXPECT_EQ(stream.ids(), ids({1})) << "after " << wait << " turns";
    EXPECT_TRUE(stream.end);
  }
}

// ---- unsealed batches
// ----------------------------------------------------------------------------

TEST(EngineWatchOpen, AnUnsealedBatchDoesNotEnd) {
  Watched it(1, {}, false);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  EXPECT_EQ(stream.ids(), ids({1}));
  EXPECT_FALSE(stream.end);

  it.producer.enqueue(jobs(1), {.batch = it.batch});
  it.worker.ack(it.worker.take_job());
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchOpen, SealingAnEndedBatchEndsTheStream) {
  Watched it(1, {}, false);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();

  it.producer.enqueue({}, {.batch = it.batch});
  stream.take();

  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchOpen, TheStreamEndsWhenTheProducerIsGone) {
  Watched it(1, {}, false);
  Stream stream(it.broker.producer(), it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  EXPECT_FALSE(stream.end);

  it.producer.bye();
  stream.take();

  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchOpen, AProducerThatWasAwayMayGoOnWithItsEndedBatch) {
  Watched it(1, {}, false);
  it.worker.ack(it.taken[0]);
  it.producer.beats = false;
  it.broker.advance(Duration{15'000});

  it.producer.hello();
  EXPECT_EQ(it.producer.enqueue(jobs(1), {.batch = it.batch}).batch, it.batch);
  it.worker.ack(it.worker.take_job());

  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  stream.take();
  EXPECT_EQ(stream.ids(), ids({1, 2}));
  EXPECT_TRUE(stream.end);
  it.broker.audit();
}

// ---- windows
// -------------------------------------------------------------------------------------

EngineOptions small_windows() {
  EngineOptions options;
  options.limits.results_rows_max = 3;
  return options;
}

TEST(EngineWatchWindow, ASlowWatcherGetsNoMoreThanItAskedFor) {
  Watched it(100, small_windows());
  Stream stream(it.producer, it.batch);
  stream.watch();
  for (const Delivery& delivery : it.taken) it.worker.ack(delivery);
  stream.take();
  EXPECT_LT(stream.rows.size(), 100U);

  while (!stream.end) {
    const std::size_t before = stream.rows.size();
    stream.watch();
    it.broker.run();
    stream.take();
    ASSERT_TRUE(stream.rows.size() > before || stream.end);
  }

  ASSERT_EQ(stream.rows.size(), 100U);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(stream.rows[i].job, JobId{i + 1});
}

TEST(EngineWatchWindow, EveryWatchIsAnsweredAlsoWithoutNews) {
  Watched it(1);
  Stream stream(it.producer, it.batch);

  for (int i = 0; i < 3; ++i) {
    const auto correlation = it.producer.send(Watch{it.batch, stream.cursor});
    it.broker.run();
    const auto answer = it.producer.answer(correlation);
    ASSERT_TRUE(answer.has_value());
    stream.cursor = std::get<Results>(*answer).cursor;
  }
}

TEST(EngineWatchWindow, AWatchFromBehindBeginsAgain) {
  Watched it(3);
  Stream first(it.producer, it.batch);
  first.watch();
  for (const Delivery& delivery : {it.taken[0], it.taken[1]}) it.worker.ack(delivery);
  first.take();
  first.watch();
  it.broker.run();
  first.take();

  Stream again(it.producer, it.batch);
  again.watch();
  it.broker.run();
  again.take();
  it.worker.ack(it.taken[2]);
  again.take();

  EXPECT_EQ(again.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(again.end);
}

TEST(EngineWatchWindow, ManyRowsWithoutAWatcherInTimeAreReadFromDisk) {
  EngineOptions options;
  options.limits.enqueue_jobs_max = 20'000;
  options.limits.queue_jobs_max = 100'000;
  options.limits.results_rows_max = 10;
  EngineHarness broker(options);
  broker.keep_writes(false);
  TestPeer& producer = broker.producer();
  const Enqueued all = producer.enqueue(jobs(9000), {.seal = false});
  Stream stream(producer, all.batch);
  stream.watch();
  broker.run();
  std::vector<JobId> victims;
  for (std::uint64_t id = 1; id <= 9000; ++id) victims.emplace_back(id);
  producer.cancel(victims);
  producer.enqueue({}, {.batch = all.batch});

  while (!stream.end) {
    const FinishSeq before = stream.cursor;
    stream.watch();
    broker.run();
    stream.take();
    ASSERT_TRUE(stream.cursor > before || stream.end);
  }

  ASSERT_EQ(stream.rows.size(), 9000U);
  EXPECT_EQ(stream.ids(), victims);
}

// ---- lost messages
// -------------------------------------------------------------------------------

TEST(EngineWatchLost, AfterAReconnectTheStreamGoesOnFromTheCursor) {
  Watched it(4);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  it.producer.lossy = true;
  it.worker.ack(it.taken[1]);
  it.producer.lossy = false;
  it.worker.ack(it.taken[2]);
  it.producer.inbox.clear();

  it.producer.hello();
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[3]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3, 4}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchLost, AfterResultsThatCouldNotBeSentThePeerBeginsAgain) {
  Watched it(3);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  it.producer.deaf = true;
  it.worker.ack(it.taken[1]);
  it.producer.deaf = false;

  EXPECT_EQ(it.producer.refusal(Watch{it.batch, stream.cursor}), "no_session");
  it.producer.hello_again();
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[2]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchLost, ARestartLosesNoRow) {
  Watched it(3);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.worker.ack(it.taken[0]);
  stream.take();
  it.worker.ack(it.taken[1]);
  it.producer.inbox.clear();

  it.broker.restart();
  it.producer.hello();
  it.worker.hello();
  it.worker.offer({});
  stream.watch();
  it.broker.run();
  it.worker.ack(it.taken[2]);
  stream.take();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineWatchLost, NoRowIsToldBeforeItsCommit) {
  Watched it(1);
  Stream stream(it.producer, it.batch);
  stream.watch();
  it.broker.run();
  stream.take();
  it.broker.hold_commits(true);

  it.worker.send(protocol::Ack{{{it.taken[0].lease, it.taken[0].job, {}, {}, Duration{-1}, {}}}});
  it.broker.run();
  EXPECT_FALSE(stream.take());

  it.broker.hold_commits(false);
  it.broker.run();
  EXPECT_TRUE(stream.take());
}

}  // namespace
}  // namespace millrace::broker
