#include "worker/loop/inbox.h"

#include <utility>

namespace millrace::worker {

void Inbox::post(Callback callback) {
  bool first = false;
  {
    Lock lock(mutex_);
    if (closed_) return;  // the callback goes with our argument, not under the lock
    callbacks_.push_back(std::move(callback));
    first = !std::exchange(notified_, true);
  }
  if (first) wakeup_.notify();
}

bool Inbox::is_loop_thread() const {
  Lock lock(mutex_);
  return loop_thread_ == std::this_thread::get_id();
}

void Inbox::open() {
  Lock lock(mutex_);
  loop_thread_ = std::this_thread::get_id();
}

std::vector<Inbox::Callback> Inbox::take() {
  std::vector<Callback> taken;
  Lock lock(mutex_);
  taken.swap(callbacks_);
  notified_ = false;
  return taken;
}

void Inbox::close() {
  std::vector<Callback> dropped;
  Lock lock(mutex_);
  closed_ = true;
  loop_thread_ = {};
  dropped.swap(callbacks_);
}

}  // namespace millrace::worker
