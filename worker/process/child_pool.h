#pragma once

#include <chrono>
#include <deque>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "worker/child_jobs.h"
#include "worker/executor.h"
#include "worker/output_buffer.h"
#include "worker/process/child_messages.h"
#include "worker/process/process_host.h"
#include "worker/process/process_pool.h"
#include "worker/process/process_spec.h"
#include "worker/run_mean.h"

namespace millrace::worker {

/// Warm children of one kind. Each has one job at a time; of short first tries a child gets a few
/// more, so that none of them costs a round through the pipes. A child that ends takes down the job
/// it was at; those behind it go to another child.
class ChildPool final : public ProcessPool, private ProcessHost::Listener {
 public:
  ChildPool(ProcessHost& host, ProcessSpec spec, CompletionQueue& completions,
            OutputBuffer& outputs, ChildJobs& children);
  ~ChildPool() override;

  void begin() override;
  void add(std::vector<Job> jobs) override;
  void cancel(LeaseId lease, StopReason reason) override;
  void close() override;

 private:
  using Clock = std::chrono::steady_clock;

  struct Run {
    Job job;
    Clock::time_point begun{};
    StopReason stopped = StopReason::none;
  };
  struct Member {
    std::unique_ptr<Child> child;
    ChildStream stream{};
    bool ready = false;
    bool retiring = false;  ///< gets no more jobs; its stdin is closed when the last one is done
    bool paused = false;    ///< its output has to wait
    std::deque<Run> runs{};
    std::uint64_t jobs_done = 0;
    std::uint64_t rss_first = 0;                    ///< after its first job
    std::vector<pid_t> helpers{};                   ///< processes it had before its first job
    std::string verdict{};                          ///< why it is being killed
    std::optional<EventLoop::TimerKey> patience{};  ///< until it is killed
  };

  // ---- ProcessHost::Listener
  void on_started(Child& child) override;
  void on_not_started(Child& child, const std::string& error) override;
  void on_ended(Child& child, const NurseryReport& report) override;
  void on_output(Child& child, std::string_view part) override;
  void on_output_closed(Child& child) override;

  [[nodiscard]] std::list<Member>::iterator member_of(const Child& child);
  void spawn_missing();
  void spawn_one();
  void feed();
  [[nodiscard]] Member* next_member();
  void give(Member& member);
  void read_messages(Member& member);
  void on_message(Member& member, FromChild message);
  void on_ready(Member& member, const FromChild& message);
  void on_enqueue(Member& member, FromChild message);
  void answer_enqueue(std::uint64_t child, LeaseId lease, std::uint64_t request,
                      const ChildJobs::Answer& answer);
  void end_run(Member& member, Outcome outcome);
  void begin_next(Member& member);
  [[nodiscard]] std::optional<std::string> leftovers(const Member& member) const;
  void rest(Member& member);
  void stop_run(Member& member);
  void condemn(Member& member, std::string verdict);
  void kill_after(Member& member, Duration patience, std::string verdict);
  void complete(const Run& run, Outcome outcome, bool crashed);
  void fail_waiting(const std::string& error);
  void look_after_long_runs();

  ProcessHost& host_;
  const ProcessSpec spec_;
  CompletionQueue& completions_;
  OutputBuffer& outputs_;
  ChildJobs& children_;

  std::deque<Run> waiting_;
  std::list<Member> members_;
  RunMean run_mean_;
  unsigned false_starts_ = 0;  // children in a row that never became ready
  bool respawn_pending_ = false;
  bool closed_ = false;
};

}  // namespace millrace::worker
