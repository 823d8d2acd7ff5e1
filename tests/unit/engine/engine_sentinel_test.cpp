// CLOSE and what follows from it, pause, and who is sent home when.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Drained;
using protocol::Until;

OfferOptions until(Until what) {
  OfferOptions options;
  options.until = what;
  return options;
}

protocol::NewJob delayed(Duration delay) {
  protocol::NewJob made = job();
  made.delay = delay;
  return made;
}

/// How often the queue was written as drained.
std::size_t drained_writes(const EngineHarness& broker) {
  std::size_t count = 0;
  for (const WriteBatch& batch : broker.writes())
    for (const QueueRow& row : batch.queues)
      if (row.state == QueueState::drained) ++count;
  return count;
}

TEST(EngineSentinel, AnEmptyQueueDrainsAtOnce) {
  EngineHarness broker;
  TestPeer& worker = broker.worker(until(Until::drained));
  EXPECT_TRUE(worker.take<Drained>().empty());

  broker.producer().close();

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
  const auto told = worker.take<Drained>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].reason, "drained");
  EXPECT_EQ(told[0].queues.at(0).queue, kQueueDefault);
  EXPECT_EQ(told[0].queues.at(0).generation, 1U);
}

TEST(EngineSentinel, AReadyJobHoldsTheQueueUntilItEnds) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  EXPECT_EQ(producer.close().state, QueueState::closed);

  TestPeer& worker = broker.worker(until(Until::drained));
  EXPECT_TRUE(worker.take<Drained>().empty());
  worker.ack(worker.take_job());

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
  EXPECT_EQ(worker.take<Drained>().size(), 1U);
}

TEST(EngineSentinel, ALeasedJobHoldsTheQueueUntilItEnds) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker(until(Until::drained));
  producer.enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  producer.close();
  EXPECT_EQ(broker.queue_state(), QueueState::closed);
  worker.reject(delivery);

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
}

TEST(EngineSentinel, AScheduledJobHoldsTheQueueUntilItEnds) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker(until(Until::drained));
  producer.enqueue({delayed(Duration{5000})});
  producer.close();

  broker.advance(Duration{4999});
  EXPECT_EQ(broker.queue_state(), QueueState::closed);
  EXPECT_TRUE(worker.take<Drained>().empty());
  broker.advance(Duration{1});
  worker.ack(worker.take_job());

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
}

TEST(EngineSentinel, ARetryingJobHoldsTheQueueUntilItEnds) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker(until(Until::drained));
  producer.enqueue(jobs(1));
  producer.close();

  worker.nack(worker.take_job());
  EXPECT_EQ(broker.queue_state(), QueueState::closed);
  broker.advance(Duration{1000});
  worker.ack(worker.take_job());

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
}

TEST(EngineSentinel, ACancelCanBeTheLastEnd) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto all = producer.enqueue(jobs(1));
  producer.close();

  producer.cancel({all.first});

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
}

TEST(EngineSentinel, DrainedIsWrittenOnceAndWithTheEndOfTheLastJob) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(2));
  producer.close();
  const auto taken = worker.take_jobs();
  worker.ack(taken.at(0));
  broker.forget_writes();

  worker.ack(taken.at(1));
  broker.advance(Duration{5000});

  EXPECT_EQ(drained_writes(broker), 1U);
  const WriteBatch& last = broker.writes().at(0);
  EXPECT_EQ(last.updates.at(0).status.state, JobState::done);
  EXPECT_EQ(last.queues.at(0).state, QueueState::drained);
}

TEST(EngineSentinel, ACrashBeforeTheLastCommitStillDrainsOnceAfterwards) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker(until(Until::drained));
  producer.enqueue(jobs(1));
  producer.close();
  const Delivery delivery = worker.take_job();
  broker.hold_commits(true);
  worker.send(protocol::Ack{{{delivery.lease, delivery.job, {}, {}, Duration{-1}, {}}}});
  broker.run();

  broker.crash();
  broker.restart();
  EXPECT_EQ(broker.queue_state(), QueueState::closed);
  worker.hello();
  worker.offer(until(Until::drained));
  worker.resume();
  worker.ack(delivery);

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
  EXPECT_EQ(worker.take<Drained>().size(), 1U);
}

TEST(EngineSentinel, AWorkerThatComesLateIsToldAtOnce) {
  EngineHarness broker;
  broker.producer().close();

  TestPeer& late = broker.worker(until(Until::drained));

  EXPECT_EQ(late.take<Drained>().size(), 1U);
}

TEST(EngineSentinel, AWorkerIsToldOnceAndGetsNothingAfterwards) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker(until(Until::drained));
  producer.close();
  ASSERT_EQ(worker.take<Drained>().size(), 1U);

  producer.enqueue(jobs(3));
  broker.advance(Duration{2500});
  producer.close();

  EXPECT_TRUE(worker.take_jobs().empty());
  EXPECT_TRUE(worker.take<Drained>().empty());
}

TEST(EngineSentinel, AWorkerOfTwoQueuesWaitsForBoth) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  OfferOptions two = until(Until::drained);
  two.queues = {"a", "b"};
  TestPeer& worker = broker.worker(two);

  producer.close("a");
  EXPECT_TRUE(worker.take<Drained>().empty());
  producer.close("b");

  const auto told = worker.take<Drained>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].queues.size(), 2U);
}

TEST(EngineSentinel, AWorkerForEverIsNeverTold) {
  EngineHarness broker;
  TestPeer& worker = broker.worker(until(Until::forever));

  broker.producer().close();

  EXPECT_TRUE(worker.take<Drained>().empty());
}

TEST(EngineSentinel, ADrainedThatGotLostIsToldAgainAfterTheReconnect) {
  EngineHarness broker;
  TestPeer& worker = broker.worker(until(Until::drained));
  worker.lossy = true;
  broker.producer().close();
  worker.lossy = false;
  ASSERT_TRUE(worker.take<Drained>().empty());

  worker.hello();
  worker.offer(until(Until::drained));
  worker.resume();

  EXPECT_EQ(worker.take<Drained>().size(), 1U);
}

TEST(EngineSentinel, ADrainedThatCouldNotBeSentIsToldWhenTheWorkerIsBack) {
  EngineHarness broker;
  TestPeer& worker = broker.worker(until(Until::drained));
  worker.deaf = true;
  broker.producer().close();
  worker.deaf = false;
  broker.advance(Duration{2100});
  for (const auto& error : worker.take<protocol::ErrorReply>()) {
    if (error.code != "no_session") continue;
    worker.hello();
    worker.offer(until(Until::drained));
    worker.resume();
    break;
  }

  EXPECT_EQ(worker.take<Drained>().size(), 1U);
}

// ---- burst mode
// ----------------------------------------------------------------------------------

TEST(EngineBurst, AWorkerLeavesWhenNothingIsReady) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(2));
  producer.enqueue({delayed(Duration{60'000})});
  TestPeer& worker = broker.worker(until(Until::empty));

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);
  worker.ack(taken[0]);
  EXPECT_TRUE(worker.take<Drained>().empty());
  worker.ack(taken[1]);

  const auto told = worker.take<Drained>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].reason, "empty");
  EXPECT_EQ(broker.queue_state(), QueueState::open);
}

TEST(EngineBurst, AWorkerThatComesToAnEmptyQueueLeavesAtOnce) {
  EngineHarness broker;

  EXPECT_EQ(broker.worker(until(Until::empty)).take<Drained>().size(), 1U);
}

TEST(EngineBurst, AWorkerWithoutCreditStaysWhileJobsAreReady) {
  EngineHarness broker;
  broker.producer().enqueue(jobs(1));
  OfferOptions options = until(Until::empty);
  options.credit = 0;
  TestPeer& worker = broker.worker(options);
  EXPECT_TRUE(worker.take<Drained>().empty());

  worker.credit(1);
  worker.ack(worker.take_job());

  EXPECT_EQ(worker.take<Drained>().size(), 1U);
}

}  // namespace
}  // namespace millrace::broker
