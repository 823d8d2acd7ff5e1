// When a failed job runs again, and what the two clocks have to do with it.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::NewJob;

NewJob patient(Duration backoff = {}) {
  NewJob made = job();
  made.max_attempts = 100;
  made.backoff = backoff;
  return made;
}

/// The waits after failures 1 … n of one job.
std::vector<Duration> waits(Duration backoff, int failures, std::uint64_t seed = 1) {
  EngineOptions options;
  options.seed = seed;
  EngineHarness broker(options);
  TestPeer& worker = broker.worker({.credit = 1000});
  const JobId id = broker.producer().enqueue_one(patient(backoff));
  std::vector<Duration> all;
  for (int i = 0; i < failures; ++i) {
    worker.nack(worker.take_job());
    all.push_back(broker.status(id).run_at - broker.now().utc);
    broker.stall(all.back());
  }
  return all;
}

TEST(EngineBackoff, ItDoublesFromOneSecondToFiveMinutesJitteredToTheUpperHalf) {
  const auto all = waits({}, 14);

  for (std::size_t i = 0; i < all.size(); ++i) {
    const Duration full = std::min(Duration{1000} * (std::int64_t{1} << i), kBackoffMax);
    EXPECT_GE(all[i], full / 2) << "failure " << i + 1;
    EXPECT_LE(all[i], full) << "failure " << i + 1;
  }
}

TEST(EngineBackoff, TheFirstDelayCanBeChosen) {
  const auto all = waits(Duration{200}, 3);

  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_GE(all[i], Duration{100} * (1 << i));
    EXPECT_LE(all[i], Duration{200} * (1 << i));
  }
}

TEST(EngineBackoff, TheJitterComesFromTheSeedAlone) {
  EXPECT_EQ(waits({}, 8, 5), waits({}, 8, 5));
  EXPECT_NE(waits({}, 8, 5), waits({}, 8, 6));
}

TEST(EngineBackoff, ManyFailuresDoNotOverflow) {
  const auto all = waits({}, 80);

  EXPECT_GE(all.back(), kBackoffMax / 2);
  EXPECT_LE(all.back(), kBackoffMax);
}

TEST(EngineBackoff, TheHandlersOwnDelayGoesFirst) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const JobId id = broker.producer().enqueue_one(patient());

  worker.nack(worker.take_job(), "later", Duration{7777});
  EXPECT_EQ(broker.status(id).run_at - broker.now().utc, Duration{7777});

  broker.advance(Duration{7776});
  EXPECT_TRUE(worker.take_jobs().empty());
  broker.advance(Duration{1});
  worker.nack(worker.take_job(), "now", Duration{0});
  broker.advance(Duration{1});
  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineBackoff, AHandlersDelayIsBounded) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const JobId id = broker.producer().enqueue_one(patient());

  worker.nack(worker.take_job(), "later", Duration::max());

  EXPECT_EQ(broker.status(id).run_at - broker.now().utc, kDurationMax);
}

// ---- delayed jobs
// --------------------------------------------------------------------------------

TEST(EngineDelay, ADelayedJobRunsWhenItsTimeHasCome) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob later = job();
  later.delay = Duration{5000};
  const JobId id = broker.producer().enqueue_one(later);
  EXPECT_EQ(broker.state(id), JobState::scheduled);

  broker.advance(Duration{4999});
  EXPECT_TRUE(worker.take_jobs().empty());
  broker.advance(Duration{1});

  EXPECT_EQ(worker.take_job().job, id);
}

TEST(EngineDelay, AJobForATimeInThePastRunsAtOnce) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob past = job();
  past.run_at = broker.now().utc - Duration{1};

  broker.producer().enqueue({past});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineDelay, AJobForATimeOfDayRunsThen) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob at = job();
  at.run_at = broker.now().utc + Duration{3000};
  broker.producer().enqueue({at});

  broker.advance(Duration{2999});
  EXPECT_TRUE(worker.take_jobs().empty());
  broker.advance(Duration{1});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineDelay, ADelaySurvivesARestart) {
  EngineHarness broker;
  NewJob later = job();
  later.delay = Duration{5000};
  broker.producer().enqueue({later});
  broker.advance(Duration{2000});

  broker.restart();
  TestPeer& worker = broker.worker();

  broker.advance(Duration{2999});
  EXPECT_TRUE(worker.take_jobs().empty());
  broker.advance(Duration{1});
  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineDelay, WhatCameDueWhileTheBrokerWasDownRunsAfterTheRestart) {
  EngineHarness broker;
  NewJob later = job();
  later.delay = Duration{5000};
  broker.producer().enqueue({later});
  broker.stall(Duration{60'000});

  broker.restart();

  EXPECT_EQ(broker.worker().take_jobs().size(), 1U);
}

// ---- the wall clock is set
// -----------------------------------------------------------------------

TEST(EngineWallClock, AJumpExpiresNothing) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob timed = job();
  timed.timeout = Duration{60'000};
  const JobId id = broker.producer().enqueue_one(timed);
  const Delivery delivery = worker.take_job();
  worker.start(delivery);

  broker.set_wall_clock(Duration{3'600'000});
  broker.advance(Duration{2000});
  broker.set_wall_clock(Duration{-7'200'000});
  broker.advance(Duration{2000});

  EXPECT_EQ(broker.state(id), JobState::leased);
  EXPECT_EQ(worker.ack(delivery), protocol::ItemStatus::ok);
}

TEST(EngineWallClock, ADelayRunsOnAsItWas) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob later = job();
  later.delay = Duration{5000};
  broker.producer().enqueue({later});

  broker.set_wall_clock(Duration{3'600'000});
  broker.advance(Duration{4000});
  EXPECT_TRUE(worker.take_jobs().empty());
  broker.set_wall_clock(Duration{-7'200'000});
  broker.advance(Duration{1000});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineWallClock, ATimeOfDayFollowsTheClockForwards) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob at = job();
  at.run_at = broker.now().utc + Duration{3'600'000};
  broker.producer().enqueue({at});

  broker.set_wall_clock(Duration{3'600'000});
  broker.advance(Duration{1});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineWallClock, ATimeOfDayFollowsTheClockBackwards) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob at = job();
  at.run_at = broker.now().utc + Duration{5000};
  broker.producer().enqueue({at});

  broker.set_wall_clock(Duration{-10'000});
  broker.advance(Duration{14'999});
  EXPECT_TRUE(worker.take_jobs().empty());
  broker.advance(Duration{1});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineWallClock, ATimeOfDayFollowsAClockThatIsSetInSmallSteps) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob at = job();
  at.run_at = broker.now().utc + Duration{10'000};
  broker.producer().enqueue({at});

  for (int i = 0; i < 10; ++i) {
    broker.set_wall_clock(Duration{600});
    broker.advance(Duration{100});
  }
  broker.advance(Duration{3500});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineWallClock, TheBackOffOfAJobForATimeOfDayRunsOnAsItWas) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob at = patient();
  at.run_at = broker.now().utc + Duration{1000};
  broker.producer().enqueue({at});
  broker.advance(Duration{1000});
  worker.nack(worker.take_job(), "later", Duration{5000});

  broker.set_wall_clock(Duration{-3'600'000});
  broker.advance(Duration{5000});

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

}  // namespace
}  // namespace millrace::broker
