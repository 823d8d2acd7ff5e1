#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace millrace::bench {

/// A program that runs beside the benchmark; ended by SIGTERM when this is destroyed. A signal that
/// ends the benchmark ends it too.
class Process {
 public:
  /// `words[0]` is a path, or a name to look for in PATH. What it prints goes to `log`. Throws
  /// std::runtime_error when it cannot be started.
  Process(const std::vector<std::string>& words, std::string log);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Waits up to 60 s for a line of the log that holds `text`; returns what follows it.
  [[nodiscard]] std::string wait_for_line(const std::string& text) const;
  void signal(int number) const;
  [[nodiscard]] bool is_running();
  /// Waits until it has ended; the exit code, or 128 and the signal.
  int wait();
  /// Everything it printed so far.
  [[nodiscard]] std::string printed() const;

  /// User and system time used so far, also after its end.
  [[nodiscard]] double cpu_seconds() const;
  /// A line of /proc/PID/status in MB: VmHWM is the largest resident size so far, VmRSS today's.
  [[nodiscard]] double memory_megabytes(const std::string& name) const;
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  bool reap(int options);

  pid_t pid_ = -1;
  std::string log_;
  std::optional<int> ended_ = {};
  double cpu_at_end_ = 0;
};

/// CPU time of this process, all threads.
[[nodiscard]] double own_cpu_seconds();

/// From here on SIGINT, SIGTERM and SIGHUP end what was started, and then this process.
void end_processes_on_signals();

}  // namespace millrace::bench
