#pragma once

// Where jobs run. The agent hands over one job per free slot and later finds how it ended in the
// CompletionQueue; whether threads, processes or an event loop do the work is the executor's own.

#include <millrace/handler.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "common/util/mutex.h"
#include "common/util/wakeup.h"

namespace millrace::worker {

/// Why a run was asked to stop; the first reason stands.
enum class StopReason : std::uint8_t { none, cancelled, timeout, dropped, shutdown };

struct Completion {
  LeaseId lease;
  Outcome outcome = Outcome::ack();
  StopReason stopped = StopReason::none;
  std::chrono::microseconds elapsed{};
  /// The process of the run was lost. `outcome` is a nack whose error tells what is known of it.
  bool crashed = false;
};

/// Completions on their way to the agent. Any thread pushes, one takes. It holds at most as many as
/// the executors may have, because each gets its next job only after a completion was taken.
class CompletionQueue {
 public:
  void push(Completion completion);
  /// As push(), for a run with others behind it: the agent looks soon without being woken.
  void push_quietly(Completion completion);
  [[nodiscard]] std::vector<Completion> take();
  /// Becomes readable when there is something to take; the taker may use it for wake-ups of its
  /// own.
  [[nodiscard]] Wakeup& wakeup() { return wakeup_; }

 private:
  Wakeup wakeup_;
  Mutex mutex_;
  std::vector<Completion> completions_ MR_GUARDED_BY(mutex_);
  bool notified_ MR_GUARDED_BY(mutex_) = false;  // since they were taken
};

/// The error of a run whose handler threw what has no what().
inline constexpr const char* kThrewNoText = "exception: the handler threw something without a text";

/// While an executor has more jobs than slots the agent looks this often for what has ended, and
/// nobody needs to wake it for each.
inline constexpr Duration kBatchLook{1};

/// One pool. All functions are called by the agent's thread, and none of them blocks but `stop`.
class Executor {
 public:
  virtual ~Executor() = default;

  /// How many jobs run at once.
  [[nodiscard]] virtual std::size_t slots() const = 0;
  /// Jobs it takes at most for each slot, so that short ones follow each other without asking.
  [[nodiscard]] virtual std::size_t depth_max() const { return 1; }
  /// Never more jobs than `slots() * depth_max()` that have not completed. Each ends in exactly one
  /// completion. Those beyond `slots()` are first tries of a kind whose runs are short.
  virtual void start(std::vector<Job> jobs) = 0;
  /// Asks a run to stop; it still ends in a completion. Nothing happens when it has ended.
  virtual void cancel(LeaseId lease, StopReason reason) = 0;
  /// Called every kBatchLook while it has more jobs than slots.
  virtual void look_after() {}
  /// Asks every run to stop and waits at most `patience` for the last one. False when some did not
  /// end: the executor can then not be destroyed without waiting for them.
  [[nodiscard]] virtual bool stop(Duration patience) = 0;
};

}  // namespace millrace::worker
