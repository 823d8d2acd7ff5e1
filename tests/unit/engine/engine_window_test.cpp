// What is in memory and what is only on disk: order, bounds, and what happens while a load runs.

#include <gtest/gtest.h>

#include "tests/support/engine_harness.h"

namespace millrace::broker {
namespace {

using protocol::Delivery;
using protocol::ItemStatus;
using protocol::NewJob;

EngineOptions window_of(std::size_t jobs_max) {
  EngineOptions options;
  options.limits.window_jobs_max = jobs_max;
  return options;
}

NewJob urgent(int priority) {
  NewJob made = job();
  made.priority = priority;
  return made;
}

NewJob delayed(Duration delay) {
  NewJob made = job();
  made.delay = delay;
  return made;
}

/// Takes and ends jobs one by one until none comes any more.
std::vector<JobId> drain_in_order(TestPeer& worker, std::uint64_t credit = 0) {
  std::vector<JobId> order;
  worker.credit(++credit);
  for (auto taken = worker.take_jobs(); !taken.empty(); taken = worker.take_jobs()) {
    for (const Delivery& delivery : taken) {
      order.push_back(delivery.job);
      worker.ack(delivery);
    }
    credit += taken.size();
    worker.credit(credit);
  }
  return order;
}

std::vector<JobId> all_ids(std::uint64_t first, std::uint64_t last) {
  std::vector<JobId> ids;
  for (std::uint64_t id = first; id <= last; ++id) ids.emplace_back(id);
  return ids;
}

TEST(EngineWindow, ALongBacklogStaysOnDiskAndComesInOrder) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  for (int i = 0; i < 5; ++i) producer.enqueue(jobs(100));
  EXPECT_LE(broker.engine().jobs_in_memory(), 8U);

  TestPeer& worker = broker.worker({.credit = 0});

  EXPECT_EQ(drain_in_order(worker), all_ids(1, 500));
  EXPECT_EQ(broker.count(JobState::done), 500U);
  EXPECT_EQ(broker.engine().jobs_in_memory(), 0U);
  broker.audit();
}

TEST(EngineWindow, ABacklogFoundAtTheStartComesInOrder) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(200));

  broker.restart();
  EXPECT_EQ(broker.engine().jobs_in_memory(), 0U);
  TestPeer& worker = broker.worker({.credit = 0});

  EXPECT_EQ(drain_in_order(worker), all_ids(1, 200));
}

TEST(EngineWindow, AnUrgentLatecomerOvertakesTheBacklog) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(100));
  producer.enqueue({urgent(1), urgent(0)});

  TestPeer& worker = broker.worker({.credit = 3});

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 3U);
  EXPECT_EQ(taken[0].job, JobId{102});
  EXPECT_EQ(taken[1].job, JobId{101});
  EXPECT_EQ(taken[2].job, JobId{1});
  EXPECT_LE(broker.engine().jobs_in_memory(), 8U + 3U);
}

TEST(EngineWindow, AWorkerWithMuchCreditGetsAllOfABacklog) {
  EngineHarness broker(window_of(8));
  broker.producer().enqueue(jobs(100));

  TestPeer& worker = broker.worker({.credit = 1000});

  const auto taken = worker.take_jobs();
  ASSERT_EQ(taken.size(), 100U);
  for (std::size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(taken[i].job, JobId{i + 1});
}

TEST(EngineWindow, NoLaneOvertakesOneThatIsBeingLoaded) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(40, "a"));
  producer.enqueue(jobs(40, "b"));

  TestPeer& worker = broker.worker({.kinds = {{"a", "io"}, {"b", "io"}}, .credit = 1000});

  std::vector<JobId> order;
  for (const Delivery& delivery : worker.take_jobs()) order.push_back(delivery.job);
  EXPECT_EQ(order, all_ids(1, 80));
}

TEST(EngineWindow, TheSmallestWindowsWorkToo) {
  for (std::size_t size : {1, 2, 3, 4}) {
    EngineHarness broker(window_of(size));
    TestPeer& producer = broker.producer();
    producer.enqueue(jobs(20));
    for (int i = 0; i < 10; ++i) producer.enqueue({delayed(Duration{100})});
    TestPeer& worker = broker.worker({.credit = 0});

    EXPECT_EQ(drain_in_order(worker), all_ids(1, 20)) << "window of " << size;
    broker.advance(Duration{200});
    EXPECT_EQ(drain_in_order(worker, 20), all_ids(21, 30)) << "window of " << size;
  }
}

TEST(EngineWindow, AWindowIsBoundedInBytesToo) {
  EngineOptions options;
  options.limits.window_bytes_max = 10'000;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  for (int i = 0; i < 100; ++i) producer.enqueue({job("echo", std::string(1000, 'x'))});

  EXPECT_LE(broker.engine().jobs_in_memory(), 10U);
  EXPECT_GE(broker.engine().jobs_in_memory(), 2U);
  TestPeer& worker = broker.worker({.credit = 0});
  EXPECT_EQ(drain_in_order(worker), all_ids(1, 100));
}

TEST(EngineWindow, LargePayloadsThatWentToDiskDoNotCountForEver) {
  EngineOptions options;
  options.limits.window_bytes_max = 10'000;
  EngineHarness broker(options);
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 0});
  std::uint64_t credit = 0;
  for (int i = 0; i < 20; ++i) {
    producer.enqueue({job("echo", std::string(2000, 'x'))});
    worker.credit(++credit);
    worker.ack(worker.take_job());
  }

  producer.enqueue(jobs(8));

  EXPECT_EQ(broker.engine().jobs_in_memory(), 8U);
}

TEST(EngineWindow, AReleasedJobGoesBackToItsPlace) {
  EngineHarness broker(window_of(8));
  broker.producer().enqueue(jobs(50));
  TestPeer& worker = broker.worker({.credit = 1});
  const Delivery first = worker.take_job();
  worker.release(first);

  worker.credit(2);

  EXPECT_EQ(worker.take_job().job, first.job);
}

TEST(EngineWindow, JobsThatArriveWhileALoadRunsAreNeitherLostNorRepeated) {
  EngineHarness broker(window_of(8));
  broker.set_commit_turns(2);
  TestPeer& producer = broker.producer();
  TestPeer& worker = broker.worker({.credit = 0});
  producer.enqueue(jobs(30));
  std::vector<JobId> order;
  for (std::uint64_t credit = 1; credit <= 200; ++credit) {
    producer.send(producer.enqueue_message(jobs(1)));
    worker.send(protocol::Credit{{{"io", credit}}});
    broker.turn();
    for (const Delivery& delivery : worker.take_jobs()) order.push_back(delivery.job);
  }
  broker.run();
  for (const Delivery& delivery : worker.take_jobs()) order.push_back(delivery.job);

  EXPECT_EQ(order, all_ids(1, 200));
}

TEST(EngineWindow, AJobCancelledWhileItsLoadRunsDoesNotComeBack) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(50));
  TestPeer& worker = broker.worker({.credit = 0});
  broker.set_commit_turns(3);
  std::vector<JobId> victims;
  for (std::uint64_t id = 5; id <= 25; ++id) victims.emplace_back(id);

  producer.send(protocol::Cancel{victims, {}, {}});
  broker.turn();
  worker.send(protocol::Credit{{{"io", 100}}});
  broker.run();

  for (const Delivery& delivery : worker.take_jobs()) {
    const bool victim = delivery.job >= JobId{5} && delivery.job <= JobId{25};
    if (victim) {
      EXPECT_EQ(worker.ack(delivery), ItemStatus::cancelled);
    } else {
      EXPECT_EQ(worker.ack(delivery), ItemStatus::ok);
    }
  }
  EXPECT_EQ(broker.count(JobState::cancelled), 21U);
  EXPECT_EQ(broker.count(JobState::done), 29U);
  broker.audit();
}

TEST(EngineWindow, AReadyJobThatSomebodyLookedAtWhileItsLoadRanIsNotLost) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(20));
  TestPeer& worker = broker.worker({.credit = 0});

  // Both loads are asked with one batch, so that both answers meet in memory.
  producer.send(protocol::Redrive{all_ids(7, 14)});
  worker.send(protocol::Credit{{{"io", 6}}});
  broker.run();
  for (const Delivery& delivery : worker.take_jobs()) worker.ack(delivery);

  EXPECT_EQ(drain_in_order(worker, 6), all_ids(7, 20));
}

TEST(EngineWindow, TheFrontierMayBeAJobThatIsNoLongerThere) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  producer.enqueue(jobs(40));
  producer.cancel(all_ids(4, 30));
  TestPeer& worker = broker.worker({.credit = 0});

  auto expected = all_ids(1, 3);
  for (JobId id : all_ids(31, 40)) expected.push_back(id);
  EXPECT_EQ(drain_in_order(worker), expected);
}

// ---- scheduled jobs
// ------------------------------------------------------------------------------

TEST(EngineScheduledWindow, ManyDelayedJobsStayOnDiskAndComeUpInTime) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  for (int i = 0; i < 100; ++i) producer.enqueue({delayed(Duration{10'000 - 100 * i})});
  EXPECT_LE(broker.engine().jobs_in_memory(), 8U);
  TestPeer& worker = broker.worker({.credit = 1000});

  std::vector<JobId> order;
  for (int i = 0; i < 100; ++i) {
    broker.advance(Duration{100});
    for (const Delivery& delivery : worker.take_jobs()) order.push_back(delivery.job);
  }

  std::vector<JobId> expected = all_ids(1, 100);
  std::reverse(expected.begin(), expected.end());
  EXPECT_EQ(order, expected);
}

TEST(EngineScheduledWindow, ADelayedBacklogFoundAtTheStartComesUpInTime) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  for (int i = 0; i < 50; ++i) producer.enqueue({delayed(Duration{1000})});

  broker.restart();
  TestPeer& worker = broker.worker({.credit = 1000});
  EXPECT_LE(broker.engine().jobs_in_memory(), 8U);
  broker.advance(Duration{1000});

  EXPECT_EQ(worker.take_jobs().size(), 50U);
}

TEST(EngineScheduledWindow, AJobCancelledWhileItsLoadRunsStaysCancelled) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  for (int i = 0; i < 30; ++i) producer.enqueue({delayed(Duration{1000 + i})});
  broker.set_commit_turns(3);
  producer.cancel(all_ids(10, 20));
  TestPeer& worker = broker.worker({.credit = 1000});

  broker.advance(Duration{2000});

  EXPECT_EQ(worker.take_jobs().size(), 19U);
  broker.audit();
}

TEST(EngineScheduledWindow, AScheduledJobThatSomebodyLookedAtWhileItsLoadRanIsNotLost) {
  EngineHarness broker(window_of(8));
  TestPeer& producer = broker.producer();
  for (int i = 0; i < 30; ++i) producer.enqueue({delayed(Duration{1000})});
  broker.restart();
  broker.crash();
  broker.restart();
  TestPeer& other = broker.producer();
  TestPeer& worker = broker.worker({.credit = 1000});

  for (int i = 0; i < 40; ++i) {
    other.send(protocol::Redrive{all_ids(1, 30)});
    broker.advance(Duration{50});
  }

  EXPECT_EQ(worker.take_jobs().size(), 30U);
}

}  // namespace
}  // namespace millrace::broker
