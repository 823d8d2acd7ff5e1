// Jobs come in: ids, batches, and the answer to a repeated request.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Enqueued;

TEST(EngineEnqueue, IdsAreContiguousAndRise) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  const Enqueued first = producer.enqueue(jobs(3));
  const Enqueued second = producer.enqueue(jobs(2), {.queue = "other"});

  EXPECT_EQ(first.first, JobId{1});
  EXPECT_EQ(first.count, 3U);
  EXPECT_EQ(second.first, JobId{4});
  EXPECT_EQ(broker.disk().jobs.size(), 5U);
}

TEST(EngineEnqueue, IdsRiseOverARestart) {
  EngineHarness broker;
  broker.producer().enqueue(jobs(3));

  broker.restart();

  EXPECT_EQ(broker.producer().enqueue(jobs(1)).first, JobId{4});
}

TEST(EngineEnqueue, TheBatchIsNamedAfterItsFirstJob) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));

  const Enqueued first = producer.enqueue(jobs(2), {.seal = false});
  const Enqueued second = producer.enqueue(jobs(2), {.batch = first.batch, .seal = false});

  EXPECT_EQ(first.batch, BatchId{2});
  EXPECT_EQ(second.batch, BatchId{2});
  const BatchRow& row = broker.disk().batches.at(BatchId{2});
  EXPECT_EQ(row.total, 4U);
  EXPECT_EQ(row.open, 4U);
  EXPECT_FALSE(row.sealed);
}

TEST(EngineEnqueue, ASealedBatchTakesNoMoreJobs) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued first = producer.enqueue(jobs(2), {.seal = false});

  producer.enqueue({}, {.batch = first.batch, .seal = true});

  EXPECT_TRUE(broker.disk().batches.at(first.batch).sealed);
  EXPECT_EQ(producer.enqueue_refusal(jobs(1), {.batch = first.batch}), "bad_request");
  EXPECT_EQ(producer.enqueue_refusal(jobs(1), {.batch = BatchId{99}}), "bad_request");
}

TEST(EngineEnqueue, AJobEnqueuedAloneNeedsNoBatchRow) {
  EngineHarness broker;

  const Enqueued alone = broker.producer().enqueue(jobs(1));

  EXPECT_EQ(alone.batch.value, alone.first.value);
  EXPECT_TRUE(broker.disk().batches.empty());
  EXPECT_EQ(broker.disk().jobs.at(alone.first).record.spec.batch, alone.batch);
}

TEST(EngineEnqueue, AnUnsealedSingleJobHasABatchRowWithItsOwner) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  const Enqueued alone = producer.enqueue(jobs(1), {.seal = false});

  EXPECT_EQ(broker.disk().batches.at(alone.batch).owner, producer.session());
}

TEST(EngineEnqueue, ABatchLosesItsOwnerWhenTheProducerLeaves) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued batch = producer.enqueue(jobs(2), {.seal = false});

  producer.bye();

  EXPECT_EQ(broker.disk().batches.at(batch.batch).owner, "");
  EXPECT_FALSE(broker.disk().batches.at(batch.batch).sealed);
}

TEST(EngineEnqueue, ABatchLosesItsOwnerWhenTheProducerIsLost) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued batch = producer.enqueue(jobs(2), {.seal = false});

  producer.beats = false;
  broker.advance(Duration{9900});
  EXPECT_EQ(broker.disk().batches.at(batch.batch).owner, producer.session());
  broker.advance(Duration{1000});

  EXPECT_EQ(broker.disk().batches.at(batch.batch).owner, "");
}

TEST(EngineEnqueue, AProducerThatComesBackAfterARestartKeepsItsBatch) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued batch = producer.enqueue(jobs(2), {.seal = false});

  broker.restart();
  producer.hello();
  broker.advance(Duration{11'000});

  EXPECT_EQ(broker.disk().batches.at(batch.batch).owner, producer.session());
  EXPECT_EQ(producer.enqueue_refusal(jobs(1), {.batch = batch.batch}), "");
}

TEST(EngineEnqueue, ABatchWhoseProducerDidNotComeBackLosesItsOwner) {
  EngineHarness broker;
  const Enqueued batch = broker.producer().enqueue(jobs(2), {.seal = false});

  broker.restart();
  broker.advance(Duration{11'000});

  EXPECT_EQ(broker.disk().batches.at(batch.batch).owner, "");
}

// ---- repeated requests
// ---------------------------------------------------------------------------

TEST(EngineEnqueueRepeat, ARepeatedRequestGetsTheSameAnswer) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  const Enqueued first = producer.enqueue(jobs(3), {.counter = 7});
  const Enqueued again = producer.enqueue(jobs(3), {.counter = 7});

  EXPECT_EQ(again.first, first.first);
  EXPECT_EQ(again.batch, first.batch);
  EXPECT_EQ(again.count, first.count);
  EXPECT_EQ(broker.disk().jobs.size(), 3U);
}

TEST(EngineEnqueueRepeat, AnotherBodyUnderTheSameIdIsAConflict) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(3), {.counter = 7});

  EXPECT_EQ(producer.enqueue_refusal(jobs(2), {.counter = 7}), "conflict");
  EXPECT_EQ(producer.enqueue_refusal(jobs(3), {.queue = "other", .counter = 7}), "conflict");
  EXPECT_EQ(producer.enqueue_refusal(jobs(3), {.seal = false, .counter = 7}), "conflict");
  EXPECT_EQ(producer.enqueue_refusal(jobs(3, "other"), {.counter = 7}), "conflict");
}

TEST(EngineEnqueueRepeat, TheAnswerIsFoundOnDiskWhenMemoryHasForgotten) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued first = producer.enqueue(jobs(1), {.counter = 1});
  for (std::uint64_t counter = 2; counter <= 100; ++counter)
    producer.enqueue(jobs(1), {.counter = counter});

  EXPECT_EQ(producer.enqueue(jobs(1), {.counter = 1}).first, first.first);
  EXPECT_EQ(producer.enqueue_refusal(jobs(2), {.counter = 2}), "conflict");
  EXPECT_EQ(broker.disk().jobs.size(), 100U);
}

TEST(EngineEnqueueRepeat, TheAnswerIsFoundAfterARestart) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const Enqueued first = producer.enqueue(jobs(2), {.counter = 1});

  broker.restart();
  producer.hello();

  EXPECT_EQ(producer.enqueue(jobs(2), {.counter = 1}).first, first.first);
  EXPECT_EQ(producer.enqueue_refusal(jobs(3), {.counter = 1}), "conflict");
}

TEST(EngineEnqueueRepeat, RequestsThatWaitForTheDiskKeepTheirOrder) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  broker.hold_commits(true);

  const auto a = producer.send(producer.enqueue_message(jobs(1)));
  broker.run();
  const auto b = producer.send(producer.enqueue_message(jobs(2)));
  const auto c = producer.send(producer.enqueue_message(jobs(3)));
  broker.run();
  EXPECT_TRUE(producer.inbox.empty());
  broker.hold_commits(false);
  broker.run();

  EXPECT_EQ(std::get<Enqueued>(producer.answer(a).value()).first, JobId{1});
  EXPECT_EQ(std::get<Enqueued>(producer.answer(b).value()).first, JobId{2});
  EXPECT_EQ(std::get<Enqueued>(producer.answer(c).value()).first, JobId{4});
}

TEST(EngineEnqueueRepeat, AResendThatOvertakesTheCommitGetsOneAnswerEach) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  broker.hold_commits(true);

  const protocol::Enqueue message = producer.enqueue_message(jobs(2));
  const auto first = producer.send(message);
  broker.run();
  const auto second = producer.send(message);
  broker.run();
  broker.hold_commits(false);
  broker.run();

  EXPECT_EQ(std::get<Enqueued>(producer.answer(first).value()).first, JobId{2});
  EXPECT_EQ(std::get<Enqueued>(producer.answer(second).value()).first, JobId{2});
  EXPECT_EQ(broker.disk().jobs.size(), 3U);
}

TEST(EngineEnqueueRepeat, ARefusedRequestMayBeTriedAgainUnderItsId) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  producer.close();
  const protocol::Enqueue message = producer.enqueue_message(jobs(2));
  EXPECT_EQ(producer.refusal(message), "queue_closed");

  producer.open();

  EXPECT_EQ(producer.ask<Enqueued>(message).count, 2U);
  EXPECT_EQ(producer.ask<Enqueued>(message).first, JobId{2});
  EXPECT_EQ(broker.disk().jobs.size(), 3U);
}

TEST(EngineEnqueueRepeat, ARefusedRequestMayBeTriedAgainAfterNewerOnes) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  producer.close();
  const protocol::Enqueue refused = producer.enqueue_message(jobs(2));
  EXPECT_EQ(producer.refusal(refused), "queue_closed");
  for (int i = 0; i < 70; ++i) producer.enqueue(jobs(1), {.queue = "other"});

  producer.open();

  EXPECT_EQ(producer.ask<Enqueued>(refused).count, 2U);
  EXPECT_EQ(producer.ask<Enqueued>(refused).first, JobId{72});
  EXPECT_EQ(broker.disk().jobs.size(), 73U);
}

TEST(EngineEnqueueRepeat, AnOldRequestAcceptedLateIsNotAcceptedTwice) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  producer.close();
  const protocol::Enqueue old = producer.enqueue_message(jobs(2));
  EXPECT_EQ(producer.refusal(old), "queue_closed");
  const protocol::Enqueue evicted = producer.enqueue_message(jobs(1), {.queue = "other"});
  producer.ask<Enqueued>(evicted);
  for (int i = 0; i < 70; ++i) producer.enqueue(jobs(1), {.queue = "other"});
  producer.open();

  const auto first = producer.send(old);
  const auto other = producer.send(evicted);
  const auto again = producer.send(old);
  broker.run();

  EXPECT_EQ(std::get<Enqueued>(producer.answer(first).value()).first, JobId{73});
  EXPECT_EQ(std::get<Enqueued>(producer.answer(other).value()).first, JobId{2});
  EXPECT_EQ(std::get<Enqueued>(producer.answer(again).value()).first, JobId{73});
  EXPECT_EQ(broker.disk().jobs.size(), 74U);
}

TEST(EngineEnqueueRepeat, ARepeatIsAnsweredAlsoWhenTheQueueIsClosedOrFull) {
  EngineOptions options;
  options.limits.queue_jobs_max = 2;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  const protocol::Enqueue message = producer.enqueue_message(jobs(2), {.seal = false});
  const Enqueued first = producer.ask<Enqueued>(message);
  const protocol::Enqueue seal = producer.enqueue_message({}, {.batch = first.batch});
  producer.ask<Enqueued>(seal);
  producer.close();
  broker.set_space(Space::low);

  EXPECT_EQ(producer.ask<Enqueued>(message).first, first.first);
  EXPECT_EQ(producer.ask<Enqueued>(seal).batch, first.batch);
}

TEST(EngineEnqueueRepeat, TwoProducersMayUseTheSameCounter) {
  EngineHarness broker;
  TestPeer& one = broker.producer();
  TestPeer& two = broker.producer();

  EXPECT_EQ(one.enqueue(jobs(1), {.counter = 1}).first, JobId{1});
  EXPECT_EQ(two.enqueue(jobs(1), {.counter = 1}).first, JobId{2});
}

// ---- persist, then speak
// -------------------------------------------------------------------------

TEST(EnginePersist, NothingIsToldBeforeItsCommit) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(1));
  const auto delivery = worker.take_job();
  broker.hold_commits(true);

  producer.send(producer.enqueue_message(jobs(1)));
  worker.send(protocol::Ack{{{delivery.lease, delivery.job, {}, {}, Duration{-1}, {}}}});
  broker.run();

  EXPECT_TRUE(producer.inbox.empty());
  EXPECT_TRUE(worker.inbox.empty());
  EXPECT_EQ(broker.state(delivery.job), JobState::leased);
}

TEST(EnginePersist, ACrashBeforeTheCommitLosesOnlyWhatNobodyHeardOf) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  const protocol::Enqueue message = producer.enqueue_message(jobs(2));
  broker.hold_commits(true);
  producer.send(message);
  broker.run();

  broker.crash();
  broker.restart();
  producer.hello();

  EXPECT_EQ(broker.disk().jobs.size(), 1U);
  EXPECT_EQ(producer.ask<Enqueued>(message).first, JobId{2});
}

TEST(EnginePersist, ACrashBetweenCommitAndReplyIsHealedByTheResend) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  const protocol::Enqueue message = producer.enqueue_message(jobs(2));
  broker.hold_commits(true);
  producer.send(message);
  broker.run();

  broker.crash(1);
  broker.restart();
  producer.hello();

  EXPECT_EQ(broker.disk().jobs.size(), 3U);
  EXPECT_EQ(producer.ask<Enqueued>(message).first, JobId{2});
  EXPECT_EQ(broker.disk().jobs.size(), 3U);
}

TEST(EnginePersist, AnAckWhoseReplyWasLostIsADuplicateAfterTheRestart) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const auto delivery = worker.take_job();
  broker.hold_commits(true);
  worker.send(protocol::Ack{{{delivery.lease, delivery.job, {}, {}, Duration{-1}, {}}}});
  broker.run();

  broker.crash(1);
  broker.restart();
  worker.hello();
  worker.offer({});

  EXPECT_EQ(worker.ack(delivery), protocol::ItemStatus::duplicate);
  EXPECT_EQ(broker.status(delivery.job).attempts, 1);
}

}  // namespace
}  // namespace millrace::broker
