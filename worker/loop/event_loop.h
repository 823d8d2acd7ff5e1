#pragma once

#include <sys/epoll.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "common/types.h"
#include "common/util/thread.h"
#include "worker/loop/inbox.h"

namespace millrace::worker {

/// Hears of the file descriptors it watches.
class FdListener {
 public:
  /// `events` as epoll(7) reports them. May change what is watched.
  virtual void on_events(int fd, std::uint32_t events) = 0;

 protected:
  ~FdListener() = default;
};

/// Waits for many file descriptors and times at once and calls back, one call at a time. Everything
/// belongs to the thread that calls run(), but for stop() and the inbox. No callback may block:
/// while it does, all others wait.
///
/// A turn: what was posted, then events, then times that have come, then what is to be done at the
/// end of each turn.
class EventLoop {
 public:
  using Callback = Inbox::Callback;
  using Clock = std::chrono::steady_clock;
  /// Names one timer; never used twice.
  using TimerKey = std::pair<Clock::time_point, std::uint64_t>;

  /// Throws std::system_error when the system has no file descriptor left.
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Makes the calling thread the loop's, and turns until stop() was called. Once.
  void run();
  /// Any thread: run() returns after its turn.
  void stop();
  [[nodiscard]] const std::shared_ptr<Inbox>& inbox() const { return inbox_; }

  /// Calls back once, not before `delay` (0 to kDurationMax; what is beyond is cut) has passed.
  TimerKey after(Duration delay, Callback callback);
  /// Drops a timer; nothing happens when it has come or was cancelled.
  void cancel(const TimerKey& key);

  /// Tells `listener` of `events` (EPOLLIN …) of `fd` until unwatch(), level-triggered. Called
  /// again it changes them. Throws std::system_error, e.g. when `fd` is a file on a disk.
  /// `listener` must outlive the watch, and `fd` must stay open until unwatch().
  void watch(int fd, std::uint32_t events, FdListener& listener);
  void unwatch(int fd);

  /// Ends the program when the calling thread is not the loop's.
  void check_thread() const { owner_.check(); }

  /// Called at the end of every turn.
  void at_turn_end(Callback callback) { turn_end_ = std::move(callback); }

 private:
  struct Watch {
    FdListener* listener = nullptr;  // none: not watched
    std::uint32_t events = 0;
    std::uint32_t generation = 0;  // tells an event of this watch from one of an earlier one
  };

  void turn();
  void run_posted();
  void run_timers();
  [[nodiscard]] int wait_ms() const;

  std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();  // shared with runs: see Inbox
  int epoll_;
  std::vector<epoll_event> events_;  // of a turn
  ThreadOwner owner_;
  std::vector<Watch> watches_;  // by file descriptor
  std::map<TimerKey, Callback> timers_;
  std::uint64_t timers_made_ = 0;
  Callback turn_end_;
  bool stopping_ = false;
};

}  // namespace millrace::worker
