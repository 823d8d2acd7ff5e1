// W6: what an option of a job costs, against jobs without.

#include <fmt/format.h>

#include <array>
#include <random>
#include <utility>

#include "bench/drain.h"

namespace millrace::bench {
namespace {

struct Option {
  const char* name;
  void (*set)(JobRequest& job, std::size_t number, std::mt19937& random);
  Duration delay = {};
};

const std::array<Option, 6> kOptions = {{
    {"plain", [](JobRequest&, std::size_t, std::mt19937&) {}},
    {"unique", [](JobRequest& job, std::size_t number,
                  std::mt19937&) { job.unique.key = fmt::format("key {}", number); }},
    {"retry-0ms",
     [](JobRequest& job, std::size_t, std::mt19937&) {
       job.kind = "fail";
       job.payload = Payload::text(R"({"times": 1, "message": "once"})");
       job.retry = "0ms jitter:0";
     }},
    {"retry-1ms",
     [](JobRequest& job, std::size_t, std::mt19937&) {
       job.kind = "fail";
       job.payload = Payload::text(R"({"times": 1, "message": "once"})");
       job.retry = "1ms jitter:0";
     }},
    {"priority", [](JobRequest& job, std::size_t,
                    std::mt19937& random) { job.priority = static_cast<int>(random() % 256); }},
    {"delay-1s", [](JobRequest& job, std::size_t, std::mt19937&) { job.delay = Duration{1000}; },
     Duration{1000}},
}};

struct Cost {
  double seconds = 0;
  double broker_cpu = 0;
};

Cost measure(Run& run, const Option& option, std::size_t count) {
  Stage stage(run);
  std::mt19937 random(1);  // the same priorities each time
  std::vector<JobRequest> jobs = make_jobs(count);
  for (std::size_t i = 0; i < count; ++i) option.set(jobs[i], i, random);
  const DrainTimes times = enqueue_and_drain(stage, std::move(jobs), {.delay = option.delay});
  const auto per_job = static_cast<double>(count);
  const Cost cost{(times.enqueue + times.drain) / per_job, times.broker_cpu / per_job};
  run.add(fmt::format("{}.total", option.name), 1 / cost.seconds, "jobs/s");
  run.add(fmt::format("{}.cpu", option.name), cost.broker_cpu * 1e6, "us/job");
  return cost;
}

}  // namespace

void run_options(Run& run) {
  const std::size_t count = run.scaled(50'000);
  Cost plain;
  for (const Option& option : kOptions) {
    const Cost cost = measure(run, option, count);
    if (plain.seconds == 0) {
      plain = cost;
      continue;
    }
    run.add(fmt::format("{}.cost", option.name), cost.seconds / plain.seconds, "x plain");
  }
}

}  // namespace millrace::bench
