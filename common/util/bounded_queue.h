#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "common/util/mutex.h"

namespace millrace {

/// Values handed from any number of threads to any number of threads, in order. Closing lets the
/// takers empty it and then get nothing. Deadlock note: a taker must not `push` to a queue whose
/// own taker waits for it.
template <class T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t items_max) : items_max_(items_max) {}

  /// Blocks while full. False (and `item` is gone) when closed.
  bool push(T item) {
    Lock lock(mutex_);
    while (items_.size() >= items_max_ && !closed_) not_full_.wait(mutex_);
    if (closed_) return false;
    items_.push_back(std::move(item));
    not_empty_.notify_one();
    return true;
  }

  /// Never blocks; false when full or closed.
  bool try_push(T item) {
    Lock lock(mutex_);
    if (closed_ || items_.size() >= items_max_) return false;
    items_.push_back(std::move(item));
    not_empty_.notify_one();
    return true;
  }

  /// Blocks until there is one; nothing once closed and empty.
  std::optional<T> pop() {
    Lock lock(mutex_);
    while (items_.empty() && !closed_) not_empty_.wait(mutex_);
    return take();
  }

  /// As pop, but gives up after `timeout`.
  std::optional<T> pop_for(std::chrono::milliseconds timeout) {
    Lock lock(mutex_);
    while (items_.empty() && !closed_)
      if (!not_empty_.wait_for(mutex_, timeout)) break;
    return take();
  }

  std::optional<T> try_pop() {
    Lock lock(mutex_);
    return take();
  }

  void close() {
    Lock lock(mutex_);
    closed_ = true;
    not_empty_.notify_all();
    not_full_.notify_all();
  }

  [[nodiscard]] bool closed() {
    Lock lock(mutex_);
    return closed_;
  }

  [[nodiscard]] std::size_t size() {
    Lock lock(mutex_);
    return items_.size();
  }

 private:
  std::optional<T> take() MR_REQUIRES(mutex_) {
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    not_full_.notify_one();
    return item;
  }

  const std::size_t items_max_;
  Mutex mutex_;
  Condition not_empty_;
  Condition not_full_;
  std::deque<T> items_ MR_GUARDED_BY(mutex_);
  bool closed_ MR_GUARDED_BY(mutex_) = false;
};

}  // namespace millrace
