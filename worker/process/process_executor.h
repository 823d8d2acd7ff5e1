#pragma once

#include <atomic>
#include <memory>

#include "common/util/mutex.h"
#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/output_buffer.h"
#include "worker/process/process_host.h"
#include "worker/process/process_pool.h"
#include "worker/process/process_spec.h"

namespace millrace::worker {

/// Runs the jobs of one kind in child processes: warm ones (ChildPool), or one for each job
/// (OncePool). The agent's end of it; the work is done on the thread of the ProcessHost.
class ProcessExecutor final : public Executor {
 public:
  /// All references but `spec` must outlive it.
  ProcessExecutor(ProcessHost& host, const ProcessSpec& spec, CompletionQueue& completions,
                  OutputBuffer& outputs, ChildJobs& children);
  ~ProcessExecutor() override;

  [[nodiscard]] std::size_t slots() const override { return slots_; }
  [[nodiscard]] std::size_t depth_max() const override { return depth_max_; }
  void start(std::vector<Job> jobs) override;
  void cancel(LeaseId lease, StopReason reason) override;
  /// Always true: what does not end is killed.
  [[nodiscard]] bool stop(Duration patience) override;

 private:
  /// Runs `work` on the host's thread and waits for it.
  void run_there(const std::function<void()>& work);

  ProcessHost& host_;
  const std::size_t slots_;
  const std::size_t depth_max_;
  std::unique_ptr<ProcessPool> pool_;  // the host's thread
};

}  // namespace millrace::worker
