// What STATS, LIST and SHOW tell.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

std::uint64_t of(const protocol::QueueInfo& info, JobState state) {
  return info.counts.at(static_cast<std::size_t>(state));
}

TEST(EngineStats, CountersFollowTheJobs) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 3});
  protocol::NewJob later = job();
  later.delay = Duration{60'000};
  producer.enqueue(jobs(4));
  producer.enqueue({later});
  const auto taken = worker.take_jobs();
  worker.ack(taken.at(0));
  worker.reject(taken.at(1));

  const auto info = producer.queue_info();

  EXPECT_EQ(of(info, JobState::scheduled), 1U);
  EXPECT_EQ(of(info, JobState::ready), 1U);
  EXPECT_EQ(of(info, JobState::leased), 1U);
  EXPECT_EQ(of(info, JobState::done), 1U);
  EXPECT_EQ(of(info, JobState::dead), 1U);
  EXPECT_EQ(info.workers, 1U);
}

TEST(EngineStats, CountersSurviveARestart) {
  EngineHarness broker;
  TestPeer& worker = broker.worker({.credit = 2});
  broker.producer().enqueue(jobs(5));
  worker.ack(worker.take_jobs().at(0));

  broker.restart();

  const auto info = broker.producer().queue_info();
  EXPECT_EQ(of(info, JobState::ready), 3U);
  EXPECT_EQ(of(info, JobState::leased), 1U);
  EXPECT_EQ(of(info, JobState::done), 1U);
}

TEST(EngineStats, AReportShowsWhoIsThere) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.queues = {"a", "b"}});
  producer.enqueue(jobs(2), {.queue = "a"});

  const auto report = producer.ask<protocol::Report>(protocol::Stats{});

  EXPECT_EQ(report.producers, 1U);
  ASSERT_EQ(report.workers.size(), 1U);
  EXPECT_EQ(report.workers[0].leases, 2U);
  EXPECT_EQ(report.workers[0].queues, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(report.queues.size(), 2U);
  EXPECT_EQ(report.epoch, 1U);
  EXPECT_FALSE(report.storage_full);
  EXPECT_EQ(worker.take_jobs().size(), 2U);
}

TEST(EngineStats, AnUnknownQueueIsNotFound) {
  EngineHarness broker;

  EXPECT_EQ(broker.producer().refusal(protocol::Stats{"nowhere"}), "not_found");
}

TEST(EngineStats, ListAndShowSeeWhatWasCommitted) {
  EngineHarness broker;
  TestPeer& producer = broker.producer();
  const auto all = producer.enqueue(jobs(2));

  EXPECT_EQ(producer.ask<protocol::Page>(protocol::List{}).jobs.size(), 2U);
  EXPECT_EQ(producer.ask<protocol::Item>(protocol::Show{all.first, {}}).job.size(), 1U);
  EXPECT_EQ(producer.refusal(protocol::Show{JobId{99}, {}}), "not_found");
}

}  // namespace
}  // namespace millrace::broker
