// What a restart of the broker leaves to whom.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;

// ---- a restart
// -----------------------------------------------------------------------------------

TEST(EngineRestart, AWorkerKeepsWhatItNamesAndTheRestGoesBack) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const auto all = broker.producer().enqueue(jobs(3));
  const auto taken = worker.take_jobs();
  worker.start(taken.at(0));

  broker.restart();
  EXPECT_EQ(broker.count(JobState::leased), 3U);
  worker.hello();
  worker.offer({});
  const auto resumed = worker.resume({{taken[0].lease, taken[0].job, true, Duration{10}},
                                      {taken[1].lease, taken[1].job, false, {}}});

  EXPECT_EQ(resumed.keep, (std::vector{taken[0].lease, taken[1].lease}));
  EXPECT_TRUE(resumed.drop.empty());
  EXPECT_EQ(broker.count(JobState::ready), 1U);
  EXPECT_EQ(broker.status(taken[2].job).crashes, 0);
  EXPECT_EQ(worker.ack(taken[0]), ItemStatus::ok);
  EXPECT_EQ(worker.ack(taken[1]), ItemStatus::ok);
  EXPECT_EQ(broker.status(all.first).attempts, 1);
}

TEST(EngineRestart, NothingIsTakenBackBeforeTheGraceEnds) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(2));
  worker.start(worker.take_jobs().at(0));
  broker.advance(Duration{1100});

  broker.restart();
  TestPeer& other = broker.worker();
  broker.advance(Duration{9900});
  EXPECT_TRUE(other.take_jobs().empty());
  broker.advance(Duration{600});

  EXPECT_EQ(other.take_jobs().size(), 2U);
}

TEST(EngineRestart, AfterTheGraceARunThatHadStartedIsACrash) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const auto all = broker.producer().enqueue(jobs(2));
  worker.start(worker.take_jobs().at(0));
  broker.advance(Duration{1100});

  broker.restart();
  broker.advance(Duration{10'600});

  EXPECT_EQ(broker.status(all.first).crashes, 1);
  EXPECT_EQ(broker.status(JobId{all.first.value + 1}).crashes, 0);
  EXPECT_EQ(broker.count(JobState::ready), 2U);
}

TEST(EngineRestart, AStallAtTheStartMovesTheGrace) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  broker.restart();
  broker.stall(Duration{30'000});
  worker.hello();
  worker.offer({});

  EXPECT_EQ(worker.resume().keep, std::vector{delivery.lease});
}

TEST(EngineRestart, AnAckOfARecordedOutcomeIsADuplicate) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(2));
  const auto taken = worker.take_jobs();
  worker.ack(taken.at(0));
  worker.nack(taken.at(1));

  broker.restart();
  worker.hello();
  worker.offer({});
  worker.resume();

  EXPECT_EQ(worker.ack(taken[0]), ItemStatus::duplicate);
  EXPECT_EQ(worker.nack(taken[1]), ItemStatus::duplicate);
}

TEST(EngineRestart, AnAckOfALeaseStillOpenIsRecordedAlsoBeforeResume) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  broker.restart();
  worker.hello();

  EXPECT_EQ(worker.ack(delivery, "7"), ItemStatus::ok);
  EXPECT_EQ(broker.disk().jobs.at(delivery.job).result, Payload::text("7"));
  broker.advance(Duration{11'000});
  EXPECT_EQ(broker.state(delivery.job), JobState::done);
}

TEST(EngineRestart, AnAckOfALeaseGivenToAnotherIsStale) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  broker.restart();
  TestPeer& other = broker.worker();
  broker.advance(Duration{11'000});
  const Delivery again = other.take_job();
  worker.hello();
  worker.offer({});
  worker.resume({});

  EXPECT_GT(again.lease, delivery.lease);
  EXPECT_EQ(worker.ack(delivery), ItemStatus::stale);
  EXPECT_EQ(other.ack(again), ItemStatus::ok);
}

TEST(EngineRestart, AnAckOfALeaseThatWasCancelledMeanwhileSaysSo) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const auto all = broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  broker.restart();
  broker.producer().cancel({all.first});
  worker.hello();
  worker.offer({});

  EXPECT_EQ(worker.ack(delivery), ItemStatus::cancelled);
}

TEST(EngineRestart, AnAckOfKnownAndUnknownLeasesAnswersEachInItsPlace) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(2));
  const auto taken = worker.take_jobs();
  worker.ack(taken.at(0));
  broker.restart();
  worker.hello();
  worker.offer({});
  worker.resume();

  const auto item = [](const Delivery& from) {
    return protocol::Outcome{from.lease, from.job, {}, {}, Duration{-1}, {}};
  };
  Delivery invented = taken[0];
  invented.job = JobId{999};
  EXPECT_EQ(worker.settle<protocol::Ack>({item(taken[0]), item(taken[1]), item(invented)}),
            (std::vector{ItemStatus::duplicate, ItemStatus::ok, ItemStatus::stale}));
}

TEST(EngineRestart, LeasesRiseOverRestarts) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery first = worker.take_job();
  worker.release(first);
  const Delivery second = worker.take_job();
  EXPECT_GT(second.lease, first.lease);

  broker.restart();
  broker.advance(Duration{11'000});
  const Delivery third = broker.worker().take_job();

  EXPECT_GT(third.lease, second.lease);
  EXPECT_EQ(third.lease.value >> 40, 2U);
}

TEST(EngineRestart, ASecondRestartWithinTheGraceLosesNothing) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  broker.restart();
  broker.restart();
  worker.hello();
  worker.offer({});

  EXPECT_EQ(worker.resume().keep, std::vector{delivery.lease});
  EXPECT_EQ(worker.ack(delivery), ItemStatus::ok);
}

TEST(EngineRestart, AnotherProcessCannotResumeLeasesThatAreNotItsOwn) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();

  broker.restart();
  TestPeer& thief = broker.worker();

  EXPECT_EQ(thief.resume({{delivery.lease, delivery.job, true, {}}}).drop,
            std::vector{delivery.lease});
  EXPECT_EQ(thief.ack(delivery), ItemStatus::stale);
  EXPECT_EQ(broker.count(JobState::leased), 1U);
}

}  // namespace
}  // namespace millrace::broker
