// Unique keys: who gets them, when they are given back, and what survives a restart.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Enqueued;
using protocol::ItemStatus;
using protocol::NewJob;

NewJob keyed(std::string key, OnConflict conflict = OnConflict::existing,
             UniqueScope scope = UniqueScope::active) {
  NewJob made = job();
  made.unique_key = std::move(key);
  made.on_conflict = conflict;
  made.unique_scope = scope;
  if (scope == UniqueScope::ttl) made.unique_ttl = Duration{60'000};
  return made;
}

std::vector<NewJob> all(std::initializer_list<NewJob> list) { return list; }

TEST(EngineUnique, TheSecondAskerGetsTheIdOfTheFirst) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId first = producer.enqueue_one(keyed("a"));

  const Enqueued again = producer.enqueue(all({keyed("a")}));

  EXPECT_EQ(again.count, 0U);
  EXPECT_EQ(again.ids, std::vector{first});
  EXPECT_FALSE(again.batch);
  EXPECT_EQ(broker.disk().jobs.size(), 1U);
}

TEST(EngineUnique, IdsStandInTheOrderOfTheRequest) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId held = producer.enqueue_one(keyed("b"));

  const Enqueued answer =
      producer.enqueue(all({keyed("a"), keyed("b"), job(), keyed("a"), keyed("c")}));

  const std::uint64_t first = answer.first.value;
  EXPECT_EQ(answer.count, 3U);
  EXPECT_EQ(answer.ids,
            (std::vector{JobId{first}, held, JobId{first + 1}, JobId{first}, JobId{first + 2}}));
}

TEST(EngineUnique, ResendsGetTheSameAnswerAlsoAfterARestart) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue_one(keyed("a"));
  const protocol::Message request = producer.enqueue_message(all({keyed("a"), keyed("b")}));
  const auto answer = producer.ask<Enqueued>(request);

  broker.restart();
  producer.hello();
  const auto again = producer.ask<Enqueued>(request);

  EXPECT_EQ(again.ids, answer.ids);
  EXPECT_EQ(again.first, answer.first);
  EXPECT_EQ(broker.disk().jobs.size(), 2U);
}

TEST(EngineUnique, TwoAtOnceBeforeTheFirstIsOnDiskAreOne) {
  EngineHarness broker;
  TestPeer& one = broker.producer();
  TestPeer& two = broker.producer();
  broker.set_commit_turns(3);
  const auto first = one.send(one.enqueue_message(all({keyed("a")})));
  const auto second = two.send(two.enqueue_message(all({keyed("a")})));
  broker.run();

  const auto a = std::get<Enqueued>(*one.answer(first));
  const auto b = std::get<Enqueued>(*two.answer(second));

  EXPECT_EQ(a.count + b.count, 1U);
  EXPECT_EQ(broker.disk().jobs.size(), 1U);
}

TEST(EngineUnique, TheKeyIsFreeWhenItsJobHasEnded) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId first = producer.enqueue_one(keyed("a"));
  EXPECT_EQ(producer.enqueue(all({keyed("a")})).ids, std::vector{first});  // it runs

  worker.ack(worker.take_job());
  const Enqueued next = producer.enqueue(all({keyed("a")}));

  EXPECT_EQ(next.count, 1U);
  EXPECT_GT(next.first, first);
}

TEST(EngineUnique, EveryEndGivesItBack) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 100});
  NewJob once = keyed("dead");
  once.max_attempts = 1;
  producer.enqueue(all({once, keyed("cancelled"), keyed("rejected")}));
  auto taken = worker.take_jobs();
  worker.nack(taken.at(0));
  producer.cancel({taken.at(1).job});
  worker.reject(taken.at(2));

  const Enqueued again =
      producer.enqueue(all({keyed("dead"), keyed("cancelled"), keyed("rejected")}));

  EXPECT_EQ(again.count, 3U);
  broker.audit();
}

TEST(EngineUnique, ARetryKeepsIt) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(keyed("a"));
  worker.nack(worker.take_job());

  EXPECT_EQ(producer.enqueue(all({keyed("a")})).ids, std::vector{id});
}

TEST(EngineUnique, ScopeQueuedEndsAtTheFirstDelivery) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(keyed("a", OnConflict::existing, UniqueScope::queued));
  EXPECT_EQ(producer.enqueue(all({keyed("a", OnConflict::existing, UniqueScope::queued)})).ids,
            std::vector{id});

  TestPeer& worker = broker.worker({.credit = 1});
  const auto delivery = worker.take_job();
  const Enqueued next =
      producer.enqueue(all({keyed("a", OnConflict::existing, UniqueScope::queued)}));

  EXPECT_EQ(next.count, 1U);
  worker.release(delivery);  // it waits again, without its key
  EXPECT_EQ(producer.enqueue(all({keyed("a", OnConflict::existing, UniqueScope::queued)})).ids,
            std::vector{next.first});
  broker.audit();
}

TEST(EngineUnique, ScopeTtlOutlivesTheJobAndEndsInTime) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(keyed("a", OnConflict::existing, UniqueScope::ttl));
  worker.ack(worker.take_job());

  broker.advance(Duration{59'000});
  EXPECT_EQ(producer.enqueue(all({keyed("a", OnConflict::existing, UniqueScope::ttl)})).ids,
            std::vector{id});
  broker.advance(Duration{2000});
  const Enqueued next = producer.enqueue(all({keyed("a", OnConflict::existing, UniqueScope::ttl)}));

  EXPECT_EQ(next.count, 1U);
  broker.audit();
}

TEST(EngineUnique, RetentionTakesNoOutdatedKeyFromUnderAnEnqueue) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue_one(keyed("a", OnConflict::existing, UniqueScope::ttl));

  // Retention is due in the very turn in which the request is looked at.
  const auto asked = producer.send(
      producer.enqueue_message(all({keyed("a", OnConflict::existing, UniqueScope::ttl)})));
  broker.stall(Duration{61'000});

  EXPECT_EQ(std::get<Enqueued>(*producer.answer(asked)).count, 1U);
  broker.audit();
}

TEST(EngineUnique, AJumpOfTheWallClockDoesNotEndATtl) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(keyed("a", OnConflict::existing, UniqueScope::ttl));

  broker.set_wall_clock(Duration{24L * 3600 * 1000});

  EXPECT_EQ(producer.enqueue(all({keyed("a", OnConflict::existing, UniqueScope::ttl)})).ids,
            std::vector{id});
}

TEST(EngineUnique, RejectRefusesTheWholeRequest) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue_one(keyed("a"));

  EXPECT_EQ(producer.enqueue_refusal(all({job(), keyed("a", OnConflict::reject)})),
            "unique_conflict");

  EXPECT_EQ(broker.disk().jobs.size(), 1U);
}

TEST(EngineUnique, ReplaceCancelsTheOneThatWaits) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId old = producer.enqueue_one(keyed("a"));

  const Enqueued answer = producer.enqueue(all({keyed("a", OnConflict::replace)}));

  EXPECT_EQ(broker.state(old), JobState::cancelled);
  EXPECT_NE(broker.status(old).error.find("replaced"), std::string::npos);
  EXPECT_EQ(broker.state(answer.first), JobState::ready);
  EXPECT_EQ(producer.enqueue(all({keyed("a")})).ids, std::vector{answer.first});
  broker.audit();
}

TEST(EngineUnique, ReplaceDoesNotTouchOneThatRuns) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId old = producer.enqueue_one(keyed("a"));
  const auto delivery = worker.take_job();

  EXPECT_EQ(producer.enqueue_refusal(all({keyed("a", OnConflict::replace)})), "unique_conflict");

  EXPECT_EQ(broker.state(old), JobState::leased);
  EXPECT_EQ(worker.ack(delivery), ItemStatus::ok);
}

TEST(EngineUnique, ReplaceFindsAHolderThatIsOnlyOnDisk) {
  EngineOptions options;
  options.limits.window_jobs_max = 8;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(30));
  const JobId old = producer.enqueue_one(keyed("a"));

  const Enqueued answer = producer.enqueue(all({keyed("a", OnConflict::replace)}));

  EXPECT_EQ(broker.state(old), JobState::cancelled);
  EXPECT_EQ(answer.count, 1U);
  broker.audit();
}

TEST(EngineUnique, ARestartKeepsTheHolders) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(keyed("a"));

  broker.restart();
  producer.hello();

  EXPECT_EQ(producer.enqueue(all({keyed("a")})).ids, std::vector{id});
}

TEST(EngineUnique, ARedriveTakesTheKeyAgainOrIsRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId dead = producer.enqueue_one(keyed("a"));
  worker.reject(worker.take_job());
  const JobId other = producer.enqueue_one(keyed("a"));

  EXPECT_EQ(producer.redrive({dead}), std::vector{ItemStatus::refused});
  worker.ack(worker.take_job());
  EXPECT_EQ(broker.state(other), JobState::done);
  EXPECT_EQ(producer.redrive({dead}), std::vector{ItemStatus::ok});

  EXPECT_EQ(producer.enqueue(all({keyed("a")})).ids, std::vector{dead});
  broker.audit();
}

TEST(EngineUnique, ARedriveInTheTurnOfTheEndLooksForTheHolderToo) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 1});
  const NewJob queued = keyed("a", OnConflict::existing, UniqueScope::queued);
  const JobId first = producer.enqueue_one(queued);
  const auto delivery = worker.take_job();  // gives the key back
  const JobId second = producer.enqueue_one(queued);

  // Both reach the broker in one turn.
  worker.send(protocol::Reject{{{.lease = delivery.lease, .job = first, .error = "no"}}});
  const auto asked = producer.send(protocol::Redrive{{first}});
  broker.run();

  EXPECT_EQ(std::get<protocol::Outcomes>(*producer.answer(asked)).statuses,
            std::vector{ItemStatus::refused});
  EXPECT_EQ(producer.enqueue(all({queued})).ids, std::vector{second});
  broker.audit();
}

TEST(EngineUnique, ReplaceFindsItsHolderThoughTheRequestFillsTheWindow) {
  EngineOptions options;
  options.limits.window_jobs_max = 8;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  NewJob idle = keyed("a");
  idle.priority = 200;
  const JobId old = producer.enqueue_one(idle);
  std::vector<NewJob> many = jobs(20);
  for (NewJob& one : many) one.priority = 0;
  many.push_back(keyed("a", OnConflict::replace));

  producer.enqueue(many);

  EXPECT_EQ(broker.state(old), JobState::cancelled);
  broker.audit();
}

TEST(EngineUnique, AReplayCarriesNoKey) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId done = producer.enqueue_one(keyed("a"));
  worker.ack(worker.take_job());
  producer.enqueue_one(keyed("a"));

  const auto replayed = producer.ask<Enqueued>(producer.replay_message({done}));

  EXPECT_EQ(replayed.count, 1U);
  EXPECT_TRUE(broker.disk().jobs.at(replayed.first).record.spec.unique_key.empty());
}

TEST(EngineUnique, KeysOfOtherQueuesAreOthers) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue_one(keyed("a"));

  EXPECT_EQ(producer.enqueue(all({keyed("a")}), {.queue = "other"}).count, 1U);
}

TEST(EngineUnique, ABatchThatIsNotThereIsRefusedAtOnce) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  EXPECT_EQ(producer.enqueue_refusal(all({keyed("a")}), {.batch = BatchId{77}}), "bad_request");

  const std::uint64_t loads = broker.loads();
  broker.advance(Duration{100});
  EXPECT_EQ(broker.loads(), loads) << "it is still looked for";
}

TEST(EngineUnique, ASenderThatIsUnboundMeanwhileKeepsItsBatchOpen) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  broker.hold_commits(true);
  const protocol::Message request = producer.enqueue_message(all({keyed("a")}), {.seal = false});
  producer.send(request);
  producer.deaf = true;
  producer.beat();  // is answered, which cannot be delivered
  broker.turn();

  broker.hold_commits(false);
  broker.run();
  producer.deaf = false;
  producer.hello();

  const auto answer = producer.ask<Enqueued>(request);
  EXPECT_EQ(broker.disk().batches.at(answer.batch).owner, producer.session());
}

TEST(EngineUnique, WhatCannotBeIsRefused) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  NewJob no_key = job();
  no_key.unique_scope = UniqueScope::ttl;
  no_key.unique_ttl = Duration{1000};
  NewJob no_ttl = keyed("a");
  no_ttl.unique_scope = UniqueScope::ttl;
  no_ttl.unique_ttl = Duration{0};

  EXPECT_EQ(producer.enqueue_refusal(all({no_key})), "bad_request");
  EXPECT_EQ(producer.enqueue_refusal(all({no_ttl})), "bad_request");
  EXPECT_EQ(producer.enqueue_refusal(all({keyed(std::string(kUniqueKeyBytesMax + 1, 'k'))})),
            "bad_request");
  EXPECT_EQ(producer.enqueue_refusal(all({keyed(std::string(kUniqueKeyBytesMax, 'k'))})), "");
}

}  // namespace
}  // namespace millrace::broker
