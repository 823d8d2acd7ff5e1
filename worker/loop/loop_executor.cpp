#include "worker/loop/loop_executor.h"

#include <atomic>
#include <exception>
#include <stdexcept>
#include <utility>

#include "common/assert.h"
#include "common/util/instrument.h"
#include "common/util/thread.h"

namespace millrace::worker {

/// What the handler gets. It keeps a run alive; the executor itself knows only the LoopRun.
class LoopExecutor::LoopJob final : public AsyncJob {
 public:
  LoopJob(LoopExecutor& executor, RunPtr run)
      : AsyncJob(run->job, run->source.get_token()),
        executor_(executor),
        inbox_(executor.loop_.inbox()),
        run_(std::move(run)) {}
  /// On any thread, perhaps when the executor is long gone; then the inbox is closed.
  ~LoopJob() override {
    if (!completed_ && !run_->has_ended())
      finish(Outcome::nack("abandoned: its handler let go of the run without completing it"));
  }

  void complete(Outcome outcome) override {
    if (!completed_.exchange(true)) finish(std::move(outcome));
  }
  void after(Duration delay, std::function<void()> callback) override {
    run_->after(delay, guarded(std::move(callback)));
  }
  void post(std::function<void()> callback) override {
    inbox_->post([run = run_, callback = guarded(std::move(callback))] {
      if (!run->has_ended()) callback();
    });
  }
  void on_stop(std::function<void()> callback) override {
    run_->on_stop(guarded(std::move(callback)));
  }
  void watch(int fd, short events, std::function<void(short)> callback) override {
    run_->watch(fd, events, guarded(std::move(callback)));
  }
  void enqueue(std::vector<JobRequest> jobs, std::string queue,
               std::function<void(Result<std::vector<JobId>>)> callback) override {
    if (run_->has_ended()) return;
    executor_.children_.enqueue(
        run_->job, stop_token(), std::move(jobs), queue,
        [inbox = inbox_, run = run_,
         callback = guarded(std::move(callback))](const ChildJobs::Answer& answer) {
          inbox->post([run, callback, answer] {
            if (!run->has_ended()) callback(answer);
          });
        });
  }

 protected:
  // The outcome is with the agent, which then knows nothing of this run any more.
  void put_progress(std::uint64_t done, std::uint64_t total, std::string_view text) override {
    if (!run_->has_ended()) executor_.outputs_.progress(run_->job, done, total, text);
  }
  void put_log(std::string_view line) override {
    if (!run_->has_ended()) executor_.outputs_.log(run_->job, stop_token(), line);
  }
  void put_chunk(Payload part) override {
    if (!run_->has_ended()) executor_.outputs_.chunk(run_->job, stop_token(), std::move(part));
  }
  std::vector<JobId> put_jobs(std::vector<JobRequest>&&, const std::string&) override {
    throw std::logic_error("on the event loop enqueue() needs a callback: it must not block");
  }

 private:
  void finish(Outcome outcome) {
    if (inbox_->is_loop_thread())
      executor_.finish(*run_, std::move(outcome));
    else
      inbox_->post([&executor = executor_, run = run_, outcome = std::move(outcome)] {
        executor.finish(*run, outcome);
      });
  }

  /// A callback that throws fails its run, as a handler that throws does.
  template <class... Arguments>
  std::function<void(Arguments...)> guarded(std::function<void(Arguments...)> callback) {
    return [&executor = executor_, run = run_,
            callback = std::move(callback)](Arguments... arguments) {
      try {
        callback(arguments...);
      } catch (const std::exception& error) {
        executor.finish(*run, Outcome::nack(error.what()));
      } catch (...) {
        executor.finish(*run, Outcome::nack(kThrewNoText));
      }
    };
  }

  LoopExecutor& executor_;  // used on the loop's thread only, which ends before the executor
  std::shared_ptr<Inbox> inbox_;
  RunPtr run_;
  std::atomic<bool> completed_{false};  // before the run has ended, if another thread said so
};

LoopExecutor::LoopExecutor(LoopOptions options, const Registry& registry,
                           CompletionQueue& completions, OutputBuffer& outputs, ChildJobs& children)
    : options_(options),
      registry_(registry),
      completions_(completions),
      outputs_(outputs),
      children_(children) {
  MR_ASSERT(options_.slots >= 1 && options_.slots <= kLoopSlotsMax, "{} slots", options_.slots);
  loop_.at_turn_end([this] { flush(); });
  thread_ = std::jthread([this] { serve(); });
}

LoopExecutor::~LoopExecutor() {
  close();
  loop_.stop();
}

// ---- the agent's thread ------------------------------------------------------------------------

void LoopExecutor::start(std::vector<Job> jobs) {
  std::vector<RunPtr> runs;
  runs.reserve(jobs.size());
  {
    Lock lock(mutex_);
    for (Job& job : jobs) {
      const LeaseId lease = job.lease;
      runs.push_back(std::make_shared<LoopRun>(std::move(job), loop_));
      const bool inserted = runs_.emplace(lease, runs.back()).second;
      MR_ASSERT(inserted && runs_.size() <= options_.slots, "{} runs, {} slots", runs_.size(),
                options_.slots);
    }
  }
  loop_.inbox()->post([this, runs = std::move(runs)] {
    for (const RunPtr& run : runs) begin(run);
  });
}

void LoopExecutor::cancel(LeaseId lease, StopReason reason) {
  RunPtr run;
  {
    Lock lock(mutex_);
    const auto found = runs_.find(lease);
    if (found == runs_.end()) return;
    run = found->second;
  }
  stop_runs({run}, reason);
}

/// Stop is requested here and not on the loop, so that a run that waits there for room for its
/// output is heard of.
void LoopExecutor::stop_runs(const std::vector<RunPtr>& runs, StopReason reason) {
  for (const RunPtr& run : runs) {
    StopReason none = StopReason::none;
    run->reason.compare_exchange_strong(none, reason);
    run->source.request_stop();
  }
  loop_.inbox()->post([runs] {
    for (const RunPtr& run : runs) run->tell_stop();
  });
}

void LoopExecutor::close() {
  std::vector<RunPtr> runs;
  {
    Lock lock(mutex_);
    for (const auto& [lease, run] : runs_) runs.push_back(run);
  }
  stop_runs(runs, StopReason::shutdown);
}

bool LoopExecutor::stop(Duration patience) {
  close();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  Lock lock(mutex_);
  while (!runs_.empty()) {
    const auto left = std::chrono::ceil<Duration>(deadline - std::chrono::steady_clock::now());
    if (left <= Duration{0}) return false;
    all_ended_.wait_for(mutex_, left);
  }
  return true;
}

// ---- the loop's thread -------------------------------------------------------------------------

void LoopExecutor::serve() {
  name_thread("mr-loop");
  loop_.run();
  flush();
  std::unordered_map<LeaseId, RunPtr> left;
  {
    Lock lock(mutex_);
    left.swap(runs_);
  }
  for (const auto& [lease, run] : left) run->end();
  handlers_.clear();  // with what they have made on this thread
  loop_.inbox()->close();
}

void LoopExecutor::begin(const RunPtr& run) {
  run->begin = EventLoop::Clock::now();
  if (run->source.stop_requested()) {
    finish(*run, Outcome::nack("cancelled: before it began"));
    return;
  }
  // Kept here too, so that an exception is heard of before it counts as let go.
  const auto job = std::make_shared<LoopJob>(*this, run);
  try {
    const AsyncHandler& handler = handler_of(run->job.kind);
    instrument::crash_point("worker.before_handler");
    handler(job);
  } catch (const std::exception& error) {
    finish(*run, Outcome::nack(error.what()));
  } catch (...) {
    finish(*run, Outcome::nack(kThrewNoText));
  }
}

/// Handlers of kinds that need the loop are made here, since what they keep belongs to this thread.
const AsyncHandler& LoopExecutor::handler_of(const std::string& kind) {
  if (const auto found = handlers_.find(kind); found != handlers_.end()) return found->second;
  const Kind* known = registry_.find(kind);
  MR_ASSERT(known != nullptr && known->can_loop(), "kind `{}` was never offered", kind);
  AsyncHandler handler =
      known->async ? known->async : known->make_async({loop_, options_.slots, options_.host_limit});
  return handlers_.emplace(kind, std::move(handler)).first->second;
}

/// The table keeps the run until flush(), whatever is let go here.
void LoopExecutor::finish(LoopRun& run, Outcome outcome) {
  if (run.has_ended()) return;
  instrument::crash_point("worker.after_handler");
  done_.push_back({.lease = run.job.lease,
                   .outcome = std::move(outcome),
                   .stopped = run.reason,
                   .elapsed = std::chrono::duration_cast<std::chrono::microseconds>(
                       EventLoop::Clock::now() - run.begin)});
  run.end();
}

/// One look by the agent for all that ended in a turn.
void LoopExecutor::flush() {
  if (done_.empty()) return;
  Lock lock(mutex_);
  for (const Completion& completion : done_) runs_.erase(completion.lease);
  const std::size_t last = done_.size() - 1;
  for (std::size_t i = 0; i < last; ++i) completions_.push_quietly(std::move(done_[i]));
  completions_.push(std::move(done_[last]));
  done_.clear();
  if (runs_.empty()) all_ended_.notify_all();
}

}  // namespace millrace::worker
