// The end of waiting.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::ItemStatus;
using protocol::NewJob;

constexpr Duration kDay{24L * 3600 * 1000};

NewJob perishable(Duration life) {
  NewJob made = job();
  made.expires_in = life;
  return made;
}

TEST(EngineExpiry, AJobThatNobodyTakesExpires) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(perishable(Duration{5000}));

  broker.advance(Duration{4990});
  EXPECT_EQ(broker.state(id), JobState::ready);
  broker.advance(Duration{20});

  EXPECT_EQ(broker.state(id), JobState::expired);
  EXPECT_EQ(broker.status(id).attempts, 0);
  broker.audit();
}

TEST(EngineExpiry, ATimeOfDayCanBeNamed) {
  EngineHarness broker;
  NewJob made = job();
  made.expires_at = broker.now().utc + Duration{3000};
  const JobId id = broker.producer().enqueue_one(made);

  broker.advance(Duration{3001});

  EXPECT_EQ(broker.state(id), JobState::expired);
}

TEST(EngineExpiry, AScheduledJobExpiresBeforeItsTime) {
  EngineHarness broker;
  NewJob made = perishable(Duration{1000});
  made.delay = Duration{60'000};
  const JobId id = broker.producer().enqueue_one(made);

  broker.advance(Duration{1001});

  EXPECT_EQ(broker.state(id), JobState::expired);
}

TEST(EngineExpiry, ARunIsNotEnded) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const JobId id = broker.producer().enqueue_one(perishable(Duration{1000}));
  const auto delivery = worker.take_job();
  worker.start(delivery);

  broker.advance(Duration{5000});

  EXPECT_EQ(broker.state(id), JobState::leased);
  EXPECT_EQ(worker.ack(delivery), ItemStatus::ok);
  EXPECT_EQ(broker.state(id), JobState::done);
}

TEST(EngineExpiry, ARunThatFailsTooLateIsNotTriedAgain) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const JobId id = broker.producer().enqueue_one(perishable(Duration{1000}));
  const auto delivery = worker.take_job();
  worker.start(delivery);
  broker.advance(Duration{5000});

  worker.nack(delivery);

  EXPECT_EQ(broker.state(id), JobState::expired);
  EXPECT_EQ(broker.status(id).attempts, 1);
  broker.audit();
}

TEST(EngineExpiry, AReleaseAfterItsTimeExpires) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const JobId id = broker.producer().enqueue_one(perishable(Duration{1000}));
  const auto delivery = worker.take_job();
  broker.advance(Duration{1001});

  worker.release(delivery);

  EXPECT_EQ(broker.state(id), JobState::expired);
}

TEST(EngineExpiry, ManyBeyondTheWindowExpireToo) {
  EngineOptions options;
  options.limits.window_jobs_max = 8;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  std::vector<NewJob> many(900, perishable(Duration{2000}));
  producer.enqueue(many);

  broker.advance(Duration{2500});

  EXPECT_EQ(broker.count(JobState::expired), 900U);
  EXPECT_EQ(broker.engine().jobs_in_memory(), 0U);
  broker.audit();
}

TEST(EngineExpiry, AJumpOfTheWallClockExpiresNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(perishable(Duration{60'000}));

  for (const Duration jump : {kDay, -2 * kDay, kDay}) {
    broker.set_wall_clock(jump);
    broker.advance(Duration{1000});
    EXPECT_EQ(broker.state(id), JobState::ready);
  }
  const JobId later = producer.enqueue_one(perishable(Duration{5000}));
  broker.advance(Duration{4000});
  EXPECT_EQ(broker.state(later), JobState::ready);
  broker.advance(Duration{1500});
  EXPECT_EQ(broker.state(later), JobState::expired);
}

TEST(EngineExpiry, ARestartFindsWhatIsDue) {
  EngineHarness broker;
  const JobId id = broker.producer().enqueue_one(perishable(Duration{3000}));

  broker.restart();
  broker.advance(Duration{2000});
  EXPECT_EQ(broker.state(id), JobState::ready);
  broker.advance(Duration{1500});

  EXPECT_EQ(broker.state(id), JobState::expired);
}

TEST(EngineExpiry, ItLetsTheQueueDrainAndTheBatchEnd) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto answer = producer.enqueue({perishable(Duration{1000}), perishable(Duration{1000})});
  producer.send(protocol::Watch{answer.batch, {}});
  producer.close();

  broker.advance(Duration{1500});

  EXPECT_EQ(broker.queue_state(), QueueState::drained);
  EXPECT_EQ(broker.disk().batches.at(answer.batch).expired, 2U);
  const auto results = producer.take<protocol::Results>();
  ASSERT_FALSE(results.empty());
  EXPECT_TRUE(results.back().end);
}

TEST(EngineExpiry, ABatchThatEndsWhileItIsLookedForStaysEnded) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto answer = producer.enqueue({job(), perishable(Duration{1000})});
  producer.cancel({answer.first});
  broker.hold_commits(true);
  broker.advance(Duration{1001});  // asks the store for what expires
  producer.send(protocol::Cancel{.jobs = {JobId{answer.first.value + 1}}});
  broker.turn();

  broker.hold_commits(false);
  broker.run();

  const auto results = producer.ask<protocol::Results>(protocol::Watch{answer.batch, {}});
  EXPECT_EQ(results.open, 0U);
  broker.audit();
}

TEST(EngineExpiry, ARedriveAfterItsTimeIsRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(perishable(Duration{1000}));
  producer.cancel({id});
  broker.advance(Duration{1500});

  EXPECT_EQ(producer.redrive({id}), std::vector{ItemStatus::refused});
}

TEST(EngineExpiry, BothATimeAndALifeAreRefused) {
  EngineHarness broker;
  NewJob made = perishable(Duration{1000});
  made.expires_at = broker.now().utc + Duration{1000};

  EXPECT_EQ(broker.producer().enqueue_refusal({made}), "bad_request");
}

}  // namespace
}  // namespace millrace::broker
