// W7: how long it takes until the first thing is done.

#include <stdexcept>

#include "bench/limits.h"
#include "bench/measure.h"
#include "bench/stage.h"

namespace millrace::bench {
namespace {

/// A command that enqueues one job and waits for its result, everything else running.
double time_command(Stage& stage) {
  const auto begin = Clock::now();
  Process command({stage.program("millrace-producer"), "--broker", stage.endpoint(), "enqueue",
                   "echo", "\"x\"", "--wait"},
                  stage.log("command.log"));
  if (command.wait() != 0) throw std::runtime_error(command.printed());
  return ms_since(begin);
}

/// A worker from its start until the job that waited for it has ended.
double time_worker(Stage& stage) {
  const JobId job = must(stage.client().enqueue(make_jobs(1))).ids.front();
  const auto begin = Clock::now();
  const Process worker({stage.program("millrace-worker"), "--broker", stage.endpoint()},
                       stage.log("first.log"));
  must(stage.client().await(job));
  return ms_since(begin);
}

}  // namespace

void run_start(Run& run) {
  const std::size_t count = run.scaled(20, 3);
  {
    Stage stage(run);
    std::vector<double> workers;
    std::vector<double> commands;
    for (std::size_t i = 0; i < count; ++i) workers.push_back(time_worker(stage));
    stage.start_workers(1);
    for (std::size_t i = 0; i < count; ++i) commands.push_back(time_command(stage));
    run.add("command.p50", quantile(commands, 0.5), "ms", "spawn.p50");
    run.add("worker.p50", quantile(workers, 0.5), "ms", "spawn.p50");
  }
  add_spawn_limit(run, count);
}

}  // namespace millrace::bench
