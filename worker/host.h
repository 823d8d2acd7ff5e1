#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/util/signals.h"
#include "worker/agent.h"
#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/placement.h"
#include "worker/process/child_settings.h"
#include "worker/process/process_host.h"
#include "worker/registry.h"

namespace millrace::worker {

struct HostOptions {
  AgentOptions agent;
  PoolSizes sizes;  ///< each at most kPoolSizeMax
  std::vector<ExecutorChoice> executors = {};
  ChildSettings children = {};
  /// Requests at once to one host by `url.check` on an event loop; 0: no limit.
  std::uint64_t host_limit = 0;
};

/// Sized by the CPUs this process may use, named `HOST:PID`. Reads a few small files.
[[nodiscard]] HostOptions default_host_options();

/// Error: usage, for a queue whose name cannot be.
[[nodiscard]] Status check_queues(const HostOptions& options);
/// Error: usage, for a size of a pool that cannot be.
[[nodiscard]] Status check_sizes(const PoolSizes& sizes);

/// What a Host is made of, once it is known that it can work.
struct HostPlan {
  HostOptions options;
  Registry registry;  ///< with each kind in its pool
  std::vector<PoolPlan> pools = {};
  ChildUser user = {};
  std::optional<Nursery> nursery = {};  ///< where a kind runs in processes
};

/// Decides which kind runs where, and starts the nursery when there is a kind for processes: to be
/// called while this process has one thread. Errors: usage, for what place() refuses; bad_config,
/// for programs and users that do not exist, and for processes in a program that has threads.
[[nodiscard]] Result<HostPlan> plan_host(HostOptions options, Registry registry);

/// What surrounds an agent in a process: its kinds, its pools, its thread and the signals. The
/// program and the library are both this. Belongs to one thread, but for stop().
class Host {
 public:
  /// Starts the threads of the pools. Throws std::system_error when there is no room for them.
  explicit Host(HostPlan plan);

  /// Blocks until the agent has left; logs why, and returns the exit code. The first SIGINT or
  /// SIGTERM stops the agent, the second ends the process at once. A handler that does not return
  /// although it was asked to cannot be waited for: then the process ends with that exit code.
  /// Throws what the agent threw. Once.
  [[nodiscard]] int run(const Signals& signals);

  /// Any thread: as the first signal.
  void stop() noexcept;

 private:
  [[nodiscard]] std::unique_ptr<Executor> make_executor(const PoolPlan& pool);
  [[nodiscard]] std::vector<PoolSpec> specs() const;
  [[nodiscard]] Farewell run_agent(const Signals& signals);

  HostOptions options_;
  Registry registry_;
  std::vector<PoolPlan> pools_;
  ChildUser user_;
  // The executors use the two above and what follows, so they go first.
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  ChildJobs children_{completions_.wakeup()};
  std::unique_ptr<ProcessHost> processes_;
  std::vector<std::unique_ptr<Executor>> executors_;  // of `pools_`, in that order
  std::unique_ptr<Agent> agent_;
};

}  // namespace millrace::worker
