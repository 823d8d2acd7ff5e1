// Commands that name jobs: CANCEL, REDRIVE, REPLAY, and retention.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;
using protocol::NewJob;

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

}  // namespace
}  // namespace millrace::broker
