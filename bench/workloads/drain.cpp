// W2: enqueued, then drained.

#include "bench/drain.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "bench/limits.h"
#include "bench/measure.h"
#include "bench/syscalls.h"

namespace millrace::bench {
namespace {

struct Case {
  const char* name;
  std::size_t batch;
  std::size_t workers;
  std::size_t jobs;
  std::size_t payload_bytes;
  WorkerKind kind;
  const char* limit;  ///< goes after the names of the limits
};

constexpr std::array<Case, 7> kCases = {{
    {"batch100", 100, 2, 100'000, 100, WorkerKind::program, ""},
    {"batch1000", 1'000, 2, 100'000, 100, WorkerKind::program, ""},
    {"worker1", 1'000, 1, 100'000, 100, WorkerKind::program, ""},
    {"no-result", 1'000, 2, 100'000, 100, WorkerKind::own, ""},
    {"1kB", 1'000, 2, 50'000, 1'000, WorkerKind::program, ".1kB"},
    {"10kB", 1'000, 2, 10'000, 10'000, WorkerKind::program, ".10kB"},
    {"100kB", 1'000, 2, 1'000, 100'000, WorkerKind::program, ".100kB"},
}};

void add_costs(Run& run, Stage& stage, const DrainTimes& times, double jobs) {
  run.add("broker.cpu", times.broker_cpu * 1e6 / jobs, "us/job", "sqlite.cpu");
  run.add("producer.cpu", times.producer_cpu * 1e6 / jobs, "us/job");
  run.add("worker.cpu", times.workers_cpu * 1e6 / jobs, "us/job");
  run.add("broker.memory", stage.broker().memory_megabytes("VmHWM"), "MB");
}

void run_case(Run& run, const Case& one) {
  const std::size_t count = run.scaled(one.jobs, 50);
  const auto jobs = static_cast<double>(count);
  Stage stage(run, {.batch = one.batch});
  const std::string job_kind = one.kind == WorkerKind::own ? "noop" : "echo";
  const DrainTimes times = enqueue_and_drain(stage, make_jobs(count, one.payload_bytes, job_kind),
                                             {.workers = one.workers, .kind = one.kind});
  const std::string limit = one.limit;
  run.add(fmt::format("enqueue.{}", one.name), jobs / times.enqueue, "jobs/s",
          "sqlite.insert" + limit);
  run.add(fmt::format("drain.{}", one.name), jobs / times.drain, "jobs/s", "sqlite.update" + limit);
  run.add(fmt::format("total.{}", one.name), jobs / (times.enqueue + times.drain), "jobs/s",
          "sqlite.insert+update" + limit);
  if (std::string(one.name) == "batch1000") add_costs(run, stage, times, jobs);
}

/// Workers take while the producer still gives.
void run_both(Run& run) {
  const std::size_t count = run.scaled(100'000);
  Stage stage(run, {.batch = 1'000});
  stage.start_workers(2);
  std::vector<JobRequest> jobs = make_jobs(count);
  const auto begin = Clock::now();
  must(stage.client().enqueue(std::move(jobs)));
  must(stage.client().close(kQueueDefault, true));
  run.add("both.total", static_cast<double>(count) / seconds_since(begin), "jobs/s",
          "sqlite.insert+update");
  stage.wait_for_workers();
}

/// A round of its own, because counting slows down what is counted.
void count_syscalls(Run& run) {
  const std::size_t count = run.scaled(20'000);
  const auto jobs = static_cast<double>(count);
  Stage stage(run, {.batch = 1'000});
  stage.start_workers(1);
  SyscallCount broker(stage.broker().pid(), stage.log("broker-calls.log"));
  SyscallCount worker(stage.workers().front()->pid(), stage.log("worker-calls.log"));
  SyscallCount producer(getpid(), stage.log("producer-calls.log"));
  must(stage.client().enqueue(make_jobs(count)));
  const std::optional<double> of_producer = producer.stop();
  must(stage.client().close(kQueueDefault, true));
  const std::optional<double> of_broker = broker.stop();
  const std::optional<double> of_worker = worker.stop();
  stage.wait_for_workers();
  if (!of_broker || !of_worker || !of_producer)
    return run.note("system calls were not counted: neither perf nor strace may do it here");
  run.add("broker.syscalls", *of_broker / jobs, "/job");
  run.add("producer.syscalls", *of_producer / jobs, "/job");
  run.add("worker.syscalls", *of_worker / jobs, "/job");
}

}  // namespace

void run_drain(Run& run) {
  for (const Case& one : kCases) {
    const bool is_plain = std::string(one.limit).empty();
    if (!is_plain || &one == kCases.data())
      add_row_limits(run, {.rows = run.scaled(one.jobs, 50),
                           .payload_bytes = one.payload_bytes,
                           .update = true,
                           .suffix = one.limit});
    run_case(run, one);
  }
  run_both(run);
  count_syscalls(run);
}

}  // namespace millrace::bench
