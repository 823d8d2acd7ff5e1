#pragma once

// A mutex that clang's -Wthread-safety understands: fields marked MR_GUARDED_BY(mutex_) cannot be
// touched without it.

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define MR_ATTRIBUTE(x) __attribute__((x))
#else
#define MR_ATTRIBUTE(x)
#endif
#define MR_GUARDED_BY(x) MR_ATTRIBUTE(guarded_by(x))
#define MR_REQUIRES(x) MR_ATTRIBUTE(requires_capability(x))

namespace millrace {

class MR_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void lock() MR_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void unlock() MR_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

class MR_ATTRIBUTE(scoped_lockable) Lock {
 public:
  explicit Lock(Mutex& mutex) MR_ATTRIBUTE(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~Lock() MR_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mutex& mutex_;
};

/// Condition variable for Mutex. `wait` needs the mutex held, may wake without reason.
class Condition {
 public:
  void wait(Mutex& mutex) MR_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  /// False when `timeout` passed first.
  bool wait_for(Mutex& mutex, std::chrono::milliseconds timeout) MR_REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool woken = condition_.wait_for(lock, timeout) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace millrace
