#pragma once

#include <deque>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/output_buffer.h"
#include "worker/registry.h"

namespace millrace::worker {

/// A pool of named threads (`mr-io-1` …), one job each at a time. Stopping is cooperative: a
/// handler that never looks at its stop token keeps its thread.
class ThreadExecutor final : public Executor {
 public:
  /// All references must outlive it. Throws std::system_error when the
  /// machine has no room for `threads` threads.
  ThreadExecutor(const std::string& pool, std::size_t threads, const Registry& registry,
                 CompletionQueue& completions, OutputBuffer& outputs, ChildJobs& children);
  /// Stops, and waits for every run to return.
  ~ThreadExecutor() override;
  ThreadExecutor(const ThreadExecutor&) = delete;
  ThreadExecutor& operator=(const ThreadExecutor&) = delete;

  [[nodiscard]] std::size_t slots() const override { return slots_; }
  [[nodiscard]] std::size_t depth_max() const override { return 64; }
  void start(std::vector<Job> jobs) override;
  void cancel(LeaseId lease, StopReason reason) override;
  /// Wakes another thread when those that are awake would not get through what waits.
  void look_after() override;
  [[nodiscard]] bool stop(Duration patience) override;

 private:
  struct Run {
    std::stop_source source;
    StopReason reason = StopReason::none;
  };

  void serve();
  [[nodiscard]] Completion run(const Job& job, std::stop_token token) const;
  void wake_one_if_idle() MR_REQUIRES(mutex_);
  /// Short jobs are queued: the agent looks after them.
  [[nodiscard]] bool is_batching() const MR_REQUIRES(mutex_) { return runs_.size() > slots_; }
  void close();

  const std::size_t slots_;
  const Registry& registry_;
  CompletionQueue& completions_;
  OutputBuffer& outputs_;
  ChildJobs& children_;

  Mutex mutex_;
  Condition work_;
  Condition ended_;
  std::deque<Job> waiting_ MR_GUARDED_BY(mutex_);
  std::unordered_map<LeaseId, Run> runs_ MR_GUARDED_BY(mutex_);  // waiting and running
  std::size_t idle_ MR_GUARDED_BY(mutex_) = 0;
  std::size_t alive_ MR_GUARDED_BY(mutex_) = 0;
  bool waking_ MR_GUARDED_BY(mutex_) = false;
  std::size_t taken_ MR_GUARDED_BY(mutex_) = 0;  // since look_after()
  bool closed_ MR_GUARDED_BY(mutex_) = false;
  std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace millrace::worker
