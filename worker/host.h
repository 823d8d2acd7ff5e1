#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/util/signals.h"
#include "worker/agent.h"
#include "worker/executor.h"
#include "worker/registry.h"

namespace millrace::worker {

struct HostOptions {
  AgentOptions agent;
  /// At most kThreadsMax each; 0: nothing of that pool is offered.
  std::uint64_t io_threads = 0;
  std::uint64_t cpu_threads = 0;
  /// Runs at once on the event loop, 1 to kLoopSlotsMax. Without a kind of that pool there is none.
  std::uint64_t loop_size = 256;
  /// Requests at once to one host by `url.check` on the event loop; 0: no limit.
  std::uint64_t host_limit = 0;
};

inline constexpr std::uint64_t kThreadsMax = 4096;

/// Sized by the CPUs this process may use, named `HOST:PID`. Reads a few small files.
[[nodiscard]] HostOptions default_host_options();

/// Error: usage, for a queue whose name cannot be.
[[nodiscard]] Status check_queues(const HostOptions& options);
/// Error: usage, for a size of a pool that cannot work.
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
  void add_loop();
  [[nodiscard]] std::vector<PoolSpec> specs() const;
  [[nodiscard]] Farewell run_agent(const Signals& signals);

  HostOptions options_;
  Registry registry_;
  // The executors use the two above and what follows, so they go first.
  CompletionQueue completions_;
  OutputBuffer outputs_{completions_.wakeup()};
  std::vector<std::pair<std::string, std::unique_ptr<Executor>>> executors_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace millrace::worker
