#pragma once

#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/loop/event_loop.h"
#include "worker/loop/loop_run.h"
#include "worker/output_buffer.h"
#include "worker/registry.h"

namespace millrace::worker {

inline constexpr std::size_t kLoopSlotsMax = 4096;

struct LoopOptions {
  std::size_t slots = 256;     ///< 1 to kLoopSlotsMax
  std::size_t host_limit = 0;  ///< requests to one host at once; 0: no limit
};

/// Many runs at once on one thread, `mr-loop`. Stopping is cooperative: a run that does not
/// complete keeps its slot. A handler that blocks holds up all runs.
class LoopExecutor final : public Executor {
 public:
  /// Runs the kinds of `registry` that can run on a loop. All references must outlive it. Throws
  /// std::system_error when there is no room for a thread or a file descriptor.
  LoopExecutor(LoopOptions options, const Registry& registry, CompletionQueue& completions,
               OutputBuffer& outputs, ChildJobs& children);
  /// Stops. Does not wait for runs that do not complete; what they do later is ignored.
  ~LoopExecutor() override;
  LoopExecutor(const LoopExecutor&) = delete;
  LoopExecutor& operator=(const LoopExecutor&) = delete;

  [[nodiscard]] std::size_t slots() const override { return options_.slots; }
  void start(std::vector<Job> jobs) override;
  void cancel(LeaseId lease, StopReason reason) override;
  [[nodiscard]] bool stop(Duration patience) override;

 private:
  class LoopJob;
  using RunPtr = std::shared_ptr<LoopRun>;  // shared with the LoopJob, which may outlive all this

  void stop_runs(const std::vector<RunPtr>& runs, StopReason reason);
  void close();

  // The loop's thread.
  void serve();
  void begin(const RunPtr& run);
  [[nodiscard]] const AsyncHandler& handler_of(const std::string& kind);
  void finish(LoopRun& run, Outcome outcome);
  void flush();

  const LoopOptions options_;
  const Registry& registry_;
  CompletionQueue& completions_;
  OutputBuffer& outputs_;
  ChildJobs& children_;
  EventLoop loop_;

  // The loop's thread.
  std::unordered_map<std::string, AsyncHandler> handlers_;
  std::vector<Completion> done_;  // of this turn

  Mutex mutex_;
  Condition all_ended_;
  std::unordered_map<LeaseId, RunPtr> runs_ MR_GUARDED_BY(mutex_);
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace millrace::worker
