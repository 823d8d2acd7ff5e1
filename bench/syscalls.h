#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/processes.h"

namespace millrace::bench {

/// Counts the system calls of a running process, by perf(1) or else strace(1).
class SyscallCount {
 public:
  /// Attaches. `log`: a file for what the tool prints.
  SyscallCount(pid_t process, std::string log);
  /// How many there were since; nothing when neither tool works here.
  [[nodiscard]] std::optional<double> stop();

 private:
  [[nodiscard]] bool start(const std::vector<std::string>& words);

  std::string log_;
  bool is_perf_ = true;
  std::unique_ptr<Process> tool_;
};

}  // namespace millrace::bench
