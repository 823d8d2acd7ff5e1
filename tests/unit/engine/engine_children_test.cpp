// Jobs that a running job enqueues: whose batch and queue they join, and until when.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"
#include "tests/unit/engine/watch_stream.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::Enqueue;
using protocol::Enqueued;
using protocol::ItemStatus;
using protocol::NewJob;

NewJob keyed(const std::string& key) {
  NewJob made = job();
  made.unique_key = key;
  return made;
}

/// One job that runs.
struct Parent {
  explicit Parent(const EnqueueOptions& options = {}, std::size_t count = 1) {
    batch = producer.enqueue(jobs(count), options).batch;
    delivery = worker.take_jobs().at(0);
  }
  Enqueue message(std::vector<NewJob> children, const std::string& queue = kQueueDefault) {
    Enqueue made = worker.enqueue_message(std::move(children), {.queue = queue, .seal = false});
    made.lease = delivery.lease;
    return made;
  }
  Enqueued enqueue(std::size_t count, const std::string& queue = kQueueDefault) {
    return worker.ask<Enqueued>(message(jobs(count), queue));
  }
  void finish_all() {
    worker.ack(delivery);
    for (auto taken = worker.take_jobs(); !taken.empty(); taken = worker.take_jobs())
      for (const Delivery& one : taken) worker.ack(one);
  }

  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.queues = {kQueueDefault, "other"}, .credit = 100});
  BatchId batch;
  Delivery delivery;
};

// ---- the batch ---------------------------------------------------------------------------------

TEST(EngineChildren, TheyJoinTheBatchOfTheirParentThoughItIsSealed) {
  Parent parent({}, 2);
  Stream stream(parent.producer, parent.batch);
  stream.watch();

  const Enqueued answer = parent.enqueue(3);
  EXPECT_EQ(answer.batch, parent.batch);
  EXPECT_EQ(answer.count, 3U);
  EXPECT_EQ(parent.broker.disk().batches.at(parent.batch).total, 5U);
  EXPECT_TRUE(parent.broker.disk().batches.at(parent.batch).sealed);
  parent.worker.ack(parent.delivery);
  stream.take();
  EXPECT_FALSE(stream.end);
  for (const Delivery& one : parent.worker.take_jobs()) parent.worker.ack(one);

  EXPECT_EQ(stream.take(), true);
  EXPECT_EQ(stream.last.total, 5U);
  parent.broker.audit();
}

TEST(EngineChildren, AJobThatWasItsOwnBatchGetsARow) {
  Parent parent;
  Stream stream(parent.producer, parent.batch);
  stream.watch();
  parent.broker.run();
  EXPECT_TRUE(parent.broker.disk().batches.empty());

  const Enqueued answer = parent.enqueue(2);
  parent.finish_all();

  EXPECT_EQ(answer.batch, parent.batch);
  const BatchRow& row = parent.broker.disk().batches.at(parent.batch);
  EXPECT_EQ(row.total, 3U);
  EXPECT_EQ(row.done, 3U);
  EXPECT_TRUE(row.sealed);
  EXPECT_EQ(row.created_at, parent.broker.disk().jobs.at(JobId{1}).record.spec.enqueued_at);
  stream.take();
  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
  parent.broker.audit();
}

TEST(EngineChildren, WhoWatchesLaterSeesThemAll) {
  Parent parent;
  parent.enqueue(2);
  parent.finish_all();

  Stream stream(parent.broker.producer(), parent.batch);
  stream.watch();
  parent.broker.run();
  while (stream.take()) parent.broker.run();

  EXPECT_EQ(stream.ids(), ids({1, 2, 3}));
  EXPECT_TRUE(stream.end);
}

TEST(EngineChildren, ARestartKeepsTheBatchOpen) {
  Parent parent;
  parent.enqueue(1);
  const auto taken = parent.worker.take_jobs();

  parent.broker.restart();
  parent.worker.hello();
  parent.worker.offer({});
  parent.worker.resume();
  parent.worker.ack(parent.delivery);
  Stream stream(parent.broker.producer(), parent.batch);
  stream.watch();
  parent.broker.run();
  stream.take();
  EXPECT_FALSE(stream.end);
  parent.worker.ack(taken.at(0));
  stream.take();

  EXPECT_TRUE(stream.end);
  EXPECT_EQ(stream.ids(), ids({1, 2}));
}

TEST(EngineChildren, TheWorkerDoesNotBecomeTheOwnerOfAnOpenBatch) {
  Parent parent({.seal = false});
  parent.enqueue(1);
  parent.finish_all();
  EXPECT_EQ(parent.broker.disk().batches.at(parent.batch).owner, parent.producer.session());

  parent.worker.bye();
  EXPECT_EQ(parent.broker.disk().batches.at(parent.batch).owner, parent.producer.session());
  parent.producer.enqueue(jobs(1), {.batch = parent.batch});

  EXPECT_EQ(parent.broker.disk().batches.at(parent.batch).total, 3U);
}

TEST(EngineChildren, ChildrenHaveChildren) {
  Parent parent;
  parent.enqueue(1);
  parent.worker.ack(parent.delivery);
  parent.delivery = parent.worker.take_job();

  EXPECT_EQ(parent.enqueue(1).batch, parent.batch);
  parent.finish_all();

  EXPECT_EQ(parent.broker.disk().batches.at(parent.batch).done, 3U);
  parent.broker.audit();
}

// ---- the queue ---------------------------------------------------------------------------------

TEST(EngineChildren, TheParentsQueueTakesThemWhileItIsClosedAndDrainsAfterThem) {
  Parent parent;
  parent.producer.close();

  EXPECT_EQ(parent.enqueue(1).count, 1U);
  parent.worker.ack(parent.delivery);
  EXPECT_EQ(parent.broker.queue_state(), QueueState::closed);
  parent.worker.ack(parent.worker.take_job());

  EXPECT_EQ(parent.broker.queue_state(), QueueState::drained);
}

TEST(EngineChildren, AnotherClosedQueueDoesNotTakeThem) {
  Parent parent;
  parent.producer.enqueue(jobs(1, "slow"), {.queue = "other"});
  parent.producer.close("other");

  EXPECT_EQ(parent.worker.refusal(parent.message(jobs(1), "other")), "queue_closed");
}

TEST(EngineChildren, AnotherQueueTakesThemIntoTheSameBatch) {
  Parent parent;

  EXPECT_EQ(parent.enqueue(1, "other").batch, parent.batch);

  EXPECT_EQ(parent.broker.count(JobState::leased, "other"), 1U);
}

// ---- whose lease -------------------------------------------------------------------------------

TEST(EngineChildren, WithoutTheLeaseTheyAreRefused) {
  Parent parent;
  const Enqueue early = parent.message(jobs(1));
  TestPeer& other = parent.broker.worker({.credit = 0});
  EXPECT_EQ(other.refusal(early), "lease_lost");
  EXPECT_EQ(parent.producer.refusal(early), "lease_lost");

  parent.worker.ack(parent.delivery);

  EXPECT_EQ(parent.worker.refusal(early), "lease_lost");
  EXPECT_EQ(parent.broker.disk().jobs.size(), 1U);
}

TEST(EngineChildren, BatchAndSealAreNotTheirs) {
  Parent parent;
  Enqueue sealed = parent.message(jobs(1));
  sealed.seal = true;
  Enqueue named = parent.message(jobs(1));
  named.batch = parent.batch;

  EXPECT_EQ(parent.worker.refusal(sealed), "bad_request");
  EXPECT_EQ(parent.worker.refusal(named), "bad_request");
  EXPECT_EQ(parent.worker.refusal(parent.message({})), "bad_request");
}

TEST(EngineChildren, AResendGetsTheSameAnswerWhenTheParentHasEnded) {
  Parent parent;
  const Enqueue message = parent.message(jobs(2));
  const auto answer = parent.worker.ask<Enqueued>(message);
  parent.finish_all();

  EXPECT_EQ(parent.worker.ask<Enqueued>(message).first, answer.first);
  parent.broker.restart();
  parent.worker.hello();

  EXPECT_EQ(parent.worker.ask<Enqueued>(message).batch, parent.batch);
  Enqueue changed = message;
  changed.lease = LeaseId{message.lease.value + 1};
  EXPECT_EQ(parent.worker.refusal(changed), "conflict");
  EXPECT_EQ(parent.broker.disk().jobs.size(), 3U);
}

TEST(EngineChildren, AfterARestartTheWorkerMayAskBeforeItsResume) {
  Parent parent;
  const Enqueue message = parent.message(jobs(1));

  parent.broker.restart();
  parent.worker.hello();

  EXPECT_EQ(parent.worker.ask<Enqueued>(message).batch, parent.batch);
}

// ---- waiting for the store ---------------------------------------------------------------------

TEST(EngineChildren, TheLeaseIsLookedAtAgainWhenUniqueKeysAreKnown) {
  Parent parent;
  parent.enqueue(1);  // so that the request itself need not be looked up
  parent.broker.hold_commits(true);
  const std::uint64_t asked = parent.worker.send(parent.message({keyed("a")}));
  parent.broker.turn();
  const std::uint64_t acked = parent.worker.send(
      protocol::Ack{{{parent.delivery.lease, parent.delivery.job, {}, {}, Duration{-1}, {}}}});
  parent.broker.turn();

  parent.broker.hold_commits(false);
  parent.broker.run();

  EXPECT_TRUE(parent.worker.answer(acked).has_value());
  const auto answer = parent.worker.answer(asked);
  ASSERT_TRUE(answer.has_value());
  ASSERT_TRUE(std::holds_alternative<protocol::ErrorReply>(*answer));
  EXPECT_EQ(std::get<protocol::ErrorReply>(*answer).code, "lease_lost");
  EXPECT_EQ(parent.broker.disk().jobs.size(), 2U);
  EXPECT_TRUE(parent.broker.disk().unique.empty());
}

TEST(EngineChildren, ARequestThatIsLookedUpMayFindTheLeaseLost) {
  Parent parent;
  parent.enqueue(1);
  Enqueue old = parent.message(jobs(1));
  parent.enqueue(1);  // so that the counter of `old` has to be looked up
  parent.broker.hold_commits(true);
  const std::uint64_t asked = parent.worker.send(old);
  parent.broker.turn();
  parent.worker.send(protocol::Release{{{parent.delivery.lease, parent.delivery.job, {}, {}}}});
  parent.broker.turn();

  parent.broker.hold_commits(false);
  parent.broker.run();

  const auto answer = parent.worker.answer(asked);
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(std::holds_alternative<protocol::ErrorReply>(*answer));
}

TEST(EngineChildren, AKeyThatIsHeldLeadsToItsHolder) {
  Parent parent;
  const JobId holder = parent.producer.enqueue_one(keyed("a"));

  const auto answer = parent.worker.ask<Enqueued>(parent.message({keyed("a"), keyed("b")}));
  EXPECT_EQ(answer.count, 1U);
  EXPECT_EQ(answer.batch, parent.batch);
  EXPECT_EQ(answer.ids, (std::vector{holder, answer.first}));

  const auto none = parent.worker.ask<Enqueued>(parent.message({keyed("a")}));
  EXPECT_EQ(none.count, 0U);
  EXPECT_FALSE(none.batch);
  parent.broker.audit();
}

TEST(EngineChildren, TheBatchOutlivesTheParent) {
  Parent parent;
  NewJob late = job();
  late.delay = Duration{3000};
  parent.worker.ask<Enqueued>(parent.message({late}));
  parent.worker.ack(parent.delivery);
  Stream stream(parent.producer, parent.batch);
  stream.watch();
  parent.broker.run();
  stream.take();
  EXPECT_FALSE(stream.end);

  parent.broker.advance(Duration{3100});
  parent.worker.ack(parent.worker.take_job());
  stream.take();

  EXPECT_TRUE(stream.end);
  EXPECT_EQ(stream.last.total, 2U);
}

}  // namespace
}  // namespace millrace::broker
