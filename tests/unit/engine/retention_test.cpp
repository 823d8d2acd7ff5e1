// Rules of retention, and what they make of ended jobs.

#include "broker/engine/retention.h"

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

constexpr Duration kDay{24L * 3600 * 1000};

Retention rules(std::initializer_list<const char*> texts) {
  Retention retention;
  for (const char* text : texts) retention.rules.push_back(parse_retention_rule(text).value());
  return retention;
}

TEST(Retention, ABareDurationIsAnAgeForEverything) {
  EXPECT_EQ(rules({"3d"}).keep("any", JobState::done).age, 3 * kDay);
  EXPECT_EQ(rules({"0"}).keep("any", JobState::done).age, Duration{0});
}

TEST(Retention, TheMostSpecificRuleThatNamesAThingCounts) {
  const Retention retention = rules({"7d", "queue=mail state=dead age=30d", "queue=mail jobs=100",
                                     "state=dead age=14d bytes=1MB"});

  EXPECT_EQ(retention.keep("mail", JobState::dead).age, 30 * kDay);
  EXPECT_EQ(retention.keep("mail", JobState::dead).jobs, 100U);
  EXPECT_EQ(retention.keep("mail", JobState::dead).bytes, 1'000'000U);
  EXPECT_EQ(retention.keep("mail", JobState::done).age, 7 * kDay);
  EXPECT_EQ(retention.keep("web", JobState::dead).age, 14 * kDay);
  EXPECT_FALSE(retention.keep("web", JobState::done).jobs);
}

TEST(Retention, NonsenseIsNamed) {
  for (const char* text : {"", "queue=mail", "soon", "state=ready age=1d", "jobs=-1", "bytes=x",
                           "queue=NO age=1d", "colour=red age=1d"})
    EXPECT_FALSE(parse_retention_rule(text)) << text;
}

EngineOptions with(Retention retention) {
  EngineOptions options;
  options.retention = std::move(retention);
  return options;
}

TEST(EnginePrune, OnlySoManyJobsStayTheNewest) {
  EngineHarness broker(with(rules({"0", "queue=default state=cancelled jobs=3"})));
  TestPeer& producer = broker.producer();
  std::vector<JobId> ids;
  for (int i = 0; i < 10; ++i) ids.push_back(producer.enqueue_one(job()));
  producer.cancel(ids);

  broker.advance(Duration{3000});

  EXPECT_EQ(broker.disk().jobs.size(), 3U);
  EXPECT_EQ(broker.disk().jobs.begin()->first, ids.at(7));
  broker.audit();
}

TEST(EnginePrune, OnlySoManyBytesStay) {
  EngineHarness broker(with(rules({"0", "bytes=1000"})));
  TestPeer& producer = broker.producer();
  std::vector<JobId> ids;
  for (int i = 0; i < 10; ++i)
    ids.push_back(producer.enqueue_one(job("echo", std::string(300, 'x'))));
  producer.cancel(ids);

  broker.advance(Duration{3000});

  EXPECT_EQ(broker.disk().jobs.size(), 3U);
  broker.audit();
}

TEST(EnginePrune, OpenJobsAndOtherStatesStay) {
  EngineHarness broker(with(rules({"0", "state=cancelled jobs=0"})));
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 1});
  const auto made = producer.enqueue(jobs(6));
  worker.ack(worker.take_job());
  producer.cancel({JobId{made.first.value + 4}, JobId{made.first.value + 5}});

  broker.advance(Duration{3000});

  EXPECT_EQ(broker.disk().jobs.size(), 4U);
  EXPECT_EQ(broker.count(JobState::cancelled), 0U);
  EXPECT_EQ(broker.count(JobState::done), 1U);
  broker.audit(false);
}

TEST(EnginePrune, EachQueueHasItsOwnAge) {
  EngineHarness broker(with(rules({"7d", "queue=short age=1h"})));
  TestPeer& producer = broker.producer();
  const JobId quick = producer.enqueue_one(job(), {.queue = "short"});
  const JobId slow = producer.enqueue_one(job());
  producer.cancel({quick, slow});

  broker.stall(Duration{2L * 3600 * 1000});
  broker.advance(Duration{61'000});

  EXPECT_FALSE(broker.disk().jobs.contains(quick));
  EXPECT_TRUE(broker.disk().jobs.contains(slow));
}

TEST(EnginePrune, AWallClockThatIsSetAheadMakesNothingOlder) {
  EngineHarness broker(with(rules({"1h"})));
  TestPeer& producer = broker.producer();
  const JobId id = producer.enqueue_one(job());
  producer.cancel({id});

  broker.set_wall_clock(kDay);
  broker.advance(Duration{121'000});

  EXPECT_TRUE(broker.disk().jobs.contains(id));
  EXPECT_EQ(broker.disk().requests.size(), 1U);
}

TEST(EnginePrune, OutputsGoWithTheirJob) {
  EngineHarness broker(with(rules({"0", "jobs=0"})));
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker();
  producer.enqueue_one(job());
  const auto delivery = worker.take_job();
  worker.ask<protocol::Settled>(protocol::Output{{{.lease = delivery.lease,
                                                   .job = delivery.job,
                                                   .n = 1,
                                                   .type = OutputType::log,
                                                   .data = Payload::text("x"),
                                                   .at = {}}}});
  worker.ack(delivery);

  broker.advance(Duration{3000});

  EXPECT_TRUE(broker.disk().jobs.empty());
  EXPECT_TRUE(broker.disk().outputs.empty());
}

}  // namespace
}  // namespace millrace::broker
