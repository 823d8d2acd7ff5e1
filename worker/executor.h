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
};

/// Completions on their way to the agent. Any thread pushes, one takes. It holds at most as many as
/// there are slots, because a slot gets its next job only after its completion was taken.
class CompletionQueue {
 public:
  void push(Completion completion);
  [[nodiscard]] std::vector<Completion> take();
  /// Becomes readable when there is something to take; the taker may use it for wake-ups of its
  /// own.
  [[nodiscard]] Wakeup& wakeup() { return wakeup_; }

 private:
  Wakeup wakeup_;
  Mutex mutex_;
  std::vector<Completion> completions_ MR_GUARDED_BY(mutex_);
};

/// One pool. All functions are called by the agent's thread, and none of them blocks but `stop`.
class Executor {
 public:
  virtual ~Executor() = default;

  [[nodiscard]] virtual std::size_t slots() const = 0;
  /// Never more jobs than slots are free. Each ends in exactly one completion.
  virtual void start(std::vector<Job> jobs) = 0;
  /// Asks a run to stop; it still ends in a completion. Nothing happens when it has ended.
  virtual void cancel(LeaseId lease, StopReason reason) = 0;
  /// Asks every run to stop and waits at most `patience` for the last one. False when some did not
  /// end: the executor can then not be destroyed without waiting for them.
  [[nodiscard]] virtual bool stop(Duration patience) = 0;
};

}  // namespace millrace::worker
