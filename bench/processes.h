#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::bench {

/// A program of ours that runs beside the benchmark; ended by SIGTERM when this is destroyed.
class Process {
 public:
  /// `words[0]` is the path. Its stderr goes to `log`. Throws std::runtime_error.
  Process(const std::vector<std::string>& words, std::string log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Waits up to 10 s for a line of the log that begins with `prefix`; returns what follows it.
  [[nodiscard]] std::string wait_for_line(const std::string& prefix) const;
  /// User and system time used so far.
  [[nodiscard]] double cpu_seconds() const;
  /// Largest resident size so far.
  [[nodiscard]] double peak_megabytes() const;

 private:
  pid_t pid_ = -1;
  std::string log_;
};

}  // namespace millrace::bench
