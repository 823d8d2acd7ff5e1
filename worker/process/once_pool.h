#pragma once

#include <chrono>
#include <deque>
#include <list>
#include <string>

#include "worker/process/process_host.h"
#include "worker/process/process_pool.h"
#include "worker/process/process_spec.h"

namespace millrace::worker {

/// A process for each job: the payload on its stdin, the result on its stdout. Status 0 is done, 65
/// (EX_DATAERR) is rejected, any other has failed; a signal is a crash.
class OncePool final : public ProcessPool, private ProcessHost::Listener {
 public:
  OncePool(ProcessHost& host, ProcessSpec spec, CompletionQueue& completions);
  ~OncePool() override;

  void begin() override;
  void add(std::vector<Job> jobs) override;
  void cancel(LeaseId lease, StopReason reason) override;
  void close() override;

 private:
  using Clock = std::chrono::steady_clock;

  struct Run {
    Job job;
    std::unique_ptr<Child> child;
    Clock::time_point begun{};
    StopReason stopped = StopReason::none;
    std::string result{};
    std::string verdict{};  ///< why it is being killed
  };

  // ---- ProcessHost::Listener
  void on_started(Child&) override {}
  void on_not_started(Child& child, const std::string& error) override;
  void on_ended(Child& child, const NurseryReport& report) override;
  void on_output(Child& child, std::string_view part) override;
  void on_output_closed(Child&) override {}

  [[nodiscard]] std::list<Run>::iterator run_of(const Child& child);
  void run(Job job);
  void condemn(Run& run, std::string verdict);
  void complete(std::list<Run>::iterator run, Outcome outcome, bool crashed);
  void look_after_long_runs();

  ProcessHost& host_;
  const ProcessSpec spec_;
  CompletionQueue& completions_;
  std::list<Run> running_;
};

}  // namespace millrace::worker
