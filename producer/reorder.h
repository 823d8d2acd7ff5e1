#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace millrace::producer {

/// Gives out what comes in any order in the order of its numbers, from 0. How many items wait is
/// bounded by whoever decides how far ahead of next() the input may run.
template <class T>
class ReorderBuffer {
 public:
  /// Returns what can be given out now, in order. A number that was seen before is ignored.
  [[nodiscard]] std::vector<T> put(std::uint64_t number, T item) {
    std::vector<T> out;
    if (number < next_) return out;
    waiting_.try_emplace(number, std::move(item));
    for (auto it = waiting_.begin(); it != waiting_.end() && it->first == next_; ++next_) {
      out.push_back(std::move(it->second));
      it = waiting_.erase(it);
    }
    return out;
  }
  /// The number that everything in front of it has been given out.
  [[nodiscard]] std::uint64_t next() const { return next_; }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }

 private:
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, T> waiting_;
};

}  // namespace millrace::producer
