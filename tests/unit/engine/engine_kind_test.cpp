// What kinds say of their jobs, retry policies, crash limits, and sending workers home.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Enqueued;
using protocol::ItemStatus;
using protocol::KindInfo;
using protocol::KindOptions;
using protocol::KindSet;
using protocol::NewJob;

const JobSpec& spec(const EngineHarness& broker, JobId id) {
  return broker.disk().jobs.at(id).record.spec;
}

void offer(TestPeer& worker, KindOptions options) {
  worker.send(protocol::Offer{.queues = {kQueueDefault},
                              .kinds = {{"echo", "io"}},
                              .pools = {{"io", 10}},
                              .until = protocol::Until::forever,
                              .kind_options = {{"echo", std::move(options)}}});
}

TEST(EngineKind, JobsTakeWhatTheirKindSaysUnlessTheySayOtherwise) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.ask<KindInfo>(KindSet{.kind = "echo",
                                 .options = {.max_attempts = 7,
                                             .crashes_max = 9,
                                             .timeout = Duration{5000},
                                             .retry = "linear:2s"},
                                 .reset = false});
  NewJob own = job();
  own.max_attempts = 2;
  own.crashes_max = 1;
  own.timeout = Duration{100};
  own.retry = "1s,2s";

  const JobId plain = producer.enqueue_one(job());
  const JobId special = producer.enqueue_one(own);

  EXPECT_EQ(spec(broker, plain).max_attempts, 7);
  EXPECT_EQ(spec(broker, plain).crashes_max, 9);
  EXPECT_EQ(spec(broker, plain).timeout, Duration{5000});
  EXPECT_EQ(spec(broker, plain).retry, "linear:2s");
  EXPECT_EQ(spec(broker, special).max_attempts, 2);
  EXPECT_EQ(spec(broker, special).crashes_max, 1);
  EXPECT_EQ(spec(broker, special).timeout, Duration{100});
  EXPECT_EQ(spec(broker, special).retry, "1s,2s");
}

TEST(EngineKind, WithoutAWordTheDefaultsHold) {
  EngineHarness broker;
  const JobId id = broker.producer().enqueue_one(job());

  EXPECT_EQ(spec(broker, id).max_attempts, kMaxAttemptsDefault);
  EXPECT_EQ(spec(broker, id).crashes_max, kCrashesMaxDefault);
  EXPECT_EQ(spec(broker, id).timeout, Duration{0});
}

TEST(EngineKind, AWorkersOfferCountsAndSurvivesARestart) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  offer(worker, {.max_attempts = 5});
  broker.run();

  broker.restart();
  TestPeer& producer = broker.producer();

  EXPECT_EQ(spec(broker, producer.enqueue_one(job())).max_attempts, 5);
}

TEST(EngineKind, AnOperatorsWordStandsUntilItIsReset) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.ask<KindInfo>(KindSet{.kind = "echo", .options = {.max_attempts = 8}, .reset = false});
  offer(worker, {.max_attempts = 5});
  broker.run();
  EXPECT_EQ(spec(broker, producer.enqueue_one(job())).max_attempts, 8);

  producer.ask<KindInfo>(KindSet{.kind = "echo", .options = {}, .reset = true});
  EXPECT_EQ(spec(broker, producer.enqueue_one(job())).max_attempts, kMaxAttemptsDefault);
  offer(worker, {.max_attempts = 5});
  broker.run();

  EXPECT_EQ(spec(broker, producer.enqueue_one(job())).max_attempts, 5);
  EXPECT_EQ(producer.ask<protocol::Report>(protocol::Stats{}).kinds.size(), 1U);
}

TEST(EngineKind, NonsenseIsRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  EXPECT_EQ(producer.refusal(KindSet{.kind = "NO", .options = {}, .reset = false}), "bad_request");
  EXPECT_EQ(
      producer.refusal(KindSet{.kind = "a", .options = {.retry = "sometimes"}, .reset = false}),
      "bad_request");
  NewJob both = job();
  both.retry = "1s";
  both.backoff = Duration{1000};
  EXPECT_EQ(producer.enqueue_refusal({both}), "bad_request");
}

TEST(EngineKind, AListOfDelaysIsFollowed) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.credit = 100});
  NewJob made = job();
  made.retry = "1s,5s,30s jitter:0";
  made.max_attempts = 10;
  const JobId id = broker.producer().enqueue_one(made);

  for (const Duration wanted :
       {Duration{1000}, Duration{5000}, Duration{30'000}, Duration{30'000}}) {
    worker.nack(worker.take_job());
    EXPECT_EQ(broker.status(id).run_at - broker.now().utc, wanted);
    broker.advance(wanted);
  }
}

TEST(EngineKind, CrashesMaxOfTheJobDecidesWhenItIsPoison) {
  EngineHarness broker;
  NewJob made = job();
  made.crashes_max = 1;
  const JobId id = broker.producer().enqueue_one(made);
  TestPeer& worker = broker.worker();
  worker.start(worker.take_job());
  broker.run();
  worker.beats = false;

  broker.advance(Duration{5000});

  EXPECT_EQ(broker.state(id), JobState::dead);
  EXPECT_EQ(broker.status(id).error.rfind("poison", 0), 0U);
}

TEST(EngineKind, AKindMayForbidItsReplay) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  offer(worker, {.not_replayable = true});
  const JobId id = producer.enqueue_one(job());
  worker.ack(worker.take_job());

  EXPECT_EQ(producer.refusal(producer.replay_message({id})), "not_replayable");
  protocol::Replay forced = producer.replay_message({id});
  forced.force = true;
  EXPECT_EQ(producer.ask<Enqueued>(forced).count, 1U);
}

TEST(EngineKind, ADismissedWorkerIsToldAlsoAfterAReconnect) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const auto id = producer.ask<protocol::Report>(protocol::Stats{}).workers.at(0).worker;

  EXPECT_EQ(producer.ask<protocol::Outcomes>(protocol::Dismiss{{id, WorkerId{99}}}).statuses,
            (std::vector{ItemStatus::ok, ItemStatus::not_found}));
  ASSERT_EQ(worker.take<protocol::Drained>().size(), 1U);
  producer.enqueue(jobs(3));
  EXPECT_TRUE(worker.take_jobs().empty());
  worker.hello();
  worker.offer({});
  worker.resume();

  const auto told = worker.take<protocol::Drained>();
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told.front().reason, "dismissed");
}

}  // namespace
}  // namespace millrace::broker
