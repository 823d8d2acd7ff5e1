#pragma once

#include <millrace/client.h>

#include <cstddef>
#include <vector>

#include "bench/stage.h"

namespace millrace::bench {

struct DrainOptions {
  std::size_t workers = 2;
  WorkerKind kind = WorkerKind::program;
  /// What the jobs wait for after their enqueue; that time is not counted.
  Duration delay{};
};

/// Seconds of CPU are user and system time, from the first ENQUEUE to the last SETTLED.
struct DrainTimes {
  double enqueue = 0;  ///< seconds until the last job is acknowledged
  double drain = 0;    ///< seconds from then until the last job is settled
  double broker_cpu = 0;
  double producer_cpu = 0;
  double workers_cpu = 0;
};

/// Enqueues all jobs into a queue that is paused and has its workers connected, lets it go, and
/// waits until it is drained and the workers have left. Once a stage.
[[nodiscard]] DrainTimes enqueue_and_drain(Stage& stage, std::vector<JobRequest> jobs,
                                           const DrainOptions& options = {});

}  // namespace millrace::bench
