// W1 and W1s: what it costs until a job is acknowledged.

#include <fmt/format.h>

#include <utility>

#include "bench/limits.h"
#include "bench/measure.h"
#include "bench/stage.h"

namespace millrace::bench {

void run_enqueue(Run& run) {
  const std::size_t count = run.scaled(100'000);
  for (const std::size_t batch : {100, 1'000}) {
    Stage stage(run, {.batch = batch});
    std::vector<JobRequest> jobs = make_jobs(count);
    const auto begin = Clock::now();
    must(stage.client().enqueue(std::move(jobs)));
    run.add(fmt::format("enqueue.batch{}", batch),
            static_cast<double>(count) / seconds_since(begin), "jobs/s", "sqlite.insert");
  }
  add_row_limits(run, {.rows = count});
}

void run_single(Run& run) {
  // About the time in which nothing is to be written: what comes before and after a commit.
  constexpr std::chrono::microseconds kBetween{300};
  const std::size_t count = run.scaled(2'000, 100);
  {
    Stage stage(run);
    std::vector<double> taken;
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<JobRequest> job = make_jobs(1);
      const auto begin = Clock::now();
      must(stage.client().enqueue(std::move(job)));
      taken.push_back(ms_since(begin));
    }
    run.add("enqueue.p50", quantile(taken, 0.5), "ms", "sqlite.commit.p50");
    run.add("enqueue.p99", quantile(taken, 0.99), "ms", "sqlite.commit.p99");
  }
  add_commit_limits(run, count, kBetween);
  add_ping_limit(run, count, kBetween);
  add_sync_limits(run, count);
}

}  // namespace millrace::bench
