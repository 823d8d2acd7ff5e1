#include "worker/loop/loop_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <latch>
#include <set>
#include <stdexcept>
#include <thread>

#include "worker/handlers/builtin.h"

namespace millrace::worker {
namespace {

using testing::StartsWith;
using JobPtr = std::shared_ptr<AsyncJob>;

constexpr Duration kPatience{20'000};

class LoopExecutorTest : public testing::Test {
 protected:
  static Job job(std::uint64_t lease, const char* kind, const char* payload = "null") {
    Job made;
    made.id = JobId{lease};
    made.lease = LeaseId{lease};
    made.kind = kind;
    made.payload = Payload::text(payload);
    return made;
  }
  static std::vector<Job> jobs(std::initializer_list<std::uint64_t> leases, const char* kind) {
    std::vector<Job> made;
    for (const std::uint64_t lease : leases) made.push_back(job(lease, kind));
    return made;
  }
  void kind(const char* name, AsyncHandler handler) {
    registry_.add(name, {kPoolLoop, {}, {}, std::move(handler)});
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
  /// Runs one job to its end.
  Completion run(LoopExecutor& executor, const char* name) {
    executor.start(jobs({1}, name));
    std::vector<Completion> completions = wait_for(1);
    return completions.empty() ? Completion{} : std::move(completions.front());
  }

  Registry registry_;
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  ChildJobs children_{completions_.wakeup()};
};

TEST_F(LoopExecutorTest, RunsAJobOnItsNamedThread) {
  kind("name", [](const JobPtr& job) {
    std::array<char, 16> name{};
    pthread_getname_np(pthread_self(), name.data(), name.size());
    job->complete(Outcome::ack(Payload::text(name.data())));
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  executor.start(jobs({7}, "name"));

  const auto completions = wait_for(1);
  ASSERT_EQ(completions.size(), 1U);
  EXPECT_EQ(completions[0].lease, LeaseId{7});
  EXPECT_EQ(completions[0].outcome.result.bytes, "mr-loop");
  EXPECT_EQ(completions[0].stopped, StopReason::none);
}

TEST_F(LoopExecutorTest, RunsThousandsOfSleepsInTheTimeOfOne) {
  kind("sleep", run_sleep_async);
  LoopExecutor executor({.slots = kLoopSlotsMax}, registry_, completions_, outputs_, children_);
  std::vector<Job> sleeps;
  for (std::uint64_t i = 1; i <= kLoopSlotsMax; ++i)
    sleeps.push_back(job(i, "sleep", R"({"ms": 500})"));

  const auto begin = std::chrono::steady_clock::now();
  executor.start(std::move(sleeps));
  const auto completions = wait_for(kLoopSlotsMax);

  // One after the other they would take 34 minutes.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  std::set<LeaseId> ended;
  for (const Completion& completion : completions) {
    EXPECT_EQ(completion.outcome.verdict, Outcome::Verdict::ack) << completion.outcome.error;
    EXPECT_GE(completion.elapsed, std::chrono::milliseconds(500));
    ended.insert(completion.lease);
  }
  EXPECT_EQ(ended.size(), kLoopSlotsMax);
}

TEST_F(LoopExecutorTest, EveryJobOfManyEndsOnce) {
  kind("echo", inline_on_loop(run_echo));
  constexpr std::size_t kSlots = 64;
  LoopExecutor executor({.slots = kSlots}, registry_, completions_, outputs_, children_);
  constexpr std::uint64_t kJobs = 5000;
  std::uint64_t next = 0;
  std::size_t free_slots = kSlots;
  std::set<LeaseId> ended;

  while (ended.size() < kJobs) {
    std::vector<Job> batch;
    for (; free_slots > 0 && next < kJobs; --free_slots) batch.push_back(job(++next, "echo"));
    if (!batch.empty()) executor.start(std::move(batch));
    const auto completions = wait_for(1);
    if (completions.empty()) break;
    for (const Completion& completion : completions) ended.insert(completion.lease);
    free_slots += completions.size();
  }

  EXPECT_EQ(ended.size(), kJobs);
}

TEST_F(LoopExecutorTest, AnExceptionIsANackWithItsText) {
  kind("throw", [](const JobPtr&) { throw std::runtime_error("disk: on fire"); });
  kind("throw.int", [](const JobPtr&) { throw 1; });
  kind("throw.later", [](const JobPtr& job) {
    job->post([job] { throw std::runtime_error("disk: burnt down"); });
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  EXPECT_EQ(run(executor, "throw").outcome.error, "disk: on fire");
  EXPECT_THAT(run(executor, "throw.int").outcome.error, StartsWith("exception: "));
  const Completion later = run(executor, "throw.later");
  EXPECT_EQ(later.outcome.verdict, Outcome::Verdict::nack);
  EXPECT_EQ(later.outcome.error, "disk: burnt down");
}

TEST_F(LoopExecutorTest, ARunThatNobodyHoldsHasFailed) {
  kind("drop", [](const JobPtr&) {});
  kind("drop.callback", [](const JobPtr& job) { job->after(Duration{1}, [] {}); });
  kind("drop.elsewhere", [](JobPtr job) { std::jthread([kept = std::move(job)] {}); });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  for (const char* name : {"drop", "drop.callback", "drop.elsewhere"}) {
    const Completion completion = run(executor, name);
    EXPECT_EQ(completion.outcome.verdict, Outcome::Verdict::nack);
    EXPECT_THAT(completion.outcome.error, StartsWith("abandoned: ")) << name;
  }
}

TEST_F(LoopExecutorTest, TheFirstOutcomeStands) {
  kind("twice", [](const JobPtr& job) {
    job->complete(Outcome::ack(Payload::text("one")));
    job->complete(Outcome::nack("two"));
    throw std::runtime_error("three");
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  EXPECT_EQ(run(executor, "twice").outcome.result.bytes, "one");
  EXPECT_TRUE(executor.stop(kPatience));
  EXPECT_TRUE(completions_.take().empty());
}

TEST_F(LoopExecutorTest, AnotherThreadCanComplete) {
  std::jthread other;
  kind("elsewhere", [&](const JobPtr& job) {
    other = std::jthread([job] { job->complete(Outcome::ack(Payload::text("done"))); });
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  EXPECT_EQ(run(executor, "elsewhere").outcome.result.bytes, "done");
}

TEST_F(LoopExecutorTest, PostFromAnotherThreadComesBackToTheLoop) {
  std::thread::id handler_thread;
  std::thread::id callback_thread;
  kind("post", [&](const JobPtr& job) {
    handler_thread = std::this_thread::get_id();
    std::jthread([&] {
      job->post([&, job] {
        callback_thread = std::this_thread::get_id();
        job->complete(Outcome::ack());
      });
    });
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  EXPECT_EQ(run(executor, "post").outcome.verdict, Outcome::Verdict::ack);
  EXPECT_EQ(handler_thread, callback_thread);
}

TEST_F(LoopExecutorTest, AfterCallsInTheOrderOfTime) {
  auto order = std::make_shared<std::string>();
  kind("after", [order](const JobPtr& job) {
    job->after(Duration{30}, [=] { job->complete(Outcome::ack(Payload::text(*order + "c"))); });
    job->after(Duration{15}, [=] { *order += "b"; });
    job->after(Duration{0}, [=] { *order += "a"; });
    job->after(Duration{60'000}, [=] { *order += "never"; });
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  EXPECT_EQ(run(executor, "after").outcome.result.bytes, "abc");
}

TEST_F(LoopExecutorTest, WhatARunHoldsIsLetGoAtItsEnd) {
  const auto held = std::make_shared<int>(1);
  kind("hold", [&held](const JobPtr& job) {
    job->after(Duration{3'600'000}, [kept = held, job] {});
    job->on_stop([kept = held, job] {});
    job->complete(Outcome::ack());
    job->after(Duration{3'600'000}, [kept = held, job] {});
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  run(executor, "hold");

  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(LoopExecutorTest, WatchTellsWhatComesThroughAPipe) {
  std::array<int, 2> pipe_fds{};
  ASSERT_EQ(pipe(pipe_fds.data()), 0);
  std::latch watching(2);
  const auto watch = [&](const JobPtr& job) {
    job->watch(pipe_fds[0], POLLIN, [job, fd = pipe_fds[0]](short events) {
      std::array<char, 8> text{};
      EXPECT_NE(events & POLLIN, 0);
      const ssize_t got = read(fd, text.data(), 1);
      if (got != 1 || text[0] != 'z') return;
      job->watch(fd, 0, {});
      job->complete(Outcome::ack(Payload::text("z")));
    });
    watching.count_down();
  };
  kind("watch", watch);
  // Two runs may watch the same descriptor; this one only looks.
  kind("look", [&](const JobPtr& job) {
    job->watch(pipe_fds[0], POLLIN, [job](short) { job->complete(Outcome::ack()); });
    watching.count_down();
  });
  LoopExecutor executor({.slots = 2}, registry_, completions_, outputs_, children_);
  executor.start({job(1, "look"), job(2, "watch")});
  watching.wait();

  ASSERT_EQ(write(pipe_fds[1], "xyz", 3), 3);

  const auto completions = wait_for(2);
  ASSERT_EQ(completions.size(), 2U);
  for (const Completion& completion : completions)
    EXPECT_EQ(completion.outcome.verdict, Outcome::Verdict::ack) << completion.outcome.error;
  for (const int fd : pipe_fds) close(fd);
}

TEST_F(LoopExecutorTest, WatchRefusesWhatCannotBePolled) {
  kind("watch", [](const JobPtr& job) { job->watch(-1, POLLIN, [job](short) {}); });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  const Completion completion = run(executor, "watch");

  EXPECT_EQ(completion.outcome.verdict, Outcome::Verdict::nack);
  EXPECT_THAT(completion.outcome.error, StartsWith("watch"));
}

TEST_F(LoopExecutorTest, CancelCallsBackAndTheFirstReasonStands) {
  std::latch begun(1);
  kind("wait", [&](const JobPtr& job) {
    job->on_stop([job] { job->complete(Outcome::nack("stopped")); });
    begun.count_down();
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);
  executor.start(jobs({1}, "wait"));
  begun.wait();

  executor.cancel(LeaseId{1}, StopReason::timeout);
  executor.cancel(LeaseId{1}, StopReason::cancelled);
  executor.cancel(LeaseId{2}, StopReason::cancelled);

  const auto completions = wait_for(1);
  ASSERT_EQ(completions.size(), 1U);
  EXPECT_EQ(completions[0].outcome.error, "stopped");
  EXPECT_EQ(completions[0].stopped, StopReason::timeout);
}

TEST_F(LoopExecutorTest, ASleepThatIsCancelledEndsAtOnce) {
  std::latch begun(1);
  kind("sleep", [&](const JobPtr& job) {
    run_sleep_async(job);
    begun.count_down();
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);
  executor.start({job(1, "sleep", R"({"ms": 3600000})")});
  begun.wait();

  executor.cancel(LeaseId{1}, StopReason::cancelled);

  EXPECT_THAT(wait_for(1).at(0).outcome.error, StartsWith("cancelled: after "));
}

TEST_F(LoopExecutorTest, ASleepWithABadPayloadIsRejected) {
  kind("sleep", run_sleep_async);
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  const Completion completion = run(executor, "sleep");

  EXPECT_EQ(completion.outcome.verdict, Outcome::Verdict::reject);
  EXPECT_THAT(completion.outcome.error, StartsWith("bad_payload: "));
}

TEST_F(LoopExecutorTest, WhatARunTellsIsInTheBufferWhenItHasEnded) {
  kind("tell", [](const JobPtr& job) {
    job->log("line");
    job->progress(1, 2, "half");
    job->chunk(Payload::binary("part"));
    job->complete(Outcome::ack());
    job->log("too late");
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  executor.start(jobs({7}, "tell"));
  wait_for(1);

  const auto items = outputs_.take(Instant{Duration{1000}}).items;
  ASSERT_EQ(items.size(), 3U);
  for (const auto& item : items) EXPECT_EQ(item.lease, LeaseId{7});
  EXPECT_EQ(items[0].data, Payload::text("line"));
  EXPECT_EQ(items[1].data, Payload::binary("part"));
  EXPECT_EQ(items[2].type, OutputType::progress);
}

TEST_F(LoopExecutorTest, AChunkAboveALimitFailsTheRunUnlessItIsCaught) {
  outputs_.set_limits({.rows_max = 10, .bytes_max = 100, .item_bytes_max = 2});
  kind("tell", [](const JobPtr& job) {
    job->after(Duration{1}, [job] { job->chunk(Payload::text("abc")); });
  });
  LoopExecutor executor({.slots = 1}, registry_, completions_, outputs_, children_);

  EXPECT_THAT(run(executor, "tell").outcome.error, StartsWith("output_too_large: 3 bytes"));
}

TEST_F(LoopExecutorTest, StopAsksEveryRunAndWaitsForIt) {
  kind("wait",
       [](const JobPtr& job) { job->on_stop([job] { job->complete(Outcome::nack("stopped")); }); });
  LoopExecutor executor({.slots = 3}, registry_, completions_, outputs_, children_);
  executor.start(jobs({1, 2, 3}, "wait"));

  EXPECT_TRUE(executor.stop(kPatience));

  const auto completions = wait_for(3);
  for (const Completion& completion : completions)
    EXPECT_EQ(completion.stopped, StopReason::shutdown);
}

TEST_F(LoopExecutorTest, StopDoesNotWaitForEverForARunThatDoesNotComplete) {
  JobPtr kept;
  std::latch begun(1);
  kind("stubborn", [&](const JobPtr& job) {
    kept = job;
    begun.count_down();
  });
  LoopExecutor executor({.slots = 2}, registry_, completions_, outputs_, children_);
  executor.start(jobs({1}, "stubborn"));
  begun.wait();

  EXPECT_FALSE(executor.stop(Duration{10}));

  kept->complete(Outcome::ack());
  EXPECT_TRUE(executor.stop(kPatience));
}

TEST_F(LoopExecutorTest, ARunMayOutliveItsExecutor) {
  JobPtr kept;
  std::latch begun(1);
  kind("stubborn", [&](const JobPtr& job) {
    job->after(Duration{3'600'000}, [job] {});
    kept = job;
    begun.count_down();
  });
  {
    LoopExecutor executor({.slots = 2}, registry_, completions_, outputs_, children_);
    executor.start(jobs({1}, "stubborn"));
    begun.wait();
  }

  kept->post([] { FAIL() << "the loop has ended"; });
  kept->complete(Outcome::ack());
  kept.reset();
  EXPECT_TRUE(completions_.take().empty());
}

TEST_F(LoopExecutorTest, AFactoryMakesOneHandlerOnTheLoop) {
  int made = 0;
  registry_.add("made", {kPoolLoop, {}, {}, {}, [&](const LoopServices& services) -> AsyncHandler {
                           ++made;
                           return [slots = services.slots](const JobPtr& job) {
                             job->complete(Outcome::ack(Payload::text(std::to_string(slots))));
                           };
                         }});
  LoopExecutor executor({.slots = 9}, registry_, completions_, outputs_, children_);

  EXPECT_EQ(run(executor, "made").outcome.result.bytes, "9");
  EXPECT_EQ(run(executor, "made").outcome.result.bytes, "9");
  EXPECT_TRUE(executor.stop(kPatience));
  EXPECT_EQ(made, 1);
}

}  // namespace
}  // namespace millrace::worker
