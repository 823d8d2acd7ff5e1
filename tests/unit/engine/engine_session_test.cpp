// Who is there, who is lost, and what a restart leaves to whom.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;
using protocol::Role;

TEST(EngineHello, AMessageWithoutASessionIsRefused) {
  EngineHarness broker;
  TestPeer& stranger = broker.stranger(Role::producer);
  stranger.hello();
  stranger.bye();

  EXPECT_EQ(stranger.enqueue_refusal(jobs(1)), "no_session");
}

TEST(EngineHello, ASessionIsSixteenBytes) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  protocol::Hello hello;
  hello.session = "short";

  EXPECT_EQ(producer.refusal(hello), "bad_request");
}

TEST(EngineHello, VersionsMustMeet) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  protocol::Hello hello;
  hello.session = producer.session();

  hello.version_min = hello.version_max = 2;
  EXPECT_EQ(producer.refusal(hello), "unsupported_version");
  hello.version_min = hello.version_max = 0;
  EXPECT_EQ(producer.refusal(hello), "unsupported_version");
  hello.version_min = 0;
  hello.version_max = 9;
  EXPECT_EQ(producer.refusal(hello), "");
}

TEST(EngineHello, ASessionKeepsItsRole) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  protocol::Hello hello;
  hello.session = producer.session();
  hello.role = Role::worker;

  EXPECT_EQ(producer.refusal(hello), "bad_request");
}

TEST(EngineHello, WelcomeTellsWhetherTheSessionWasKnown) {
  EngineHarness broker;
  TestPeer& peer = broker.stranger(Role::worker);

  EXPECT_FALSE(std::get<protocol::Welcome>(peer.hello()).known);
  EXPECT_TRUE(std::get<protocol::Welcome>(peer.hello()).known);
  broker.restart();
  const auto welcome = std::get<protocol::Welcome>(peer.hello());
  EXPECT_FALSE(welcome.known);
  EXPECT_EQ(welcome.epoch, 2U);
}

TEST(EngineHello, PeersAreBounded) {
  EngineOptions options;
  options.limits.sessions_max = 2;
  EngineHarness broker(options);
  TestPeer& first = broker.producer();
  broker.producer();
  TestPeer& third = broker.stranger(Role::producer);

  const auto answer = std::get<protocol::ErrorReply>(third.hello());
  EXPECT_EQ(answer.code, "busy");
  EXPECT_TRUE(answer.retryable);
  first.bye();
  EXPECT_TRUE(std::holds_alternative<protocol::Welcome>(third.hello()));
}

TEST(EngineHello, WhatOnlyTheBrokerMaySendIsRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  EXPECT_EQ(producer.refusal(protocol::Jobs{}), "bad_request");
  EXPECT_EQ(producer.refusal(protocol::Welcome{}), "bad_request");
}

// ---- offers
// --------------------------------------------------------------------------------------

std::string offer_refusal(TestPeer& peer, const OfferOptions& options) {
  return peer.refusal(
      protocol::Offer{options.queues, options.kinds, options.pools, options.until, {}});
}

TEST(EngineOffer, AProducerMayNotOffer) {
  EngineHarness broker;

  EXPECT_EQ(offer_refusal(broker.producer(), {}), "not_allowed");
}

TEST(EngineOffer, WhatCannotBeServedIsRefused) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();

  EXPECT_EQ(offer_refusal(worker, {.queues = {}}), "bad_request");
  EXPECT_EQ(offer_refusal(worker, {.queues = {"Bad Name"}}), "bad_request");
  EXPECT_EQ(offer_refusal(worker, {.kinds = {{"echo", "gpu"}}}), "bad_request");
  EXPECT_EQ(offer_refusal(worker, {.kinds = {{"BAD", "io"}}}), "bad_request");
  EXPECT_EQ(offer_refusal(worker, {.pools = {{"io", 0}}}), "bad_request");
  EXPECT_EQ(offer_refusal(worker, {.kinds = {}, .pools = {}}), "bad_request");
}

TEST(EngineOffer, ANewOfferReplacesTheOldOne) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.queues = {"a"}});
  worker.offer({.queues = {"b"}});
  broker.run();
  TestPeer& producer = broker.producer();

  producer.enqueue(jobs(1), {.queue = "a"});
  EXPECT_TRUE(worker.take_jobs().empty());
  producer.enqueue(jobs(1), {.queue = "b"});
  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineOffer, AQueueNamedTwiceCountsOnce) {
  EngineHarness broker;
  broker.worker({.queues = {"a", "a"}});

  EXPECT_EQ(broker.producer().queue_info("a").workers, 1U);
}

TEST(EngineOffer, AfterTheSecondOfferAnUnknownKindGoesToAPoolThatIsOffered) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.kinds = {{"echo", "a"}}, .pools = {{"a", 4}}});
  worker.offer({.kinds = {{"echo", "b"}}, .pools = {{"b", 4}}});
  worker.credit(4, "b");

  broker.producer().enqueue(jobs(1, "unknown"));

  const auto messages = worker.take<protocol::Jobs>();
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(messages[0].pool, "b");
}

// ---- lost workers
// --------------------------------------------------------------------------------

TEST(EngineLost, AWorkerIsLostAfterThreeSecondsOfSilence) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const auto all = broker.producer().enqueue(jobs(2));
  const auto taken = worker.take_jobs();
  worker.start(taken.at(0));
  worker.beats = false;

  broker.advance(Duration{2900});
  EXPECT_EQ(broker.count(JobState::leased), 2U);
  broker.advance(Duration{600});

  EXPECT_EQ(broker.count(JobState::ready), 2U);
  EXPECT_EQ(broker.status(all.first).crashes, 1);
  EXPECT_EQ(broker.status(taken[1].job).crashes, 0);
  EXPECT_EQ(broker.status(taken[1].job).attempts, 0);
  EXPECT_EQ(broker.disk().attempts.size(), 1U);
  EXPECT_NE(broker.disk().workers.begin()->second.left_at, Time{});
}

TEST(EngineLost, ABeatingWorkersLongJobIsNeverTakenAway) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();
  worker.start(delivery);

  broker.advance(Duration{600'000});

  EXPECT_EQ(worker.ack(delivery), ItemStatus::ok);
}

TEST(EngineLost, NobodyIsLostWhileMessagesWaitToBeRead) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  worker.beats = false;
  broker.set_inbox_empty(false);

  broker.advance(Duration{10'000});
  EXPECT_EQ(broker.count(JobState::leased), 1U);
  broker.set_inbox_empty(true);
  broker.advance(Duration{500});

  EXPECT_EQ(broker.count(JobState::leased), 0U);
}

TEST(EngineLost, AStallOfTheBrokerMovesTheDeadline) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  worker.beats = false;
  broker.advance(Duration{2000});

  broker.stall(Duration{60'000});
  EXPECT_EQ(broker.count(JobState::leased), 1U);
  broker.advance(Duration{900});
  EXPECT_EQ(broker.count(JobState::leased), 1U);
  broker.advance(Duration{600});

  EXPECT_EQ(broker.count(JobState::leased), 0U);
}

TEST(EngineLost, AFrozenWorkerThatReturnsIsToldWhatIsGone) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  const Delivery delivery = worker.take_job();
  worker.start(delivery);
  worker.beats = false;
  broker.advance(Duration{4000});
  TestPeer& other = broker.worker();
  const Delivery again = other.take_job();

  EXPECT_EQ(worker.refusal(protocol::Credit{}), "no_session");
  worker.hello_again();
  worker.offer({});
  const auto resumed = worker.resume({{delivery.lease, delivery.job, true, Duration{4000}}});
  EXPECT_EQ(resumed.drop, std::vector{delivery.lease});
  EXPECT_TRUE(resumed.keep.empty());

  EXPECT_EQ(worker.ack(delivery), ItemStatus::stale);
  EXPECT_EQ(other.ack(again), ItemStatus::ok);
}

TEST(EngineLost, AByeGivesEverythingBackUncharged) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const auto all = broker.producer().enqueue(jobs(2));
  worker.start(worker.take_jobs().at(0));

  worker.bye();

  EXPECT_EQ(broker.count(JobState::ready), 2U);
  EXPECT_EQ(broker.status(all.first).crashes, 0);
  EXPECT_TRUE(broker.disk().attempts.empty());
  EXPECT_EQ(broker.engine().sessions(), 1U);
}

// ---- lost messages
// -------------------------------------------------------------------------------

TEST(EngineHeartbeat, ItIsAnsweredAtOnce) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  TestPeer& producer = broker.producer();
  broker.hold_commits(true);

  broker.advance(Duration{1000});

  EXPECT_EQ(worker.heartbeats_answered, 1U);
  EXPECT_EQ(producer.heartbeats_answered, 1U);
}

TEST(EngineHeartbeat, DeliveriesThatGotLostAreFoundAndGivenBack) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  worker.lossy = true;
  const auto all = broker.producer().enqueue(jobs(2));
  worker.lossy = false;

  broker.advance(Duration{5000});
  ASSERT_GE(worker.take<protocol::ResumeWanted>().size(), 1U);
  worker.resume();

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].job, all.first);
  EXPECT_EQ(taken[0].attempt, 1);
  EXPECT_EQ(broker.status(all.first).crashes, 0);
}

TEST(EngineHeartbeat, ADeliveryThatGotLostAndWasCancelledCostsNoSlot) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.pools = {{"io", 1}}, .credit = 1});
  TestPeer& producer = broker.producer();
  worker.lossy = true;
  const JobId lost = producer.enqueue_one(job());
  worker.lossy = false;
  producer.cancel({lost});
  const JobId waiting = producer.enqueue_one(job());

  broker.advance(Duration{5000});
  ASSERT_GE(worker.take<protocol::ResumeWanted>().size(), 1U);
  const auto resumed = worker.resume();
  worker.credit(resumed.delivered.at("io") + 1);

  EXPECT_EQ(worker.take_job().job, waiting);
}

TEST(EngineHeartbeat, WhileTheListsDifferNothingMoreIsDelivered) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  TestPeer& producer = broker.producer();
  worker.lossy = true;
  producer.enqueue(jobs(1));
  worker.lossy = false;
  broker.advance(Duration{5000});

  producer.enqueue(jobs(1));

  EXPECT_TRUE(worker.take_jobs().empty());
}

TEST(EngineHeartbeat, AResumeIsAskedForOnceAndAgainOnlyMuchLater) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  worker.lossy = true;
  broker.producer().enqueue(jobs(1));
  worker.lossy = false;
  broker.advance(Duration{3000});
  ASSERT_EQ(worker.take<protocol::ResumeWanted>().size(), 1U);

  // A second answer would not name what was delivered after the first, and take it away.
  broker.advance(Duration{4000});
  EXPECT_TRUE(worker.take<protocol::ResumeWanted>().empty());
  broker.advance(Duration{2000});

  EXPECT_EQ(worker.take<protocol::ResumeWanted>().size(), 1U);
}

TEST(EngineHeartbeat, AYoungDifferenceIsNoReasonToDoubt) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  TestPeer& producer = broker.producer();
  worker.lossy = true;
  for (int i = 0; i < 10; ++i) {
    const auto id = producer.enqueue_one(job());
    broker.advance(Duration{1000});
    producer.cancel({id});
  }
  worker.lossy = false;

  EXPECT_TRUE(worker.take<protocol::ResumeWanted>().empty());
}

TEST(EngineHeartbeat, AStartedLeaseIsNoReasonToDoubt) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(1));
  worker.start(worker.take_job());
  worker.forget_leases();

  broker.advance(Duration{10'000});

  EXPECT_TRUE(worker.take<protocol::ResumeWanted>().empty());
}

TEST(EngineUndelivered, JobsThatCouldNotBeSentAreGivenBackUncharged) {
  EngineHarness broker;
  TestPeer& deaf = broker.worker();
  deaf.deaf = true;
  const auto all = broker.producer().enqueue(jobs(2));

  EXPECT_EQ(broker.count(JobState::ready), 2U);
  EXPECT_EQ(broker.status(all.first).deliveries, 1);
  EXPECT_EQ(broker.status(all.first).attempts, 0);
  EXPECT_EQ(broker.status(all.first).crashes, 0);
}

TEST(EngineUndelivered, TheyGoToAWorkerThatListens) {
  EngineHarness broker;
  TestPeer& deaf = broker.worker({.pools = {{"io", 100}}});
  deaf.deaf = true;
  TestPeer& worker = broker.worker();

  broker.producer().enqueue(jobs(2));

  EXPECT_EQ(worker.take_jobs().size(), 2U);
}

}  // namespace
}  // namespace millrace::broker
