#include "worker/thread_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <latch>
#include <set>
#include <stdexcept>

namespace millrace::worker {
namespace {

using testing::StartsWith;

constexpr Duration kPatience{20'000};

class ThreadExecutorTest : public testing::Test {
 protected:
  static Job job(std::uint64_t lease, const char* kind) {
    Job made;
    made.id = JobId{lease};
    made.lease = LeaseId{lease};
    made.kind = kind;
    return made;
  }
  static std::vector<Job> jobs(std::initializer_list<std::uint64_t> leases, const char* kind) {
    std::vector<Job> made;
    for (const std::uint64_t lease : leases) made.push_back(job(lease, kind));
    return made;
  }
  void kind(const char* name, Handler handler) {
    registry_.add(name, {kPoolIo, std::move(handler)});
  }
  /// Waits for `count` completions.
  std::vector<Completion> wait_for(std::size_t count) {
    std::vector<Completion> all;
    while (all.size() < count) {
      pollfd fd{completions_.wakeup().fd(), POLLIN, 0};
      if (poll(&fd, 1, static_cast<int>(kPatience.count())) <= 0) {
        ADD_FAILURE() << "only " << all.size() << " of " << count << " completions came";
        break;
      }
      completions_.wakeup().clear();
      for (Completion& completion : completions_.take()) all.push_back(std::move(completion));
    }
    return all;
  }

  Registry registry_;
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  ChildJobs children_{completions_.wakeup()};
};

TEST_F(ThreadExecutorTest, RunsAJobOnANamedThread) {
  kind("name", [](JobContext&) {
    std::array<char, 16> name{};
    pthread_getname_np(pthread_self(), name.data(), name.size());
    return Outcome::ack(Payload::text(name.data()));
  });
  ThreadExecutor executor("io", 1, registry_, completions_, outputs_, children_);

  executor.start(jobs({7}, "name"));

  const auto completions = wait_for(1);
  ASSERT_EQ(completions.size(), 1U);
  EXPECT_EQ(completions[0].lease, LeaseId{7});
  EXPECT_EQ(completions[0].outcome.result.bytes, "mr-io-1");
  EXPECT_EQ(completions[0].stopped, StopReason::none);
}

TEST_F(ThreadExecutorTest, ALongRunDoesNotHoldUpTheShortOnesQueuedBehindIt) {
  std::latch others_done(1);
  kind("long", [&](JobContext&) {
    others_done.wait();
    return Outcome::ack();
  });
  kind("short", [](JobContext&) { return Outcome::ack(); });
  ThreadExecutor executor("io", 2, registry_, completions_, outputs_, children_);
  std::vector<Job> queued = jobs({1}, "long");
  for (std::uint64_t lease = 2; lease <= 2 * executor.depth_max(); ++lease)
    queued.push_back(job(lease, "short"));
  executor.start(std::move(queued));

  // As the agent does: it looks now and then, and is woken for the last ones only.
  std::size_t ended = 0;
  while (ended < 2 * executor.depth_max() - 1) {
    executor.look_after();
    pollfd fd{completions_.wakeup().fd(), POLLIN, 0};
    poll(&fd, 1, static_cast<int>(kBatchLook.count()));
    completions_.wakeup().clear();
    ended += completions_.take().size();
  }

  others_done.count_down();
  EXPECT_EQ(wait_for(1).front().lease, LeaseId{1});
}

TEST_F(ThreadExecutorTest, AQueuedJobThatIsCancelledDoesNotRun) {
  std::latch go(1);
  std::atomic<int> ran = 0;
  kind("wait", [&](JobContext&) {
    ++ran;
    go.wait();
    return Outcome::ack();
  });
  ThreadExecutor executor("io", 1, registry_, completions_, outputs_, children_);
  executor.start(jobs({1, 2}, "wait"));

  executor.cancel(LeaseId{2}, StopReason::cancelled);
  go.count_down();

  for (const Completion& completion : wait_for(2))
    EXPECT_EQ(completion.stopped,
              completion.lease == LeaseId{2} ? StopReason::cancelled : StopReason::none);
  EXPECT_EQ(ran, 1);
}

TEST_F(ThreadExecutorTest, RunsAsManyJobsAtOnceAsItHasThreads) {
  std::latch all_running(4);
  kind("meet", [&](JobContext&) {
    all_running.arrive_and_wait();  // none returns before all four run
    return Outcome::ack();
  });
  ThreadExecutor executor("io", 4, registry_, completions_, outputs_, children_);

  executor.start(jobs({1, 2, 3, 4}, "meet"));

  EXPECT_EQ(wait_for(4).size(), 4U);
}

TEST_F(ThreadExecutorTest, AnExceptionIsANackWithItsText) {
  kind("throw", [](JobContext&) -> Outcome { throw std::runtime_error("disk: on fire"); });
  kind("throw.int", [](JobContext&) -> Outcome { throw 1; });
  ThreadExecutor executor("io", 2, registry_, completions_, outputs_, children_);

  executor.start(jobs({1}, "throw"));
  EXPECT_EQ(wait_for(1).at(0).outcome.error, "disk: on fire");
  executor.start(jobs({2}, "throw.int"));
  const auto completions = wait_for(1);
  EXPECT_EQ(completions.at(0).outcome.verdict, Outcome::Verdict::nack);
  EXPECT_THAT(completions.at(0).outcome.error, StartsWith("exception: "));
}

TEST_F(ThreadExecutorTest, CancelEndsAWaitAndTheFirstReasonStands) {
  std::latch begun(1);
  kind("wait", [&](JobContext& context) {
    begun.count_down();
    return context.wait(kPatience) ? Outcome::ack() : Outcome::nack("stopped");
  });
  ThreadExecutor executor("io", 1, registry_, completions_, outputs_, children_);
  executor.start(jobs({1}, "wait"));
  begun.wait();

  executor.cancel(LeaseId{1}, StopReason::timeout);
  executor.cancel(LeaseId{1}, StopReason::cancelled);
  executor.cancel(LeaseId{2}, StopReason::cancelled);

  const auto completions = wait_for(1);
  EXPECT_EQ(completions.at(0).outcome.error, "stopped");
  EXPECT_EQ(completions.at(0).stopped, StopReason::timeout);
}

TEST_F(ThreadExecutorTest, WhatARunTellsIsInTheBufferWhenItHasReturned) {
  kind("tell", [](JobContext& context) {
    context.log("line");
    context.progress(1, 2, "half");
    context.chunk(Payload::binary("part"));
    return Outcome::ack();
  });
  ThreadExecutor executor("io", 1, registry_, completions_, outputs_, children_);

  executor.start(jobs({7}, "tell"));
  wait_for(1);

  const auto items = outputs_.take(Instant{Duration{1000}}).items;
  ASSERT_EQ(items.size(), 3U);
  for (const auto& item : items) EXPECT_EQ(item.lease, LeaseId{7});
  EXPECT_EQ(items[0].data, Payload::text("line"));
  EXPECT_EQ(items[1].data, Payload::binary("part"));
  EXPECT_EQ(items[2].type, OutputType::progress);
}

TEST_F(ThreadExecutorTest, AChunkAboveALimitFailsTheRunUnlessItIsCaught) {
  outputs_.set_limits({.rows_max = 10, .bytes_max = 100, .item_bytes_max = 2});
  kind("tell", [](JobContext& context) {
    context.chunk(Payload::text("abc"));
    return Outcome::ack();
  });
  ThreadExecutor executor("io", 1, registry_, completions_, outputs_, children_);

  executor.start(jobs({1}, "tell"));

  const auto completions = wait_for(1);
  EXPECT_EQ(completions.at(0).outcome.verdict, Outcome::Verdict::nack);
  EXPECT_THAT(completions.at(0).outcome.error, StartsWith("output_too_large: 3 bytes"));
}

TEST_F(ThreadExecutorTest, StopAsksEveryRunAndWaitsForIt) {
  kind("wait", [](JobContext& context) {
    context.wait(kPatience);
    return Outcome::nack("stopped");
  });
  ThreadExecutor executor("io", 3, registry_, completions_, outputs_, children_);
  executor.start(jobs({1, 2, 3}, "wait"));

  EXPECT_TRUE(executor.stop(kPatience));

  const auto completions = wait_for(3);
  for (const Completion& completion : completions)
    EXPECT_EQ(completion.stopped, StopReason::shutdown);
}

TEST_F(ThreadExecutorTest, StopDoesNotWaitForEverForARunThatDoesNotReturn) {
  std::latch begun(1);
  std::latch release(1);
  kind("stubborn", [&](JobContext&) {
    begun.count_down();
    release.wait();
    return Outcome::ack();
  });
  ThreadExecutor executor("io", 2, registry_, completions_, outputs_, children_);
  executor.start(jobs({1}, "stubborn"));
  begun.wait();

  EXPECT_FALSE(executor.stop(Duration{10}));

  release.count_down();
  EXPECT_TRUE(executor.stop(kPatience));
}

TEST_F(ThreadExecutorTest, EveryJobOfManyEndsOnce) {
  std::atomic<int> runs{0};
  kind("count", [&](JobContext&) {
    ++runs;
    return Outcome::ack();
  });
  ThreadExecutor executor("io", 4, registry_, completions_, outputs_, children_);
  constexpr std::uint64_t kJobs = 5000;
  std::uint64_t next = 0;
  std::size_t free_slots = 4;
  std::set<LeaseId> ended;

  while (ended.size() < kJobs) {
    std::vector<Job> batch;
    for (; free_slots > 0 && next < kJobs; --free_slots) batch.push_back(job(++next, "count"));
    if (!batch.empty()) executor.start(std::move(batch));
    const auto completions = wait_for(1);
    if (completions.empty()) break;
    for (const Completion& completion : completions) ended.insert(completion.lease);
    free_slots += completions.size();
  }

  EXPECT_EQ(ended.size(), kJobs);
  EXPECT_EQ(runs, static_cast<int>(kJobs));
}

TEST(JobContextWait, IsTrueWhenTheWholeTimeHasPassed) {
  const Job job;
  const JobContext context(job, std::stop_token{});
  EXPECT_TRUE(context.wait(Duration{1}));
}

}  // namespace
}  // namespace millrace::worker
