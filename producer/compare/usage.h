#pragma once

// What a process and all that descends from it use, by /proc.

#include <sys/types.h>

#include <cstdint>
#include <thread>

#include "common/util/mutex.h"

namespace millrace::producer {

struct Usage {
  double cpu_s = 0;  ///< since they began, and of children that ended and were waited for
  std::uint64_t memory_bytes = 0;  ///< resident; what they share counts for each
};
/// Of `root` and what descends from it. Any thread.
[[nodiscard]] Usage read_usage(pid_t root);

/// Looks again and again, on a thread of its own, until it is destroyed. Belongs to one thread.
class MemoryPeak {
 public:
  explicit MemoryPeak(pid_t root);
  ~MemoryPeak();
  MemoryPeak(const MemoryPeak&) = delete;
  MemoryPeak& operator=(const MemoryPeak&) = delete;

  /// The highest so far, this moment included.
  [[nodiscard]] std::uint64_t bytes();

 private:
  void look();

  const pid_t root_;
  Mutex mutex_;
  std::uint64_t bytes_ MR_GUARDED_BY(mutex_) = 0;
  std::jthread thread_;  // last: it uses everything above
};

}  // namespace millrace::producer
