// Commands that name jobs: CANCEL, REDRIVE, REPLAY, and retention.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Enqueued;
using protocol::ItemStatus;
using protocol::NewJob;

constexpr Duration kDay{24L * 3600 * 1000};

EngineOptions window_of(std::size_t jobs_max) {
  EngineOptions options;
  options.limits.window_jobs_max = jobs_max;
  return options;
}

NewJob delayed(Duration delay) {
  NewJob made = job();
  made.delay = delay;
  return made;
}

// ---- CANCEL
// --------------------------------------------------------------------------------------

TEST(EngineCancel, AReadyJobNeverRuns) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(job());

  EXPECT_EQ(producer.cancel({id}), std::vector{ItemStatus::ok});

  EXPECT_EQ(broker.state(id), JobState::cancelled);
  EXPECT_TRUE(broker.worker().take_jobs().empty());
}

TEST(EngineCancel, AScheduledJobNeverRuns) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(delayed(Duration{1000}));

  producer.cancel({id});
  broker.advance(Duration{2000});

  EXPECT_EQ(broker.state(id), JobState::cancelled);
  EXPECT_TRUE(worker.take_jobs().empty());
}

TEST(EngineCancel, ALeasedJobIsRevokedAndItsLateAckIsTold) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();

  producer.cancel({id});

  const auto revoked = worker.take<protocol::Cancel>();
  ASSERT_EQ(revoked.size(), 1U);
  EXPECT_EQ(revoked[0].leases, std::vector{delivery.lease});
  EXPECT_EQ(revoked[0].reason, "cancelled");
  EXPECT_EQ(worker.ack(delivery), ItemStatus::cancelled);
  EXPECT_EQ(broker.state(id), JobState::cancelled);
  EXPECT_EQ(broker.status(id).attempts, 0);
}

TEST(EngineCancel, AnAckThatCameFirstWins) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();

  worker.send(protocol::Ack{{{delivery.lease, id, {}, {}, Duration{-1}, {}}}});

  EXPECT_EQ(producer.cancel({id}), std::vector{ItemStatus::refused});
  EXPECT_EQ(broker.state(id), JobState::done);
}

TEST(EngineCancel, EachJobOfACommandHasItsAnswer) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 1});
  const auto all = producer.enqueue(jobs(2));
  worker.ack(worker.take_job());
  const JobId second{all.first.value + 1};

  EXPECT_EQ(producer.cancel({all.first, JobId{99}, second, second}),
            (std::vector{ItemStatus::refused, ItemStatus::not_found, ItemStatus::ok,
                         ItemStatus::refused}));
}

TEST(EngineCancel, AJobThatIsOnlyOnDiskIsCancelledToo) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(100));

  EXPECT_EQ(producer.cancel({JobId{90}}), std::vector{ItemStatus::ok});

  EXPECT_EQ(broker.state(JobId{90}), JobState::cancelled);
  EXPECT_LE(broker.engine().jobs_in_memory(), 8U);
  broker.audit();
}

TEST(EngineCancel, TwoCommandsForAJobOnDiskAreAnsweredByWhatHappened) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(100));
  broker.set_commit_turns(2);

  const auto first = producer.send(protocol::Cancel{{JobId{90}}, {}, {}});
  broker.turn();
  const auto second = producer.send(protocol::Cancel{{JobId{90}}, {}, {}});
  broker.run();

  const auto status = [&](std::uint64_t correlation) {
    return std::get<protocol::Outcomes>(producer.answer(correlation).value()).statuses.at(0);
  };
  EXPECT_EQ(status(first), ItemStatus::ok);
  EXPECT_EQ(status(second), ItemStatus::refused);
}

TEST(EngineCancel, AJobThatLeavesMemoryWhileAnotherIsLoadedIsFoundAgain) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(100));
  broker.set_commit_turns(2);
  const JobId tail{broker.engine().jobs_in_memory()};

  const auto command = producer.send(protocol::Cancel{{tail, JobId{90}}, {}, {}});
  broker.turn();
  NewJob urgent = job();
  urgent.priority = 0;
  producer.send(producer.enqueue_message(std::vector<NewJob>(8, urgent)));
  broker.run();

  EXPECT_EQ(std::get<protocol::Outcomes>(producer.answer(command).value()).statuses,
            (std::vector{ItemStatus::ok, ItemStatus::ok}));
  EXPECT_EQ(broker.state(tail), JobState::cancelled);
}

TEST(EngineCancel, ARaceWithTheLoadThatBringsTheJobIsDecidedOnce) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(12));
  TestPeer& worker = broker.worker({.credit = 0});
  broker.set_commit_turns(2);

  producer.send(protocol::Cancel{{JobId{9}, JobId{10}}, {}, {}});
  worker.send(protocol::Credit{{{"io", 12}}});
  broker.run();

  std::size_t ended = 0;
  for (const Delivery& delivery : worker.take_jobs())
    if (worker.ack(delivery) == ItemStatus::ok) ++ended;
  EXPECT_EQ(ended, 10U);
  EXPECT_EQ(broker.count(JobState::cancelled), 2U);
  broker.audit();
}

// ---- REDRIVE
// -------------------------------------------------------------------------------------

TEST(EngineRedrive, ADeadJobRunsAgainWithFreshAttempts) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 100});
  NewJob twice = job();
  twice.max_attempts = 2;
  const JobId id = producer.enqueue_one(twice);
  worker.nack(worker.take_job());
  broker.advance(Duration{1000});
  worker.nack(worker.take_job());
  ASSERT_EQ(broker.state(id), JobState::dead);

  EXPECT_EQ(producer.redrive({id}), std::vector{ItemStatus::ok});

  EXPECT_EQ(broker.status(id).error, "");
  EXPECT_FALSE(broker.status(id).finish_seq);
  worker.nack(worker.take_job());
  EXPECT_EQ(broker.state(id), JobState::scheduled);
  EXPECT_LE(broker.status(id).run_at - broker.now().utc, Duration{1000});
  broker.advance(Duration{1000});
  worker.nack(worker.take_job());
  EXPECT_EQ(broker.state(id), JobState::dead);
  EXPECT_EQ(broker.status(id).attempts, 4);
  EXPECT_EQ(broker.disk().attempts.size(), 4U);
  broker.audit();
}

TEST(EngineRedrive, ACancelledJobCanBeMadeReadyAgain) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(job());
  producer.cancel({id});

  EXPECT_EQ(producer.redrive({id}), std::vector{ItemStatus::ok});

  EXPECT_EQ(broker.worker().take_job().job, id);
}

TEST(EngineRedrive, JobsThatAreNotDeadAreRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 2});
  const auto all = producer.enqueue(jobs(3));
  worker.ack(worker.take_jobs().at(0));

  EXPECT_EQ(producer.redrive({all.first, JobId{2}, JobId{3}, JobId{99}}),
            (std::vector{ItemStatus::refused, ItemStatus::refused, ItemStatus::refused,
                         ItemStatus::not_found}));
}

TEST(EngineRedrive, TheBatchIsOpenAgain) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const auto all = producer.enqueue(jobs(2));
  for (const Delivery& delivery : worker.take_jobs()) worker.reject(delivery);
  EXPECT_EQ(broker.disk().batches.at(all.batch).dead, 2U);

  producer.redrive({all.first});
  worker.ack(worker.take_job());

  const BatchRow& batch = broker.disk().batches.at(all.batch);
  EXPECT_EQ(batch.dead, 1U);
  EXPECT_EQ(batch.done, 1U);
  EXPECT_EQ(batch.open, 0U);
}

TEST(EngineRedrive, TheResultOfACancelledRunIsNotKept) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  worker.reject(worker.take_job());

  producer.redrive({id});

  EXPECT_EQ(broker.disk().jobs.at(id).result, Payload{});
}

TEST(EngineRedrive, CountersOfABatchSurviveCommandsThatOverlap) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 2});
  const auto all = producer.enqueue(jobs(2));
  for (const Delivery& delivery : worker.take_jobs()) worker.reject(delivery);
  broker.set_commit_turns(2);

  producer.send(protocol::Redrive{{all.first}});
  broker.turn();
  producer.send(protocol::Redrive{{JobId{2}}});
  broker.turn();
  producer.send(protocol::Cancel{{all.first}, {}, {}});
  broker.run();

  broker.audit();
  EXPECT_EQ(broker.state(all.first), JobState::cancelled);
  EXPECT_EQ(broker.state(JobId{2}), JobState::ready);
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
