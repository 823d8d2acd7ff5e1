#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/util/signals.h"
#include "worker/agent.h"
#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/registry.h"

namespace millrace::worker {

struct HostOptions {
  AgentOptions agent;
  /// At most kThreadsMax each; 0: nothing of that pool is offered.
  std::uint64_t io_threads = 0;
  std::uint64_t cpu_threads = 0;
};

inline constexpr std::uint64_t kThreadsMax = 4096;

/// Sized by the CPUs this process may use, named `HOST:PID`. Reads a few small files.
[[nodiscard]] HostOptions default_host_options();

/// Error: usage, for a queue whose name cannot be.
[[nodiscard]] Status check_queues(const HostOptions& options);
/// Error: usage, for a number of threads that cannot work.
[[nodiscard]] Status check_threads(const HostOptions& options);

/// What surrounds an agent in a process: its kinds, its pools, its thread and the signals. The
/// program and the library are both this. Belongs to one thread, but for stop().
class Host {
 public:
  /// Starts the threads of the pools. Throws std::system_error when there is no room for them.
  Host(HostOptions options, Registry registry);

  /// Blocks until the agent has left; logs why, and returns the exit code. The first SIGINT or
  /// SIGTERM stops the agent, the second ends the process at once. A handler that does not return
  /// although it was asked to cannot be waited for: then the process ends with that exit code.
  /// Throws what the agent threw. Once.
  [[nodiscard]] int run(const Signals& signals);

  /// Any thread: as the first signal.
  void stop() noexcept;

 private:
  void add_pool(const char* name, std::uint64_t threads);
  [[nodiscard]] std::vector<PoolSpec> specs() const;
  [[nodiscard]] Farewell run_agent(const Signals& signals);

  HostOptions options_;
  Registry registry_;
  // The executors use the two above and what follows, so they go first.
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  ChildJobs children_{completions_.wakeup()};
  std::vector<std::pair<std::string, std::unique_ptr<Executor>>> executors_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace millrace::worker
