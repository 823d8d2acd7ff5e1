// REPLAY, and retention.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Enqueued;
using protocol::NewJob;

constexpr Duration kDay{24L * 3600 * 1000};

NewJob delayed(Duration delay) {
  NewJob made = job();
  made.delay = delay;
  return made;
}

// ---- REPLAY
// --------------------------------------------------------------------------------------

/// Two jobs, both ended: 1 is done, 2 is dead.
struct Ended {
  Ended() {
    producer.enqueue({job("echo", "one"), job("echo", "two")});
    const auto taken = worker.take_jobs();
    worker.ack(taken.at(0));
    worker.reject(taken.at(1));
  }
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
};

TEST(EngineReplay, EndedJobsAreEnqueuedAgainAndNameTheirOrigin) {
  Ended ended;

  const auto answer =
      ended.producer.ask<Enqueued>(ended.producer.replay_message({JobId{2}, JobId{1}}));

  EXPECT_EQ(answer.first, JobId{3});
  EXPECT_EQ(answer.count, 2U);
  EXPECT_EQ(answer.replay_of, (std::vector{JobId{2}, JobId{1}}));
  const auto taken = ended.worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].payload.bytes, "two");
  EXPECT_EQ(ended.broker.disk().jobs.at(JobId{3}).record.spec.replay_of, JobId{2});
  EXPECT_EQ(ended.broker.state(JobId{1}), JobState::done);
  ended.broker.audit();
}

TEST(EngineReplay, JobsThatHaveNotEndedAreLeftOut) {
  Ended ended;
  const JobId open = ended.producer.enqueue_one(delayed(Duration{1000}));

  const auto answer = ended.producer.ask<Enqueued>(
      ended.producer.replay_message({open, JobId{1}, JobId{99}, JobId{1}}));

  EXPECT_EQ(answer.replay_of, std::vector{JobId{1}});
  EXPECT_EQ(answer.count, 1U);
}

TEST(EngineReplay, NothingToReplayIsAnEmptyAnswer) {
  Ended ended;

  const auto answer = ended.producer.ask<Enqueued>(ended.producer.replay_message({JobId{99}}));

  EXPECT_EQ(answer.count, 0U);
  EXPECT_FALSE(answer.first);
}

TEST(EngineReplay, ARepeatedRequestGetsTheSameAnswer) {
  Ended ended;
  const auto message = ended.producer.replay_message({JobId{1}, JobId{2}});
  const auto first = ended.producer.ask<Enqueued>(message);

  const auto again = ended.producer.ask<Enqueued>(message);
  ended.broker.restart();
  ended.producer.hello();
  const auto later = ended.producer.ask<Enqueued>(message);

  EXPECT_EQ(again.first, first.first);
  EXPECT_EQ(later.first, first.first);
  EXPECT_EQ(later.replay_of, first.replay_of);
  EXPECT_EQ(ended.broker.disk().jobs.size(), 4U);
}

TEST(EngineReplay, AResendWhileTheFirstIsUnderWayIsAnsweredOnce) {
  Ended ended;
  const auto message = ended.producer.replay_message({JobId{1}});

  const auto first = ended.producer.send(message);
  const auto second = ended.producer.send(message);
  ended.broker.run();

  EXPECT_EQ(std::get<Enqueued>(ended.producer.answer(first).value()).first, JobId{3});
  EXPECT_EQ(std::get<Enqueued>(ended.producer.answer(second).value()).first, JobId{3});
  EXPECT_EQ(ended.broker.disk().jobs.size(), 3U);
}

TEST(EngineReplay, ARefusedRequestMayBeTriedAgainAfterNewerOnes) {
  Ended ended;
  ended.producer.enqueue({delayed(Duration{1000})});
  ended.producer.close();
  const auto message = ended.producer.replay_message({JobId{1}});
  EXPECT_EQ(ended.producer.refusal(message), "queue_closed");
  ended.producer.enqueue(jobs(1), {.queue = "other"});
  ended.producer.open();

  EXPECT_EQ(ended.producer.ask<Enqueued>(message).replay_of, std::vector{JobId{1}});
}

TEST(EngineReplay, TheLastPageOfASealedBatchMayBeSentAgain) {
  Ended ended;
  const auto first =
      ended.producer.ask<Enqueued>(ended.producer.replay_message({JobId{1}}, {}, false));
  const auto last = ended.producer.replay_message({JobId{2}}, first.batch, true);
  const auto answer = ended.producer.ask<Enqueued>(last);

  EXPECT_EQ(ended.producer.ask<Enqueued>(last).first, answer.first);
  EXPECT_TRUE(ended.broker.disk().batches.at(first.batch).sealed);
}

TEST(EngineReplay, AnEmptyPageSealsTheBatch) {
  Ended ended;
  const auto first =
      ended.producer.ask<Enqueued>(ended.producer.replay_message({JobId{1}}, {}, false));

  ended.producer.ask<Enqueued>(ended.producer.replay_message({}, first.batch, true));

  EXPECT_TRUE(ended.broker.disk().batches.at(first.batch).sealed);
  EXPECT_EQ(ended.producer.refusal(ended.producer.replay_message({}, {}, true)), "bad_request");
}

TEST(EngineReplay, AFullQueueIsNotFilledFurther) {
  EngineOptions options;
  options.limits.queue_jobs_max = 2;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(2));
  for (const Delivery& delivery : worker.take_jobs()) worker.ack(delivery);
  producer.enqueue({delayed(Duration{1000})});

  EXPECT_EQ(producer.refusal(producer.replay_message({JobId{1}, JobId{2}})), "queue_full");
  EXPECT_EQ(producer.refusal(producer.replay_message({JobId{1}})), "");
}

TEST(EngineReplay, LargePayloadsAreCopied) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const std::string large(20'000, 'x');
  producer.enqueue({job("echo", large)});
  worker.ack(worker.take_job());

  producer.ask<Enqueued>(producer.replay_message({JobId{1}}));

  EXPECT_EQ(worker.take_job().payload.bytes, large);
}

TEST(EngineReplay, AReplayOfATimedJobRunsAtOnce) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  NewJob at = job();
  at.run_at = broker.now().utc + Duration{1000};
  producer.enqueue({at});
  broker.advance(Duration{1000});
  worker.ack(worker.take_job());

  producer.ask<Enqueued>(producer.replay_message({JobId{1}}));

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

// ---- retention
// -----------------------------------------------------------------------------------

TEST(EnginePrune, EndedJobsAreDeletedAfterTheRetention) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(3));
  const auto taken = worker.take_jobs();
  worker.ack(taken.at(0));
  worker.reject(taken.at(1));

  broker.stall(6 * kDay);
  broker.advance(Duration{61'000});
  EXPECT_EQ(broker.disk().jobs.size(), 3U);
  broker.stall(kDay);
  broker.advance(Duration{61'000});

  EXPECT_EQ(broker.disk().jobs.size(), 1U);
  EXPECT_TRUE(broker.disk().attempts.empty());
  const auto info = producer.queue_info();
  EXPECT_EQ(info.counts.at(static_cast<std::size_t>(JobState::done)), 0U);
  EXPECT_EQ(info.counts.at(static_cast<std::size_t>(JobState::dead)), 0U);
  EXPECT_EQ(info.counts.at(static_cast<std::size_t>(JobState::leased)), 1U);
}

TEST(EnginePrune, AnotherJobEndsWithTheRightCountersAfterwards) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue(jobs(1));
  worker.ack(worker.take_job());
  broker.stall(8 * kDay);
  broker.advance(Duration{61'000});

  producer.enqueue(jobs(1));
  worker.ack(worker.take_job());

  EXPECT_EQ(broker.count(JobState::done), 1U);
  EXPECT_EQ(producer.queue_info().counts.at(static_cast<std::size_t>(JobState::done)), 1U);
}

TEST(EnginePrune, ManyJobsGoInSmallSteps) {
  EngineOptions options;
  options.limits.enqueue_jobs_max = 3000;
  options.limits.enqueue_bytes_max = kMiB;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(2600));
  std::vector<JobId> all;
  for (std::uint64_t id = 1; id <= 2600; ++id) all.emplace_back(id);
  producer.cancel(all);
  const std::uint64_t before = broker.loads();

  broker.stall(8 * kDay);
  broker.advance(Duration{61'000});

  EXPECT_TRUE(broker.disk().jobs.empty());
  EXPECT_GE(broker.loads() - before, 6U);
  EXPECT_EQ(producer.queue_info().counts.at(static_cast<std::size_t>(JobState::cancelled)), 0U);
}

TEST(EnginePrune, ARetentionOfZeroKeepsEverything) {
  EngineOptions options;
  options.retention = Duration{0};
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  producer.cancel({producer.enqueue_one(job())});

  broker.stall(1000 * kDay);
  broker.advance(Duration{61'000});

  EXPECT_EQ(broker.disk().jobs.size(), 1U);
}

TEST(EnginePrune, RequestsAreForgottenAfterADay) {
  EngineHarness broker;
  broker.producer().enqueue(jobs(1));

  broker.stall(kDay - Duration{120'000});
  broker.advance(Duration{61'000});
  EXPECT_EQ(broker.disk().requests.size(), 1U);
  broker.advance(Duration{122'000});

  EXPECT_TRUE(broker.disk().requests.empty());
}

}  // namespace
}  // namespace millrace::broker
