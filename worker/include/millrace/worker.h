#pragma once

// The worker's side for other programs: give kinds of jobs a handler each, and run them.
//
//   millrace::Worker worker({.broker = "tcp://127.0.0.1:7411"});
//   worker.kind("hello", millrace::kPoolIo, [](millrace::JobContext& context) { … });
//   return worker.run();

#include <millrace/handler.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/limits.h"
#include "common/types.h"

namespace millrace {

/// When a worker leaves by itself.
enum class Until : std::uint8_t {
  drained,  ///< when each of its queues was closed and its last job has ended
  forever,  ///< not by itself
  empty,    ///< as soon as nothing is ready for it
};

struct WorkerConfig {
  std::string broker = kEndpointDefault;              ///< `tcp://HOST:PORT` or `ipc://PATH`
  std::vector<std::string> queues = {kQueueDefault};  ///< `[a-z0-9._-]{1,64}` each
  std::string name = {};                              ///< for people; empty: `HOST:PID`
  Until until = Until::drained;
  /// After a stop or a dismissal: how long running jobs may take to finish before they are asked to
  /// stop and given back. Milliseconds, 0 or more.
  Duration grace{30'000};
  /// Size of each pool, which is how many of its jobs run at once: 0 to 4096, not both 0. A kind of
  /// a pool of 0 is not offered. Unset: `io` CPUs + 4, at most 32; `cpu` one for each CPU this
  /// process may use.
  std::optional<unsigned> io_threads = {};
  std::optional<unsigned> cpu_threads = {};
  /// Child processes for each kind of the pool `process`, and runs at once on the event loop.
  /// Unset: one a CPU, and 256.
  std::optional<unsigned> processes = {};
  std::optional<unsigned> loop_size = {};
};

/// A worker in this process. Belongs to the thread that made it, but for stop().
///
/// From its constructor to its destructor SIGINT, SIGTERM and SIGHUP are blocked in that thread and
/// in all that it starts, since run() waits for them: make the worker before other threads. SIGPIPE
/// and SIGXFSZ are ignored from then on. One worker a process at a time. It logs on stderr.
class Worker {
 public:
  /// Does not connect. Throws std::invalid_argument when a queue's name or a number of threads
  /// cannot be, std::system_error when the system has no file descriptor left.
  explicit Worker(WorkerConfig config = {});
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Offers a kind of job. `name`: `[a-z0-9._-]{1,64}`; `pool`: kPoolIo, kPoolCpu or kPoolProcess.
  /// `handler` is called by several threads at once, never by this one; `options` hold for jobs
  /// that do not say otherwise. A later one of the same name replaces an earlier one. Before run().
  /// Throws std::invalid_argument when one of the four cannot be.
  ///
  /// With kPoolProcess a handler runs in child processes, which are this very program, started
  /// again with the same arguments: main() has to come to run() there too, with the same kinds.
  /// run() then runs jobs for the worker instead, one after the other on the thread that called it,
  /// and ends the process. The worker must have started no thread before run().
  void kind(const std::string& name, const std::string& pool, Handler handler,
            const KindOptions& options = {});
  /// Offers a kind that runs on the event loop, where thousands of its jobs wait at once on one
  /// thread. As kind() otherwise.
  void async_kind(const std::string& name, AsyncHandler handler, const KindOptions& options = {});

  /// Blocks, and works until `until` is met, stop() was called, or SIGINT or SIGTERM came; waits
  /// for its broker without limit, through restarts of it. Then running jobs get `grace` to finish.
  /// Call it once. Does not throw. Returns what main() should: 0 drained, empty, dismissed or
  /// stopped · 64 wrong endpoint, no kind to offer, or called twice · 70 a bug · else the exit code
  /// of the error with which the broker refused this worker (see common/errors.h).
  ///
  /// A second signal ends the process at once, with 130 or 143. A handler that still runs 0.5 s
  /// after it was asked to stop cannot be waited for: run() then ends the process with the code it
  /// would have returned, and no destructor runs.
  [[nodiscard]] int run();

  /// Any thread, also a handler, at any time until the destructor begins: as SIGTERM does. Does not
  /// block; before run() it makes run() leave at once. Not for signal handlers.
  void stop() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace millrace
