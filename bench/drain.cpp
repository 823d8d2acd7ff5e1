#include "bench/drain.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "bench/measure.h"

namespace millrace::bench {

DrainTimes enqueue_and_drain(Stage& stage, std::vector<JobRequest> jobs,
                             const DrainOptions& options) {
  Client& client = stage.client();
  must(client.pause(kQueueDefault));
  stage.start_workers(options.workers, options.kind);
  DrainTimes times;
  times.broker_cpu = -stage.broker().cpu_seconds();
  times.workers_cpu = -stage.workers_cpu_seconds();
  times.producer_cpu = -own_cpu_seconds();

  const auto begin = Clock::now();
  must(client.enqueue(std::move(jobs)));
  const auto enqueued = Clock::now();
  times.producer_cpu += own_cpu_seconds();
  const auto due = std::max(enqueued, begin + options.delay);
  std::this_thread::sleep_until(due);
  must(client.resume(kQueueDefault));
  must(client.close(kQueueDefault, true));
  times.enqueue = seconds_between(begin, enqueued);
  times.drain = seconds_since(due);

  times.broker_cpu += stage.broker().cpu_seconds();
  stage.wait_for_workers();
  times.workers_cpu += stage.workers_cpu_seconds();
  return times;
}

}  // namespace millrace::bench
