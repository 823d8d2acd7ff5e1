#pragma once

#include <millrace/handler.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stop_token>

#include "worker/executor.h"
#include "worker/loop/event_loop.h"

namespace millrace::worker {

/// One run on the event loop: what its handler set up and what it is asked. It takes its timers and
/// watches with it when it ends. The loop's thread, but for the fields that say otherwise.
class LoopRun final : public FdListener {
 public:
  LoopRun(Job with_job, EventLoop& loop) : job(std::move(with_job)), loop_(loop) {}

  const Job job;
  /// Any thread.
  std::stop_source source;
  std::atomic<StopReason> reason{StopReason::none};
  EventLoop::Clock::time_point begin{};

  /// Any thread; what it says is final on the loop's thread only.
  [[nodiscard]] bool has_ended() const { return ended_; }
  /// From here on none of its callbacks is called; what they hold is let go.
  void end();

  // See AsyncJob.
  void after(Duration delay, std::function<void()> callback);
  void on_stop(std::function<void()> callback);
  void watch(int fd, short events, std::function<void(short)> callback);

  /// Stop was requested.
  void tell_stop();

 private:
  struct Watch {
    int fd = -1;  // a duplicate: see watch()
    std::shared_ptr<const std::function<void(short)>> callback;
  };
  using Watches = std::map<int, Watch>;  // by the descriptor that the handler named

  void on_events(int fd, std::uint32_t events) override;
  void unwatch(Watches::iterator found);

  EventLoop& loop_;
  std::atomic<bool> ended_{false};
  std::function<void()> on_stop_;
  std::set<EventLoop::TimerKey> timers_;
  Watches watches_;
};

}  // namespace millrace::worker
