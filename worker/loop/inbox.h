#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "common/util/mutex.h"
#include "common/util/wakeup.h"

namespace millrace::worker {

/// What other threads ask of an event loop. It may outlive its loop, since a run on the loop may be
/// known to threads that its handler started: what is posted later is dropped.
class Inbox {
 public:
  using Callback = std::function<void()>;

  /// Any thread: the loop's thread will call it, or drop it when the loop has ended.
  void post(Callback callback);
  /// Any thread. True on the thread that runs the loop, while it does.
  [[nodiscard]] bool is_loop_thread() const;

  // ---- the loop's thread -----------------------------------------------------------------------
  /// From here on this thread is the loop's.
  void open();
  [[nodiscard]] std::vector<Callback> take();
  /// Drops what is there and what will come.
  void close();
  /// Readable when there is something to take.
  [[nodiscard]] Wakeup& wakeup() { return wakeup_; }

 private:
  Wakeup wakeup_;
  mutable Mutex mutex_;
  std::vector<Callback> callbacks_ MR_GUARDED_BY(mutex_);
  bool notified_ MR_GUARDED_BY(mutex_) = false;  // since they were taken
  bool closed_ MR_GUARDED_BY(mutex_) = false;
  std::thread::id loop_thread_ MR_GUARDED_BY(mutex_);
};

}  // namespace millrace::worker
