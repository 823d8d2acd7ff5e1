// W3: how long after its enqueue began a job is with its handler, when nothing else is to be done.

#include <chrono>
#include <thread>

#include "bench/limits.h"
#include "bench/measure.h"
#include "bench/own_worker.h"
#include "bench/stage.h"

namespace millrace::bench {

void run_latency(Run& run) {
  constexpr std::chrono::milliseconds kPace{2};
  const std::size_t count = run.scaled(2'000, 100);
  {
    Stage stage(run);
    stage.start_workers(1, WorkerKind::own);
    auto next = Clock::now();
    for (std::size_t i = 0; i < count; ++i) {
      std::this_thread::sleep_until(next += kPace);
      must(stage.client().enqueue(
          JobRequest{.kind = "noop", .payload = Payload::text(stamped_payload())}));
    }
    must(stage.client().close(kQueueDefault, true));
    stage.wait_for_workers();
    const std::vector<double> latencies = stage.latencies();
    if (latencies.size() != count) throw std::runtime_error("not every job came to the handler");
    run.add("latency.p50", quantile(latencies, 0.5), "ms", "sqlite.commit.p50");
    run.add("latency.p99", quantile(latencies, 0.99), "ms", "sqlite.commit.p99");
    run.add("latency.p99.9", quantile(latencies, 0.999), "ms");
  }
  add_commit_limits(run, count, kPace);
  add_ping_limit(run, count, kPace);
}

}  // namespace millrace::bench
