// W5: a steady load that is looked at every second, by commands and by a query of the file.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <filesystem>
#include <thread>

#include "bench/bare_sqlite.h"
#include "bench/measure.h"
#include "bench/stage.h"

namespace millrace::bench {
namespace {

constexpr std::size_t kProducers = 4;
constexpr std::size_t kWorkers = 4;
constexpr std::size_t kRequestJobs = 25;
constexpr std::chrono::milliseconds kPace{10};  // 4 · 25 jobs each 10 ms: 10,000 a second
constexpr double kOffered = 10'000;
constexpr const char* kWaiting = "SELECT ready + leased + scheduled FROM queues";
constexpr const char* kQuery =
    "SELECT count(*) FROM (SELECT kind, state, count(*) FROM jobs GROUP BY kind, state)";

/// One producer: jobs become due at a fixed pace, whatever the broker does. It sends all that are
/// due, waits for the acknowledgement, and so on.
struct Producer {
  std::vector<double> taken = {};  ///< ms from when they were due, for each kRequestJobs
  std::exception_ptr failure = {};

  void run(Client client, Clock::time_point begin, Clock::time_point end) {
    try {
      for (auto due = begin; due < end;) {
        std::this_thread::sleep_until(due);
        const auto behind = static_cast<std::size_t>((std::min(Clock::now(), end) - due) / kPace);
        must(client.enqueue(make_jobs((behind + 1) * kRequestJobs)));
        for (std::size_t i = 0; i <= behind; ++i, due += kPace) taken.push_back(ms_since(due));
      }
    } catch (...) {
      failure = std::current_exception();
    }
  }
};

/// What is seen from outside meanwhile.
struct Observed {
  double wal_max = 0;  ///< MB
  double memory_quarter = 0;
  double memory_end = 0;
  double query_max = 0;  ///< ms
  double command_max = 0;
};

void look(Stage& stage, Observed& seen) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"status"}, {"job", "ls"}}) {
    std::vector<std::string> command{stage.program("millrace-producer"), "--broker",
                                     stage.endpoint()};
    command.insert(command.end(), words.begin(), words.end());
    const auto begin = Clock::now();
    if (Process(command, stage.log("look.log")).wait() != 0)
      throw std::runtime_error("millrace-producer " + words.front() + " failed");
    seen.command_max = std::max(seen.command_max, ms_since(begin));
  }
  const auto begin = Clock::now();
  (void)read_number(stage.database(), kQuery);
  seen.query_max = std::max(seen.query_max, ms_since(begin));
}

Observed observe(Stage& stage, Clock::time_point begin, Clock::time_point end) {
  Observed seen;
  // The log is looked at often, the rest every second; a look that takes longer delays the next.
  for (auto next_look = begin; Clock::now() < end;) {
    std::error_code none;
    const auto wal = std::filesystem::file_size(stage.database() + "-wal", none);
    if (!none) seen.wal_max = std::max(seen.wal_max, static_cast<double>(wal) / (1 << 20));
    if (Clock::now() >= next_look) {
      look(stage, seen);
      next_look = std::max(next_look + std::chrono::seconds(1), Clock::now());
      const double memory = stage.broker().memory_megabytes("VmRSS");
      if (seen.memory_quarter == 0 && Clock::now() >= begin + (end - begin) / 4)
        seen.memory_quarter = memory;
      seen.memory_end = memory;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return seen;
}

std::vector<double> wait_for(std::vector<std::thread>& threads,
                             const std::vector<Producer>& producers) {
  std::vector<double> taken;
  for (std::thread& thread : threads) thread.join();
  for (const Producer& producer : producers) {
    if (producer.failure) std::rethrow_exception(producer.failure);
    taken.insert(taken.end(), producer.taken.begin(), producer.taken.end());
  }
  return taken;
}

void add(Run& run, const std::vector<double>& taken, const Observed& seen, double seconds) {
  const auto jobs = static_cast<double>(taken.size() * kRequestJobs);
  if (jobs / seconds < kOffered * 0.95)
    run.note("it could not keep up with what was offered; the times say how far behind it was");
  run.add("acknowledged", jobs / seconds, "jobs/s");
  run.add("enqueue.p50", quantile(taken, 0.5), "ms");
  run.add("enqueue.p99", quantile(taken, 0.99), "ms");
  run.add("enqueue.stall", quantile(taken, 1), "ms");
  run.add("wal.max", seen.wal_max, "MB");
  run.add("memory.quarter", seen.memory_quarter, "MB");
  run.add("memory.end", seen.memory_end, "MB");
  run.add("command.max", seen.command_max, "ms");
  run.add("query.max", seen.query_max, "ms");
}

}  // namespace

void run_steady(Run& run) {
  const std::chrono::seconds span(run.scaled(120, 2));
  Stage stage(run);
  stage.start_workers(kWorkers);
  std::vector<Producer> producers(kProducers);
  std::vector<std::thread> threads;
  threads.reserve(kProducers);
  const auto begin = Clock::now();
  const auto end = begin + span;
  // A client belongs to one thread, but may be made here.
  for (Producer& producer : producers)
    threads.emplace_back([&] { producer.run(stage.new_client(), begin, end); });
  const double cpu_before = stage.broker().cpu_seconds();
  const Observed seen = observe(stage, begin, end);
  const std::vector<double> taken = wait_for(threads, producers);
  const double seconds = seconds_since(begin);
  add(run, taken, seen, seconds);
  run.add("broker.cpu", (stage.broker().cpu_seconds() - cpu_before) / seconds * 100, "%");
  run.add("waiting.end", read_number(stage.database(), kWaiting), "jobs");
  must(stage.client().close(kQueueDefault, true));
  stage.wait_for_workers();
}

}  // namespace millrace::bench
