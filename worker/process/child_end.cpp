#include "worker/process/child_end.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstring>

namespace millrace::worker {

std::string status_text(int status) {
  if (!WIFSIGNALED(status)) return fmt::format("it ended with status {}", WEXITSTATUS(status));
  const int number = WTERMSIG(status);
  const char* name = sigabbrev_np(number);
  return fmt::format("killed by signal {} ({}{}){}", number, name != nullptr ? "SIG" : "",
                     name != nullptr ? name : "unknown",
                     number == SIGXCPU ? ", it has used up its --child-cpu" : "");
}

std::string crash_text(const NurseryReport& report, const std::string& error_tail) {
  if (!report.error.empty()) return "crash: " + report.error;
  const double cpu = static_cast<double>(report.user_us + report.system_us) / 1e6;
  return with_errors(fmt::format("crash: {}; CPU {:.2f} s, {} MiB", status_text(report.status), cpu,
                                 report.rss_max_kib / 1024),
                     error_tail);
}

std::string with_errors(std::string first, const std::string& error_tail) {
  if (!error_tail.empty()) first += "; stderr: " + error_tail;
  return first;
}

}  // namespace millrace::worker
