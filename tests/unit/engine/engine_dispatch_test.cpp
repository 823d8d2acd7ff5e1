// Which job goes to which worker, and when.

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::NewJob;

std::vector<JobId> ids(const std::vector<Delivery>& deliveries) {
  std::vector<JobId> all;
  all.reserve(deliveries.size());
  for (const Delivery& delivery : deliveries) all.push_back(delivery.job);
  return all;
}

std::vector<JobId> ids(std::initializer_list<std::uint64_t> values) {
  std::vector<JobId> all;
  for (std::uint64_t value : values) all.emplace_back(value);
  return all;
}

NewJob urgent(int priority, const std::string& kind = "echo") {
  NewJob made = job(kind);
  made.priority = priority;
  return made;
}

TEST(EngineDispatch, PriorityGoesBeforeIdOverAllKindsOfAQueue) {
  EngineHarness broker;
  broker.producer().enqueue({urgent(100, "a"), urgent(5, "b"), urgent(100, "b"), urgent(5, "a"),
                             urgent(0, "a"), urgent(255, "b")});

  TestPeer& worker =
      broker.worker({.kinds = {{"a", "io"}, {"b", "cpu"}}, .pools = {{"io", 9}, {"cpu", 9}}});

  auto taken = worker.take_jobs();
  std::sort(taken.begin(), taken.end(),
            [](const Delivery& a, const Delivery& b) { return a.lease < b.lease; });
  EXPECT_EQ(ids(taken), ids({5, 2, 4, 1, 3, 6}));
}

TEST(EngineDispatch, ADeliveryTellsWhatTheWorkerNeeds) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob one = job("echo", "hello");
  one.max_attempts = 7;
  one.timeout = Duration{1234};
  const auto enqueued = broker.producer().enqueue({one});

  const Delivery delivery = worker.take_job();

  EXPECT_EQ(delivery.number, 1U);
  EXPECT_EQ(delivery.job, enqueued.first);
  EXPECT_EQ(delivery.kind, "echo");
  EXPECT_EQ(delivery.queue, kQueueDefault);
  EXPECT_EQ(delivery.payload, Payload::text("hello"));
  EXPECT_EQ(delivery.attempt, 1);
  EXPECT_EQ(delivery.max_attempts, 7);
  EXPECT_EQ(delivery.deliveries, 1);
  EXPECT_EQ(delivery.timeout, Duration{1234});
  EXPECT_EQ(delivery.batch, enqueued.batch);
  EXPECT_EQ(delivery.lease.value >> 40, broker.disk().epoch);
}

TEST(EngineDispatch, AJobThatMeetsCreditIsInsertedAsLeased) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(1, "warm-up"), {.queue = "other"});
  broker.forget_writes();

  producer.enqueue(jobs(3));

  ASSERT_EQ(broker.writes().size(), 1U);
  EXPECT_EQ(broker.writes()[0].inserts.size(), 3U);
  EXPECT_TRUE(broker.writes()[0].updates.empty());
  for (const JobInsert& insert : broker.writes()[0].inserts)
    EXPECT_EQ(insert.status.state, JobState::leased);
  EXPECT_EQ(worker.take_jobs().size(), 3U);
}

TEST(EngineDispatch, ALargePayloadIsReadFromTheStoreWhenTheJobIsLeased) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const std::string large(20'000, 'x');
  producer.enqueue({job("echo", large), job("echo", "small")});

  TestPeer& worker = broker.worker();

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].payload.bytes, large);
  EXPECT_EQ(taken[1].payload.bytes, "small");
}

TEST(EngineDispatch, ALargePayloadReachesAWorkerThatWaits) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  const std::string large(20'000, 'x');

  broker.producer().enqueue({job("echo", large)});

  const Delivery first = worker.take_job();
  EXPECT_EQ(first.payload.bytes, large);
  worker.release(first);
  EXPECT_EQ(worker.take_job().payload.bytes, large);
}

TEST(EngineDispatch, AnEmptyPayloadStaysWhatItWas) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  NewJob none = job();
  none.payload = {};

  broker.producer().enqueue({none, job("echo", "")});

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].payload, Payload{});
  EXPECT_EQ(taken[1].payload, Payload::text(""));
}

TEST(EngineDispatch, QueuesTakeTurns) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(6), {.queue = "a"});
  producer.enqueue(jobs(2), {.queue = "b"});
  producer.enqueue(jobs(2), {.queue = "c"});

  TestPeer& worker = broker.worker({.queues = {"a", "b", "c"}, .credit = 8});

  EXPECT_EQ(ids(worker.take_jobs()), ids({1, 7, 9, 2, 8, 10, 3, 4}));
}

TEST(EngineDispatch, TheTurnGoesOnWhereItStopped) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(3), {.queue = "a"});
  producer.enqueue(jobs(3), {.queue = "b"});
  TestPeer& worker = broker.worker({.queues = {"a", "b"}, .credit = 1});

  std::vector<std::string> order;
  for (std::uint64_t upto = 2; upto <= 5; ++upto) {
    order.push_back(worker.take_job().queue);
    worker.credit(upto);
  }

  EXPECT_EQ(order, (std::vector<std::string>{"a", "b", "a", "b"}));
}

TEST(EngineDispatch, JobsGoToTheWorkerWithTheMostFreeSlots) {
  EngineHarness broker;
  TestPeer& small = broker.worker({.pools = {{"io", 2}}});
  TestPeer& large = broker.worker({.pools = {{"io", 5}}});

  broker.producer().enqueue(jobs(5));

  EXPECT_EQ(large.take_jobs().size(), 4U);
  EXPECT_EQ(small.take_jobs().size(), 1U);
}

TEST(EngineDispatch, JobsSpreadEvenlyOverEqualWorkers) {
  EngineHarness broker;
  TestPeer& one = broker.worker();
  TestPeer& two = broker.worker();
  TestPeer& three = broker.worker();

  broker.producer().enqueue(jobs(9));

  EXPECT_EQ(one.take_jobs().size(), 3U);
  EXPECT_EQ(two.take_jobs().size(), 3U);
  EXPECT_EQ(three.take_jobs().size(), 3U);
}

TEST(EngineDispatch, AKindGoesToThePoolItIsOfferedIn) {
  EngineHarness broker;
  TestPeer& worker =
      broker.worker({.kinds = {{"a", "io"}, {"b", "cpu"}}, .pools = {{"io", 4}, {"cpu", 2}}});

  broker.producer().enqueue({job("a"), job("b"), job("b")});

  const auto messages = worker.take<protocol::Jobs>();
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(messages[0].pool, "cpu");
  EXPECT_EQ(messages[0].items.size(), 2U);
  EXPECT_EQ(messages[0].items[1].number, 2U);
  EXPECT_EQ(messages[1].pool, "io");
}

TEST(EngineDispatch, ALaneNobodyOffersDoesNotBlockTheOthers) {
  EngineOptions options;
  options.limits.window_jobs_max = 8;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  TestPeer& other = broker.worker({.kinds = {{"rare", "io"}}, .credit = 0});
  for (int i = 0; i < 10; ++i) producer.enqueue(jobs(20, "rare"));
  producer.enqueue(jobs(5, "echo"));

  TestPeer& worker = broker.worker();

  EXPECT_EQ(worker.take_jobs().size(), 5U);
  EXPECT_TRUE(other.take_jobs().empty());
}

TEST(EngineDispatch, AnUnknownKindGoesToSomeWorkerOfItsQueue) {
  EngineHarness broker;
  TestPeer& elsewhere = broker.worker({.queues = {"other"}});
  TestPeer& worker = broker.worker();

  broker.producer().enqueue(jobs(1, "nobody-has-it"));

  EXPECT_EQ(worker.take_job().kind, "nobody-has-it");
  EXPECT_TRUE(elsewhere.take_jobs().empty());
}

TEST(EngineDispatch, AnUnknownKindWaitsWhileThereIsNoWorker) {
  EngineHarness broker;
  const JobId id = broker.producer().enqueue_one(job("rare"));

  EXPECT_EQ(broker.state(id), JobState::ready);
}

TEST(EngineDispatch, AKindWaitsForItsBusyWorkerInsteadOfGoingToOneThatLacksIt) {
  EngineHarness broker;
  TestPeer& busy = broker.worker({.kinds = {{"rare", "io"}}, .credit = 1});
  TestPeer& idle = broker.worker();
  TestPeer& producer = broker.producer();

  producer.enqueue(jobs(2, "rare"));

  EXPECT_EQ(busy.take_jobs().size(), 1U);
  EXPECT_TRUE(idle.take_jobs().empty());
}

// ---- credit
// --------------------------------------------------------------------------------------

TEST(EngineCredit, NoMoreIsDeliveredThanTheCreditSays) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.credit = 3});
  broker.producer().enqueue(jobs(10));

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 3U);
  for (const Delivery& delivery : taken) worker.ack(delivery);
  EXPECT_TRUE(worker.take_jobs().empty());

  worker.credit(5);
  EXPECT_EQ(worker.take_jobs().size(), 2U);
}

TEST(EngineCredit, ARepeatedOrLateCreditChangesNothing) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.credit = 4});
  broker.producer().enqueue(jobs(10));
  EXPECT_EQ(worker.take_jobs().size(), 4U);

  worker.credit(4);
  worker.credit(2);
  worker.credit(0);
  EXPECT_TRUE(worker.take_jobs().empty());

  worker.credit(5);
  EXPECT_EQ(worker.take_job().number, 5U);
}

TEST(EngineCredit, AHeartbeatRepeatsTheCredit) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.credit = 1});
  broker.producer().enqueue(jobs(3));
  EXPECT_EQ(worker.take_jobs().size(), 1U);
  worker.lossy = true;
  broker.receive({worker.connection(), 0, protocol::Heartbeat{{{"io", 2}}, 1, 0}});
  broker.run();

  EXPECT_EQ(broker.count(JobState::leased), 2U);
}

TEST(EngineCredit, CreditForAPoolThatWasNotOfferedIsIgnored) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.credit = 0});
  broker.producer().enqueue(jobs(3));

  worker.credit(10, "gpu");

  EXPECT_TRUE(worker.take_jobs().empty());
}

TEST(EngineCredit, AWorkerHoldsNoMoreLeasesThanTheLimit) {
  EngineOptions options;
  options.limits.leases_per_worker_max = 2;
  EngineHarness broker(options);
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(5));
  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 2U);

  worker.ack(taken[0]);

  EXPECT_EQ(worker.take_jobs().size(), 1U);
}

TEST(EngineCredit, NothingIsDeliveredBeforeResume) {
  EngineHarness broker;
  broker.producer().enqueue(jobs(3));
  TestPeer& worker = broker.stranger(protocol::Role::worker);
  worker.hello();
  worker.offer({});
  worker.credit(10);
  EXPECT_TRUE(worker.take_jobs().empty());

  worker.resume();

  EXPECT_EQ(worker.take_jobs().size(), 3U);
}

TEST(EngineCredit, NothingIsDeliveredBetweenAReconnectAndItsResume) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  worker.hello();

  broker.producer().enqueue(jobs(3));
  EXPECT_TRUE(worker.take_jobs().empty());

  worker.resume();
  EXPECT_EQ(worker.take_jobs().size(), 3U);
}

TEST(EngineCredit, NothingIsDeliveredBetweenASecondHelloAndItsResume) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  worker.hello_again();

  broker.producer().enqueue(jobs(3));
  EXPECT_TRUE(worker.take_jobs().empty());

  worker.resume();
  EXPECT_EQ(worker.take_jobs().size(), 3U);
}

TEST(EngineCredit, ResumedTellsTheNumbersUsedSoFar) {
  EngineHarness broker;
  TestPeer& worker = broker.worker();
  broker.producer().enqueue(jobs(3));

  const auto resumed = worker.resume();

  EXPECT_EQ(resumed.keep.size(), 3U);
  EXPECT_EQ(resumed.delivered.at("io"), 3U);
}

}  // namespace
}  // namespace millrace::broker
