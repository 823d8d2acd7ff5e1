// How runs end, what they are charged, and who hears of it.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;
using protocol::NewJob;

NewJob with_attempts(int max_attempts) {
  NewJob made = job();
  made.max_attempts = max_attempts;
  return made;
}

NewJob with_timeout(Duration timeout, int max_attempts = 3) {
  NewJob made = with_attempts(max_attempts);
  made.timeout = timeout;
  return made;
}

/// One worker with one job of its own.
struct OneJob {
  explicit OneJob(NewJob what = job()) {
    id = broker.producer().enqueue_one(std::move(what));
    delivery = worker.take_job();
  }
  [[nodiscard]] const JobStatus& status() const { return broker.status(id); }

  EngineHarness broker;
  TestPeer& worker = broker.worker();
  JobId id;
  Delivery delivery;
};

TEST(EngineLease, AnAckEndsTheJobWithItsResult) {
  OneJob one;

  EXPECT_EQ(one.worker.ack(one.delivery, "42"), ItemStatus::ok);

  EXPECT_EQ(one.status().state, JobState::done);
  EXPECT_EQ(one.status().attempts, 1);
  EXPECT_EQ(one.status().deliveries, 1);
  EXPECT_EQ(one.status().crashes, 0);
  EXPECT_EQ(one.status().finish_seq, FinishSeq{1});
  EXPECT_NE(one.status().started_at, Time{});
  EXPECT_EQ(one.broker.disk().jobs.at(one.id).result, Payload::text("42"));
  EXPECT_TRUE(one.broker.disk().attempts.empty());
}

TEST(EngineLease, ASecondAckIsADuplicate) {
  OneJob one;
  one.worker.ack(one.delivery, "1");

  EXPECT_EQ(one.worker.ack(one.delivery, "2"), ItemStatus::duplicate);

  EXPECT_EQ(one.broker.disk().jobs.at(one.id).result, Payload::text("1"));
  EXPECT_EQ(one.status().attempts, 1);
}

TEST(EngineLease, AnAckTwiceInOneMessageCountsOnce) {
  OneJob one;
  const protocol::Outcome item{one.delivery.lease, one.id, Payload::text("1"), {},
                               Duration{-1},       {}};

  EXPECT_EQ(one.worker.settle<protocol::Ack>({item, item}),
            (std::vector{ItemStatus::ok, ItemStatus::duplicate}));
  EXPECT_EQ(one.status().attempts, 1);
}

TEST(EngineLease, AnOutcomeThatNamesNoJobOrAWrongOneCountsForItsLease) {
  for (const bool wrong : {false, true}) {
    OneJob one;
    const JobId other = one.broker.producer().enqueue_one(job());
    one.delivery.job = wrong ? other : JobId{};

    EXPECT_EQ(one.worker.ack(one.delivery, "1"), ItemStatus::ok);

    EXPECT_EQ(one.status().state, JobState::done);
    EXPECT_NE(one.broker.state(other), JobState::done);
    EXPECT_EQ(one.worker.ack(one.delivery, "1"), ItemStatus::duplicate);
  }
}

TEST(EngineLease, ALeaseOfAnotherWorkerIsStale) {
  OneJob one;
  TestPeer& other = one.broker.worker({.credit = 0});

  EXPECT_EQ(other.ack(one.delivery), ItemStatus::stale);
  EXPECT_EQ(other.nack(one.delivery), ItemStatus::stale);
  EXPECT_EQ(other.release(one.delivery), ItemStatus::stale);
  EXPECT_EQ(one.status().state, JobState::leased);
}

TEST(EngineLease, ALeaseThatNeverWasIsStale) {
  OneJob one;
  Delivery invented = one.delivery;
  invented.lease = LeaseId{one.delivery.lease.value + 1};

  EXPECT_EQ(one.worker.ack(invented), ItemStatus::stale);
  EXPECT_EQ(one.status().state, JobState::leased);
}

TEST(EngineLease, ANackIsTriedAgainAndCharged) {
  OneJob one;

  EXPECT_EQ(one.worker.nack(one.delivery, "refused"), ItemStatus::ok);

  EXPECT_EQ(one.status().state, JobState::scheduled);
  EXPECT_EQ(one.status().attempts, 1);
  EXPECT_EQ(one.status().error, "refused");
  const AttemptRow& attempt = one.broker.disk().attempts.at({one.id, 1});
  EXPECT_EQ(attempt.outcome, "nack");
  EXPECT_EQ(attempt.error, "refused");
  one.broker.advance(Duration{1100});
  const Delivery again = one.worker.take_job();
  EXPECT_EQ(again.attempt, 2);
  EXPECT_EQ(again.deliveries, 2);
  EXPECT_GT(again.lease, one.delivery.lease);
}

TEST(EngineLease, ANackWhoseReplyWasLostIsADuplicate) {
  OneJob one;
  one.worker.nack(one.delivery);

  EXPECT_EQ(one.worker.nack(one.delivery), ItemStatus::duplicate);
  EXPECT_EQ(one.status().attempts, 1);
}

TEST(EngineLease, WhenAttemptsAreUsedUpTheJobIsDead) {
  OneJob one(with_attempts(2));
  one.worker.nack(one.delivery);
  one.broker.advance(Duration{1100});

  one.worker.nack(one.worker.take_job(), "again");

  EXPECT_EQ(one.status().state, JobState::dead);
  EXPECT_EQ(one.status().attempts, 2);
  EXPECT_EQ(one.status().error, "again");
  EXPECT_EQ(one.broker.disk().attempts.size(), 2U);
  one.broker.advance(Duration{600'000});
  EXPECT_TRUE(one.worker.take_jobs().empty());
}

TEST(EngineLease, ARejectIsNeverTriedAgain) {
  OneJob one(with_attempts(10));

  EXPECT_EQ(one.worker.reject(one.delivery, "bad_payload"), ItemStatus::ok);

  EXPECT_EQ(one.status().state, JobState::dead);
  EXPECT_EQ(one.status().attempts, 1);
  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 1}).outcome, "reject");
}

TEST(EngineLease, AReleaseChargesNothing) {
  OneJob one(with_attempts(1));

  EXPECT_EQ(one.worker.release(one.delivery), ItemStatus::ok);

  const Delivery again = one.worker.take_job();
  EXPECT_EQ(again.attempt, 1);
  EXPECT_EQ(again.deliveries, 2);
  EXPECT_EQ(one.status().attempts, 0);
  EXPECT_TRUE(one.broker.disk().attempts.empty());
  EXPECT_EQ(one.worker.ack(one.delivery), ItemStatus::stale);
  EXPECT_EQ(one.worker.ack(again), ItemStatus::ok);
}

TEST(EngineLease, AResultOverTheLimitIsARejection) {
  OneJob one;

  EXPECT_EQ(one.worker.ack(one.delivery, std::string(256 * kKiB + 1, 'x')), ItemStatus::ok);

  EXPECT_EQ(one.status().state, JobState::dead);
  EXPECT_TRUE(one.status().error.starts_with("result_too_large"));
  EXPECT_EQ(one.broker.disk().jobs.at(one.id).result, Payload{});
}

TEST(EngineLease, AResultOfTheLimitIsKept) {
  OneJob one;

  one.worker.ack(one.delivery, std::string(256 * kKiB, 'x'));

  EXPECT_EQ(one.status().state, JobState::done);
}

TEST(EngineLease, ALongErrorIsCutBetweenCharacters) {
  OneJob one;
  std::string text(4 * kKiB - 1, 'x');
  text += "\xc3\xa9 and more";

  one.worker.nack(one.delivery, text);

  EXPECT_EQ(one.status().error, std::string(4 * kKiB - 1, 'x'));
}

TEST(EngineLease, AnErrorOfTheLimitIsKeptWhole) {
  OneJob one;
  std::string text(4 * kKiB - 2, 'x');
  text += "\xc3\xa9";

  one.worker.nack(one.delivery, text);

  EXPECT_EQ(one.status().error, text);
}

TEST(EngineLease, ASuccessForgetsTheErrorOfEarlierTries) {
  OneJob one;
  one.worker.nack(one.delivery, "refused");
  one.broker.advance(Duration{1100});

  one.worker.ack(one.worker.take_job());

  EXPECT_EQ(one.status().error, "");
  EXPECT_EQ(one.status().attempts, 2);
  EXPECT_EQ(one.broker.disk().attempts.size(), 1U);
}

// ---- STARTED
// -------------------------------------------------------------------------------------

TEST(EngineStarted, AStartIsWrittenOnlyWhenTheRunHasLastedASecond) {
  OneJob one;
  const Time started = one.broker.now().utc;
  one.worker.start(one.delivery);
  one.broker.forget_writes();

  one.broker.advance(Duration{900});
  EXPECT_TRUE(one.broker.writes().empty());

  one.broker.advance(Duration{100});
  ASSERT_EQ(one.broker.writes().size(), 1U);
  EXPECT_EQ(one.status().started_at, started);
  EXPECT_EQ(one.status().state, JobState::leased);
}

TEST(EngineStarted, AShortRunWritesItsStartWithItsEnd) {
  OneJob one;
  const Time started = one.broker.now().utc;
  one.worker.start(one.delivery);
  one.broker.advance(Duration{300});
  one.broker.forget_writes();

  one.worker.ack(one.delivery);

  EXPECT_EQ(one.broker.writes().size(), 1U);
  EXPECT_EQ(one.status().started_at, started);
  EXPECT_EQ(one.status().finished_at, started + Duration{300});
}

TEST(EngineStarted, AStartThatNeverCameIsToldByTheElapsedTime) {
  OneJob one;
  one.broker.advance(Duration{800});

  one.worker.settle<protocol::Ack>(
      {{one.delivery.lease, one.id, {}, {}, Duration{-1}, Duration{500}}});

  EXPECT_EQ(one.status().finished_at - one.status().started_at, Duration{500});
}

TEST(EngineStarted, AStartOfALeaseThatIsGoneIsIgnored) {
  OneJob one;
  one.worker.ack(one.delivery);
  one.broker.forget_writes();

  one.worker.start(one.delivery);
  one.broker.advance(Duration{2000});

  EXPECT_TRUE(one.broker.writes().empty());
}

TEST(EngineStarted, NoRunEndsBeforeItStartedThoughTheWallClockWentBack) {
  OneJob one;
  one.worker.start(one.delivery);
  one.broker.set_wall_clock(Duration{-86'400'000});

  one.worker.ack(one.delivery);

  EXPECT_EQ(one.status().started_at, one.status().finished_at);
}

TEST(EngineStarted, NorDoesALostOne) {
  OneJob one;
  one.worker.start(one.delivery);
  one.broker.set_wall_clock(Duration{-86'400'000});

  one.worker.beats = false;
  one.broker.advance(Duration{3600});

  const AttemptRow& attempt = one.broker.disk().attempts.at({one.id, 1});
  EXPECT_EQ(attempt.outcome, "crash");
  EXPECT_LE(attempt.started_at, attempt.finished_at);
}

// ---- timeouts
// ------------------------------------------------------------------------------------

TEST(EngineTimeout, ARunThatGoesOnLongerIsEndedAndCharged) {
  OneJob one(with_timeout(Duration{2000}));
  one.worker.start(one.delivery);

  one.broker.advance(Duration{2900});
  EXPECT_EQ(one.status().state, JobState::leased);
  one.broker.advance(Duration{100});

  EXPECT_EQ(one.status().state, JobState::scheduled);
  EXPECT_EQ(one.status().attempts, 1);
  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 1}).outcome, "timeout");
  const auto revoked = one.worker.take<protocol::Cancel>();
  ASSERT_EQ(revoked.size(), 1U);
  EXPECT_EQ(revoked[0].leases, std::vector{one.delivery.lease});
  EXPECT_EQ(revoked[0].reason, "timeout");
}

TEST(EngineTimeout, ALateAckAfterATimeoutIsStale) {
  OneJob one(with_timeout(Duration{100}, 1));
  one.worker.start(one.delivery);
  one.broker.advance(Duration{1200});
  ASSERT_EQ(one.status().state, JobState::dead);

  EXPECT_EQ(one.worker.ack(one.delivery), ItemStatus::stale);
  EXPECT_EQ(one.status().state, JobState::dead);
}

TEST(EngineTimeout, AJobThatHasNotStartedDoesNotTimeOut) {
  OneJob one(with_timeout(Duration{100}));

  one.broker.advance(Duration{10'000});

  EXPECT_EQ(one.status().state, JobState::leased);
}

TEST(EngineTimeout, AnAckInTimeEndsTheClock) {
  OneJob one(with_timeout(Duration{2000}));
  one.worker.start(one.delivery);
  one.worker.ack(one.delivery);

  one.broker.advance(Duration{10'000});

  EXPECT_EQ(one.status().state, JobState::done);
}

TEST(EngineTimeout, AWorkerThatEndsTheRunItselfIsChargedATimeout) {
  OneJob one(with_timeout(Duration{500}));

  one.worker.settle<protocol::Nack>(
      {{one.delivery.lease, one.id, {}, "timeout", Duration{-1}, Duration{500}}});

  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 1}).outcome, "timeout");
}

TEST(EngineTimeout, ASecondRunHasItsOwnClock) {
  OneJob one(with_timeout(Duration{2000}));
  one.worker.start(one.delivery);
  one.worker.release(one.delivery);
  const Delivery second = one.worker.take_job();

  one.broker.advance(Duration{4000});
  EXPECT_EQ(one.status().state, JobState::leased);
  one.worker.start(second);
  one.broker.advance(Duration{3000});

  EXPECT_EQ(one.status().attempts, 1);
}

TEST(EngineTimeout, ARunResumedAfterARestartStillTimesOut) {
  OneJob one(with_timeout(Duration{5000}, 1));
  one.worker.start(one.delivery);
  one.broker.advance(Duration{2000});

  one.broker.restart();
  one.worker.hello();
  one.worker.offer({});
  const auto resumed = one.worker.resume({{one.delivery.lease, one.id, true, Duration{2000}}});
  ASSERT_EQ(resumed.keep.size(), 1U);
  one.broker.advance(Duration{3800});
  EXPECT_EQ(one.status().state, JobState::leased);
  one.broker.advance(Duration{300});

  EXPECT_EQ(one.status().state, JobState::dead);
}

// ---- poison
// --------------------------------------------------------------------------------------

/// The worker dies with the job running; another process of the same machine takes its place.
void crash_once(OneJob& one, TestPeer& worker, const Delivery& delivery) {
  worker.start(delivery);
  worker.beats = false;
  one.broker.advance(Duration{3600});
}

TEST(EnginePoison, AJobThatLosesItsWorkerThreeTimesIsDead) {
  OneJob one(with_attempts(10));
  crash_once(one, one.worker, one.delivery);
  EXPECT_EQ(one.status().state, JobState::ready);
  EXPECT_EQ(one.status().crashes, 1);
  EXPECT_EQ(one.status().attempts, 0);

  for (int i = 0; i < 2; ++i) {
    TestPeer& next = one.broker.worker();
    crash_once(one, next, next.take_job());
  }

  EXPECT_EQ(one.status().state, JobState::dead);
  EXPECT_EQ(one.status().crashes, 3);
  EXPECT_TRUE(one.status().error.starts_with("poison"));
  EXPECT_EQ(one.broker.disk().attempts.size(), 3U);
  EXPECT_EQ(one.broker.disk().attempts.at({one.id, 2}).outcome, "crash");
}

TEST(EnginePoison, ARedriveGivesFreshCrashes) {
  OneJob one;
  crash_once(one, one.worker, one.delivery);
  for (int i = 0; i < 2; ++i) {
    TestPeer& next = one.broker.worker();
    crash_once(one, next, next.take_job());
  }
  TestPeer& producer = one.broker.producer();
  EXPECT_EQ(producer.redrive({one.id}), std::vector{ItemStatus::ok});

  TestPeer& next = one.broker.worker();
  crash_once(one, next, next.take_job());

  EXPECT_EQ(one.status().state, JobState::ready);
  EXPECT_EQ(one.status().crashes, 4);
}

}  // namespace
}  // namespace millrace::broker
