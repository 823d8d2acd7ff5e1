// Streams of results: live, from disk, and where the two meet.

#include <gtest/gtest.h>

#include "tests/unit/engine/watch_stream.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Enqueued;
using protocol::ResultRow;
using protocol::Results;
using protocol::Watch;

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

}  // namespace
}  // namespace millrace::broker
