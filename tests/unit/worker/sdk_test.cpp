#include <gtest/gtest.h>
#include <millrace/worker.h>
#include <pthread.h>

#include <csignal>
#include <stdexcept>
#include <string>
#include <utility>

namespace millrace {
namespace {

Outcome done(JobContext& /*context*/) { return Outcome::ack(); }

/// Nobody listens there; a worker waits for its broker without limit.
WorkerConfig without_broker() {
  return {.broker = "ipc:///nonexistent/millrace", .io_threads = 1, .cpu_threads = 1};
}

bool sigterm_is_blocked() {
  sigset_t set;
  pthread_sigmask(SIG_BLOCK, nullptr, &set);
  return sigismember(&set, SIGTERM) == 1;
}

TEST(WorkerSdk, ConfigurationThatCannotBeThrows) {
  EXPECT_THROW(Worker({.queues = {"Mail"}}), std::invalid_argument);
  EXPECT_THROW(Worker({.queues = {}}), std::invalid_argument);
  EXPECT_THROW(Worker({.grace = Duration{-1}}), std::invalid_argument);
  EXPECT_THROW(Worker({.io_threads = 0, .cpu_threads = 0, .processes = 0, .loop_size = 0}),
               std::invalid_argument);
  EXPECT_THROW(Worker({.io_threads = 4097}), std::invalid_argument);
}

TEST(WorkerSdk, KindThatCannotBeThrows) {
  Worker worker(without_broker());

  EXPECT_THROW(worker.kind("Hello", kPoolIo, done), std::invalid_argument);
  EXPECT_THROW(worker.kind("hello", "gpu", done), std::invalid_argument);
  EXPECT_THROW(worker.kind("hello", kPoolIo, nullptr), std::invalid_argument);
}

TEST(WorkerSdk, OptionsOfAKindThatCannotBeThrow) {
  Worker worker(without_broker());
  const auto refused = [&](KindOptions options) {
    try {
      worker.kind("hello", kPoolIo, done, std::move(options));
    } catch (const std::invalid_argument& error) {
      return std::string(error.what());
    }
    return std::string("taken");
  };

  EXPECT_EQ(refused({.max_attempts = -1}),
            "kind `hello`: max_attempts is -1, it must be 0 … 1000000");
  EXPECT_NE(refused({.crashes_max = kMaxAttemptsMax + 1}), "taken");
  EXPECT_NE(refused({.timeout = Duration{-1}}), "taken");
  EXPECT_NE(refused({.timeout = kDurationMax + Duration{1}}), "taken");
  EXPECT_NE(refused({.retry = "sometimes"}), "taken");
  EXPECT_NE(refused({.retry = std::string(kRetryBytesMax + 1, ' ')}), "taken");
  EXPECT_EQ(refused({.max_attempts = 5,
                     .crashes_max = 1,
                     .timeout = Duration{60'000},
                     .retry = "linear:5s cap:1m",
                     .replayable = false}),
            "taken");
  EXPECT_EQ(refused({}), "taken");
}

TEST(WorkerSdk, AContextThatNoWorkerMadeTakesOutput) {
  const Job job;
  JobContext context(job, std::stop_token{});

  context.progress(1, 2, "half");
  context.log("line");
  context.chunk(Payload::text("part"));

  EXPECT_EQ(context.enqueue({.kind = "more"}), JobId{});
  EXPECT_FALSE(context.cancelled());
}

TEST(WorkerSdk, WithoutAKindItDoesNotRun) {
  Worker worker(without_broker());

  EXPECT_EQ(worker.run(), 64);
}

TEST(WorkerSdk, StopBeforeRunEndsTheRunAtOnce) {
  Worker worker(without_broker());
  worker.kind("hello", kPoolIo, done);

  worker.stop();

  EXPECT_EQ(worker.run(), 0);
}

TEST(WorkerSdk, RunsOnce) {
  Worker worker(without_broker());
  worker.kind("hello", kPoolIo, done);
  worker.stop();
  ASSERT_EQ(worker.run(), 0);

  EXPECT_EQ(worker.run(), 64);
}

TEST(WorkerSdk, SignalsAreBlockedWhileThereIsAWorkerAndNotAfter) {
  ASSERT_FALSE(sigterm_is_blocked());
  {
    const Worker worker(without_broker());
    EXPECT_TRUE(sigterm_is_blocked());
  }

  EXPECT_FALSE(sigterm_is_blocked());
}

}  // namespace
}  // namespace millrace
