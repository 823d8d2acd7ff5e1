#pragma once

#include <map>
#include <vector>

#include "tests/simulation/sim_world.h"
#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/output_buffer.h"

namespace millrace::simulation {

/// Runs jobs in virtual time. What becomes of a run depends on its kind and on chance: it succeeds,
/// fails, is refused, hangs, or takes its process down. On its way it may enqueue further jobs.
class SimExecutor final : public worker::Executor {
 public:
  /// What a run may do to the process it runs in.
  class Host {
   public:
    virtual ~Host() = default;
    virtual void completed(worker::Completion completion) = 0;
    /// The run has left something behind, or enqueued a job.
    virtual void wrote() = 0;
    /// What became of jobs that a run enqueues into `queue`.
    virtual void enqueued(const Job& parent, const std::string& queue,
                          const worker::ChildJobs::Answer& answer) = 0;
    /// The run has killed its process.
    virtual void killed() = 0;
  };

  /// All but `slots` must outlive it.
  SimExecutor(World& world, SimRandom& random, Host& host, worker::OutputBuffer& outputs,
              worker::ChildJobs& children, std::size_t slots);

  [[nodiscard]] std::size_t slots() const override { return slots_; }
  void start(std::vector<Job> jobs) override;
  void cancel(LeaseId lease, worker::StopReason reason) override;
  [[nodiscard]] bool stop(Duration) override { return true; }

  [[nodiscard]] std::vector<LeaseId> running() const;

 private:
  struct Run {
    Job job;
    Instant began{};
    worker::StopReason stopped = worker::StopReason::none;
    bool deaf = false;  ///< does not look at its stop token
    std::uint64_t number = 0;
    std::uint64_t written = 0;
  };

  void finish_in(LeaseId lease, Duration time);
  void finish(LeaseId lease);
  void write_within(LeaseId lease, Duration time);
  void write(LeaseId lease);
  void enqueue_within(LeaseId lease, Duration time);
  void enqueue(LeaseId lease);
  [[nodiscard]] Outcome judge(const Run& run);

  World& world_;
  SimRandom& random_;
  Host& host_;
  worker::OutputBuffer& outputs_;
  worker::ChildJobs& children_;
  std::size_t slots_;
  std::map<LeaseId, Run> runs_;
  std::uint64_t last_run_ = 0;
  std::uint64_t last_child_ = 0;
  std::shared_ptr<int> alive_ = std::make_shared<int>();  // the end of the process ends all runs
};

}  // namespace millrace::simulation
