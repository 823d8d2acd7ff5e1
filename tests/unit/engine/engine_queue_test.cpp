// Generations of a queue, CLOSE with wait, and pause.

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

// ---- generations
// ---------------------------------------------------------------------------------

TEST(EngineGeneration, TheFirstEnqueueAfterDrainedOpensTheNext) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.close();

  producer.enqueue(jobs(1));

  EXPECT_EQ(broker.queue_state(), QueueState::open);
  EXPECT_EQ(broker.disk().queues.at(kQueueDefault).generation, 2U);
  EXPECT_EQ(producer.close().generation, 2U);
}

TEST(EngineGeneration, ClosingAClosedQueueChangesNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  producer.close();
  broker.forget_writes();

  EXPECT_EQ(producer.close().state, QueueState::closed);

  EXPECT_TRUE(broker.writes().empty());
}

TEST(EngineGeneration, ClosingADrainedQueueChangesNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.close();
  broker.forget_writes();

  EXPECT_EQ(producer.close().state, QueueState::drained);

  EXPECT_TRUE(broker.writes().empty());
}

TEST(EngineGeneration, AClosedQueueTakesNoNewWork) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(3));
  const auto taken = worker.take_jobs();
  worker.reject(taken.at(0));
  worker.ack(taken.at(1));
  producer.close();

  EXPECT_EQ(producer.enqueue_refusal(jobs(1)), "queue_closed");
  EXPECT_EQ(producer.refusal(producer.replay_message({taken[1].job})), "queue_closed");
  EXPECT_EQ(producer.refusal(protocol::Redrive{{taken[0].job}}), "queue_closed");
  EXPECT_EQ(broker.disk().jobs.size(), 3U);
}

TEST(EngineGeneration, ARedriveAfterDrainedOpensTheNext) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(1));
  const Delivery delivery = worker.take_job();
  worker.reject(delivery);
  producer.close();

  producer.redrive({delivery.job});

  EXPECT_EQ(broker.disk().queues.at(kQueueDefault).generation, 2U);
  EXPECT_EQ(broker.state(delivery.job), JobState::leased);
}

TEST(EngineGeneration, OpenUndoesAClose) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1));
  producer.close();

  const auto info = producer.open();

  EXPECT_EQ(info.state, QueueState::open);
  EXPECT_EQ(info.generation, 1U);
  EXPECT_EQ(producer.enqueue_refusal(jobs(1)), "");
}

TEST(EngineGeneration, OpenAfterDrainedBeginsTheNext) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.close();

  const auto info = producer.open();

  EXPECT_EQ(info.state, QueueState::open);
  EXPECT_EQ(info.generation, 2U);
}

TEST(EngineGeneration, ItSurvivesARestart) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.close();
  producer.enqueue(jobs(1));
  producer.close();

  broker.restart();

  const auto info = broker.producer().queue_info();
  EXPECT_EQ(info.generation, 2U);
  EXPECT_EQ(info.state, QueueState::closed);
}

// ---- close and wait
// ------------------------------------------------------------------------------

TEST(EngineCloseWait, TheOneWhoWaitsIsToldWhenItIsDrained) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(1));
  const Delivery delivery = worker.take_job();
  EXPECT_EQ(producer.close(kQueueDefault, true).state, QueueState::closed);
  EXPECT_TRUE(producer.take<Drained>().empty());

  worker.ack(delivery);

  const auto told = producer.take<Drained>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].queues.at(0).generation, 1U);
}

TEST(EngineCloseWait, TheOneWhoWaitsForADrainedQueueIsToldAtOnce) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  producer.close(kQueueDefault, true);

  EXPECT_EQ(producer.take<Drained>().size(), 1U);
}

TEST(EngineCloseWait, AskingTwiceIsToldOnce) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto all = producer.enqueue(jobs(1));
  producer.close(kQueueDefault, true);
  producer.close(kQueueDefault, true);

  producer.cancel({all.first});

  EXPECT_EQ(producer.take<Drained>().size(), 1U);
}

TEST(EngineCloseWait, AResendWithAnOldGenerationIsToldAndClosesNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.close();
  producer.enqueue(jobs(1));

  const auto info = producer.ask<protocol::QueueInfo>(protocol::Close{kQueueDefault, true, 1});

  EXPECT_EQ(info.state, QueueState::open);
  EXPECT_EQ(broker.queue_state(), QueueState::open);
  const auto told = producer.take<Drained>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].queues.at(0).generation, 1U);
}

TEST(EngineCloseWait, AResendAfterARestartIsToldWhenItIsDrained) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto all = producer.enqueue(jobs(1));
  producer.close(kQueueDefault, true);

  broker.restart();
  producer.hello();
  producer.ask<protocol::QueueInfo>(protocol::Close{kQueueDefault, true, 1});
  producer.cancel({all.first});

  EXPECT_EQ(producer.take<Drained>().size(), 1U);
}

TEST(EngineCloseWait, ABadNameIsRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  EXPECT_EQ(producer.refusal(protocol::Close{"Not A Name", false, 0}), "bad_request");
  EXPECT_EQ(producer.refusal(protocol::Open{""}), "bad_request");
  EXPECT_EQ(producer.refusal(protocol::Pause{"/"}), "bad_request");
}

// ---- pause
// ---------------------------------------------------------------------------------------

TEST(EnginePause, APausedQueueHandsOutNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  EXPECT_TRUE(producer.pause().paused);

  producer.enqueue(jobs(2));
  EXPECT_TRUE(worker.take_jobs().empty());
  EXPECT_FALSE(producer.unpause().paused);

  EXPECT_EQ(worker.take_jobs().size(), 2U);
}

TEST(EnginePause, ItSurvivesARestart) {
  EngineHarness broker;
  broker.producer().pause();

  broker.restart();
  broker.producer().enqueue(jobs(1));

  EXPECT_TRUE(broker.worker().take_jobs().empty());
}

TEST(EnginePause, APausedQueueDoesNotDrainUntilItGoesOn) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker(until(Until::drained));
  producer.pause();

  const auto info = producer.close();
  EXPECT_EQ(info.state, QueueState::closed);
  EXPECT_TRUE(info.paused);
  EXPECT_TRUE(worker.take<Drained>().empty());
  producer.unpause();

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
  EXPECT_EQ(worker.take<Drained>().size(), 1U);
}

TEST(EnginePause, LeasesThatHaveNotStartedAreAskedBack) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(2));
  const auto taken = worker.take_jobs();
  worker.start(taken.at(0));

  producer.pause();

  const auto recalls = worker.take<protocol::Recall>();
  ASSERT_EQ(recalls.size(), 1U);
  EXPECT_EQ(recalls[0].leases, std::vector{taken[1].lease});
  worker.release(taken[1]);
  EXPECT_TRUE(worker.take_jobs().empty());
  EXPECT_EQ(worker.ack(taken[0]), protocol::ItemStatus::ok);
}

TEST(EnginePause, PausingTwiceChangesNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.pause();
  broker.forget_writes();

  producer.pause();

  EXPECT_TRUE(broker.writes().empty());
}

}  // namespace
}  // namespace millrace::broker
