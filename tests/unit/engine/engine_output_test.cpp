// What runs leave behind before they end, and waiting for it or for the end of a job.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Await;
using protocol::Delivery;
using protocol::ItemStatus;
using protocol::OutputRows;
using protocol::Results;
using protocol::WatchOutput;

protocol::OutputItem item(const Delivery& delivery, std::uint64_t n, std::string text = "line") {
  return {.lease = delivery.lease,
          .job = delivery.job,
          .n = n,
          .type = OutputType::log,
          .data = Payload::text(std::move(text)),
          .at = {}};
}

std::vector<ItemStatus> send(TestPeer& worker, std::vector<protocol::OutputItem> items) {
  return worker.ask<protocol::Settled>(protocol::Output{std::move(items)}).statuses;
}

TEST(EngineOutput, ItIsStoredInOrderAndNamesItsRun) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  const Delivery first = worker.take_job();
  send(worker, {item(first, 1, "one"), item(first, 2, "two")});
  worker.nack(first, "refused", Duration{0});
  broker.advance(Duration{1});
  send(worker, {item(worker.take_job(), 1, "again")});

  const auto rows = producer.ask<OutputRows>(WatchOutput{id, {}, false}).rows;

  ASSERT_EQ(rows.size(), 3U);
  EXPECT_EQ(rows.at(0).data, Payload::text("one"));
  EXPECT_EQ(rows.at(1).attempt, 1);
  EXPECT_EQ(rows.at(2).data, Payload::text("again"));
  EXPECT_EQ(rows.at(2).attempt, 2);
  EXPECT_LT(rows.at(1).cursor, rows.at(2).cursor);
}

TEST(EngineOutput, ARepeatedItemIsStoredOnceAlsoAfterARestart) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();
  worker.start(delivery);

  EXPECT_EQ(send(worker, {item(delivery, 1)}), std::vector{ItemStatus::ok});
  EXPECT_EQ(send(worker, {item(delivery, 1)}), std::vector{ItemStatus::duplicate});
  broker.restart();
  worker.hello();
  worker.offer({});
  worker.resume({{delivery.lease, delivery.job, true, Duration{1}}});
  EXPECT_EQ(send(worker, {item(delivery, 1), item(delivery, 2)}),
            (std::vector{ItemStatus::duplicate, ItemStatus::ok}));

  EXPECT_EQ(broker.disk().outputs.size(), 2U);
}

TEST(EngineOutput, AStaleLeaseLeavesNothing) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();
  worker.ack(delivery);

  EXPECT_EQ(send(worker, {item(delivery, 1)}), std::vector{ItemStatus::stale});
  TestPeer& other = broker.worker();
  producer.enqueue_one(job());
  const Delivery foreign = worker.take_job();
  EXPECT_EQ(send(other, {item(foreign, 1)}), std::vector{ItemStatus::stale});
  EXPECT_TRUE(broker.disk().outputs.empty());
}

TEST(EngineOutput, LimitsRefuseWhatIsTooMuch) {
  EngineOptions options;
  options.limits.output_rows_max = 3;
  options.limits.output_item_bytes_max = 10;
  options.limits.output_bytes_max = 15;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();

  EXPECT_EQ(send(worker,
                 {item(delivery, 1, std::string(11, 'x')), item(delivery, 1, std::string(10, 'x')),
                  item(delivery, 2, std::string(6, 'x')), item(delivery, 2, std::string(5, 'x')),
                  item(delivery, 3, ""), item(delivery, 4, "")}),
            (std::vector{ItemStatus::refused, ItemStatus::ok, ItemStatus::refused, ItemStatus::ok,
                         ItemStatus::ok, ItemStatus::refused}));
}

TEST(EngineOutput, AWatcherIsToldWhenThereIsSomethingAndAtTheEnd) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();
  const auto first = producer.send(WatchOutput{id, {}, true});
  broker.run();
  EXPECT_FALSE(producer.answer(first));

  send(worker, {item(delivery, 1)});
  const auto rows = std::get<OutputRows>(*producer.answer(first));
  EXPECT_EQ(rows.rows.size(), 1U);
  EXPECT_FALSE(rows.end);
  const auto second = producer.send(WatchOutput{id, rows.cursor, true});
  broker.run();
  EXPECT_FALSE(producer.answer(second));
  worker.ack(delivery);

  const auto last = std::get<OutputRows>(*producer.answer(second));
  EXPECT_TRUE(last.rows.empty());
  EXPECT_TRUE(last.end);
}

TEST(EngineOutput, NothingIsMissedBetweenReadAndWait) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  const Delivery delivery = worker.take_job();
  broker.hold_reads(true);
  const auto question = producer.send(WatchOutput{id, {}, true});
  broker.run();
  send(worker, {item(delivery, 1)});
  broker.hold_reads(false);
  broker.run();

  EXPECT_TRUE(producer.answer(question));
}

TEST(EngineOutput, AwaitAnswersWithTheResultAtTheEnd) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& other = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  const auto one = producer.send(Await{id});
  const auto two = other.send(Await{id});
  broker.run();
  EXPECT_FALSE(producer.answer(one));

  worker.ack(worker.take_job(), "42");

  for (const auto& answer : {producer.answer(one), other.answer(two)}) {
    const auto results = std::get<Results>(*answer);
    ASSERT_EQ(results.rows.size(), 1U);
    EXPECT_EQ(results.rows.front().job, id);
    EXPECT_EQ(results.rows.front().result, Payload::text("42"));
  }
  EXPECT_EQ(other.ask<Results>(Await{id}).rows.size(), 1U);  // and afterwards at once
}

TEST(EngineOutput, WhoeverComesBackAsksAgain) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  const JobId id = producer.enqueue_one(job());
  producer.send(Await{id});
  broker.run();
  producer.hello();  // on a new connection
  const auto again = producer.send(Await{id});
  broker.run();

  worker.ack(worker.take_job());

  EXPECT_EQ(producer.take<Results>().size() + (producer.answer(again) ? 1U : 0U), 1U);
}

TEST(EngineOutput, AnUnknownJobIsNotFound) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();

  EXPECT_EQ(producer.refusal(Await{JobId{77}}), "not_found");
  EXPECT_EQ(producer.refusal(WatchOutput{JobId{77}, {}, true}), "not_found");
}

TEST(EngineOutput, QuestionsOfOnePeerAreLimited) {
  EngineOptions options;
  options.limits.waits_per_session_max = 2;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  const auto made = producer.enqueue(jobs(3));
  producer.send(Await{made.first});
  producer.send(Await{JobId{made.first.value + 1}});
  broker.run();

  EXPECT_EQ(producer.refusal(Await{JobId{made.first.value + 2}}), "busy");
}

}  // namespace
}  // namespace millrace::broker
