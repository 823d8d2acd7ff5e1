// W4: what a backlog of N jobs costs, and whether it slows down what comes and goes.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "bench/bare_sqlite.h"
#include "bench/measure.h"
#include "bench/stage.h"

namespace millrace::bench {
namespace {

constexpr std::size_t kChunkMax = 100'000;  // what this process holds at once
constexpr std::size_t kFront = 50'000;
constexpr const char* kEnded = "SELECT done FROM queues WHERE queue = 'default'";

/// 100000: `100k`
std::string short_name(std::size_t number) {
  if (number % 1'000'000 == 0) return fmt::format("{}M", number / 1'000'000);
  if (number % 1'000 == 0) return fmt::format("{}k", number / 1'000);
  return fmt::format("{}", number);
}

/// Seconds that a tenth of the jobs took.
double enqueue_tenth(Stage& stage, std::size_t jobs) {
  double taken = 0;
  for (std::size_t left = jobs; left > 0;) {
    const std::size_t chunk = std::min(left, kChunkMax);
    std::vector<JobRequest> requests = make_jobs(chunk);
    const auto begin = Clock::now();
    must(stage.client().enqueue(std::move(requests)));
    taken += seconds_since(begin);
    left -= chunk;
  }
  return taken;
}

void fill(Run& run, Stage& stage, const std::string& name, std::size_t tenth) {
  std::vector<double> rates;
  rates.reserve(10);
  for (int part = 0; part < 10; ++part)
    rates.push_back(static_cast<double>(tenth) / enqueue_tenth(stage, tenth));
  run.add(name + ".enqueue.first", rates.front(), "jobs/s");
  run.add(name + ".enqueue.last", rates.back(), "jobs/s");
  run.add(name + ".enqueue.ratio", rates.back() / rates.front(), "");
  run.add(name + ".memory.peak", stage.broker().memory_megabytes("VmHWM"), "MB");
  run.add(name + ".memory", stage.broker().memory_megabytes("VmRSS"), "MB");
}

void stop_and_start(Run& run, Stage& stage, const std::string& name, double jobs) {
  const auto begin = Clock::now();
  stage.stop_broker();
  run.add(name + ".stop", seconds_since(begin), "s");
  namespace fs = std::filesystem;
  double bytes = 0;
  for (const char* suffix : {"", "-wal"})
    if (const std::string file = stage.database() + suffix; fs::exists(file))
      bytes += static_cast<double>(fs::file_size(file));
  run.add(name + ".disk", bytes / jobs, "B/job");
  run.add(name + ".restart", stage.start_broker(), "s");
  run.add(name + ".memory.restarted", stage.broker().memory_megabytes("VmRSS"), "MB");
}

/// Jobs a second that two workers take from the front.
double dequeue_front(Stage& stage, std::size_t wanted) {
  must(stage.client().pause(kQueueDefault));
  stage.start_workers(2);
  const auto begin = Clock::now();
  must(stage.client().resume(kQueueDefault));
  double ended = 0;
  while (ended < static_cast<double>(wanted)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ended = read_number(stage.database(), kEnded);
  }
  const double taken = seconds_since(begin);
  stage.stop_workers();
  return ended / taken;
}

double measure(Run& run, std::size_t backlog) {
  const std::size_t tenth = run.scaled(backlog, 100) / 10;
  const std::size_t jobs = tenth * 10;
  const std::string name = short_name(jobs);
  Stage stage(run);
  fill(run, stage, name, tenth);
  stop_and_start(run, stage, name, static_cast<double>(jobs));
  const double rate = dequeue_front(stage, std::min(run.scaled(kFront, 20), jobs / 2));
  run.add(name + ".dequeue", rate, "jobs/s");
  return rate;
}

}  // namespace

void run_backlog(Run& run) {
  std::vector<std::size_t> backlogs = run.settings().backlogs;
  std::sort(backlogs.begin(), backlogs.end());
  double least = 0;
  for (const std::size_t backlog : backlogs) {
    const double rate = measure(run, backlog);
    if (least == 0)
      least = rate;
    else
      run.add(short_name(run.scaled(backlog, 100)) + ".dequeue.ratio", rate / least, "");
  }
}

}  // namespace millrace::bench
