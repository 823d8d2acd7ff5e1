// A run whose process was lost while its worker lived on: NACK with `crashed`.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;
using protocol::NewJob;

constexpr const char* kSignal = "crash: signal 11 (SIGSEGV)";

NewJob with_crashes(int crashes_max) {
  NewJob made = job();
  made.crashes_max = crashes_max;
  made.max_attempts = 1;
  return made;
}

struct OneRun {
  explicit OneRun(NewJob what = job()) {
    id = broker.producer().enqueue_one(std::move(what));
    delivery = worker.take_job();
  }
  ItemStatus crash(std::string error = kSignal) {
    protocol::Outcome item;
    item.lease = delivery.lease;
    item.job = id;
    item.error = std::move(error);
    item.elapsed = Duration{20};
    item.crashed = true;
    return worker.settle<protocol::Nack>({item}).at(0);
  }
  [[nodiscard]] const JobStatus& status() const { return broker.status(id); }

  EngineHarness broker;
  TestPeer& worker = broker.worker();
  JobId id;
  Delivery delivery;
};

TEST(EngineCrash, ItIsChargedAsACrashAndGivenBackAtOnce) {
  OneRun one(with_crashes(3));

  EXPECT_EQ(one.crash(), ItemStatus::ok);

  EXPECT_EQ(one.status().crashes, 1);
  EXPECT_EQ(one.status().attempts, 0);
  const AttemptRow& attempt = one.broker.disk().attempts.at({one.id, 1});
  EXPECT_EQ(attempt.outcome, "crash");
  EXPECT_EQ(attempt.error, kSignal);
  EXPECT_EQ(attempt.finished_at - attempt.started_at, Duration{20});
  const Delivery again = one.worker.take_job();
  EXPECT_EQ(again.job, one.id);
  EXPECT_EQ(again.deliveries, 2);
}

TEST(EngineCrash, ARepetitionIsADuplicate) {
  OneRun one;
  one.worker.credit(0);
  EXPECT_EQ(one.crash(), ItemStatus::ok);

  EXPECT_EQ(one.crash(), ItemStatus::duplicate);
  EXPECT_EQ(one.worker.ack(one.delivery), ItemStatus::duplicate);
  EXPECT_EQ(one.status().crashes, 1);
}

TEST(EngineCrash, ARepetitionIsADuplicateAlsoAfterARestart) {
  OneRun one;
  one.broker.producer().pause();
  one.crash();
  EXPECT_EQ(one.status().state, JobState::ready);

  one.broker.restart();
  one.worker.hello();
  one.worker.offer({});
  one.worker.resume({});

  EXPECT_EQ(one.crash(), ItemStatus::duplicate);
  EXPECT_EQ(one.status().crashes, 1);
}

TEST(EngineCrash, AJobThatCrashesTooOftenIsPoison) {
  OneRun one(with_crashes(2));
  one.crash();
  one.delivery = one.worker.take_job();

  EXPECT_EQ(one.crash(), ItemStatus::ok);

  EXPECT_EQ(one.status().state, JobState::dead);
  EXPECT_EQ(one.status().error, std::string("poison: crashed 2 times; last: ") + kSignal);
  EXPECT_EQ(one.status().attempts, 0);
  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 2}).error, kSignal);
  one.broker.audit();
}

TEST(EngineCrash, LostWorkersAndLostProcessesCountTogether) {
  OneRun one(with_crashes(2));
  one.worker.start(one.delivery);
  one.worker.disconnect();
  one.broker.advance(Duration{3500});
  EXPECT_EQ(one.status().crashes, 1);
  TestPeer& next = one.broker.worker();
  const Delivery again = next.take_job();

  protocol::Outcome item;
  item.lease = again.lease;
  item.job = one.id;
  item.error = kSignal;
  item.crashed = true;
  next.settle<protocol::Nack>({item});

  EXPECT_EQ(one.status().state, JobState::dead);
}

TEST(EngineCrash, ARedriveCountsFromNowOn) {
  OneRun one(with_crashes(1));
  one.crash();
  ASSERT_EQ(one.status().state, JobState::dead);

  one.broker.producer().redrive({one.id});
  one.delivery = one.worker.take_job();
  one.worker.ack(one.delivery);

  EXPECT_EQ(one.status().state, JobState::done);
  EXPECT_EQ(one.status().crashes, 1);
}

TEST(EngineCrash, WhatIsSaidOfItIsCut) {
  OneRun one;

  one.crash(std::string(10'000, 'x'));
  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 1}).error.size(), Limits{}.error_bytes_max);

  OneRun poison(with_crashes(1));
  poison.crash(std::string(10'000, 'x'));
  EXPECT_EQ(poison.status().error.size(), Limits{}.error_bytes_max);
}

TEST(EngineCrash, WithoutATextItSaysWhatHappened) {
  OneRun one;

  one.crash("");

  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 1}).error,
            "crash: the process of the run was lost");
}

TEST(EngineCrash, OnlyANackTellsOfIt) {
  OneRun one;
  protocol::Outcome item;
  item.lease = one.delivery.lease;
  item.job = one.id;
  item.crashed = true;

  one.worker.settle<protocol::Release>({item});

  EXPECT_EQ(one.status().crashes, 0);
}

}  // namespace
}  // namespace millrace::broker
