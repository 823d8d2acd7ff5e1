#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "worker/executor.h"
#include "worker/loop/event_loop.h"

namespace millrace::worker {

/// The jobs of one kind that run in processes, on the loop's thread. Each job it is given ends in
/// one completion.
class ProcessPool {
 public:
  virtual ~ProcessPool() = default;

  /// Starts what is to be warm.
  virtual void begin() = 0;
  virtual void add(std::vector<Job> jobs) = 0;
  virtual void cancel(LeaseId lease, StopReason reason) = 0;
  /// Asks every run to stop, and starts nothing more.
  virtual void close() = 0;

  /// Calls back once, when no job is left; at once when there is none.
  void when_empty(EventLoop::Callback callback) {
    if (runs_ == 0) return callback();
    when_empty_ = std::move(callback);
  }

 protected:
  /// A job has completed.
  void count_end() {
    if (--runs_ == 0 && when_empty_) std::exchange(when_empty_, nullptr)();
  }
  /// Expires with this pool.
  [[nodiscard]] std::weak_ptr<int> life() const { return alive_; }

  /// As EventLoop::after(), unless this pool is gone by then.
  void after(EventLoop& loop, Duration delay, EventLoop::Callback callback) {
    loop.after(delay, [alive = std::weak_ptr<int>(alive_), callback = std::move(callback)] {
      if (!alive.expired()) callback();
    });
  }

  std::size_t runs_ = 0;

 private:
  EventLoop::Callback when_empty_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace millrace::worker
