#include "bench/syscalls.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

namespace millrace::bench {
namespace {

// Neither tool says when it is attached.
constexpr std::chrono::milliseconds kAttach{400};

/// `1234,,raw_syscalls:sys_enter,…` of perf stat -x,
std::optional<double> count_of_perf(const std::string& printed) {
  std::istringstream lines(printed);
  for (std::string line; std::getline(lines, line);)
    if (line.find("raw_syscalls:sys_enter") != std::string::npos && line[0] >= '0' &&
        line[0] <= '9')
      return std::stod(line);
  return std::nullopt;
}

/// `100.00    0.1    3    1234    5 total` of strace -c
std::optional<double> count_of_strace(const std::string& printed) {
  std::istringstream lines(printed);
  for (std::string line; std::getline(lines, line);) {
    if (!line.ends_with(" total")) continue;
    std::istringstream words(line);
    double percent = 0;
    double seconds = 0;
    double each = 0;
    double calls = 0;
    if (words >> percent >> seconds >> each >> calls) return calls;
  }
  return std::nullopt;
}

}  // namespace

SyscallCount::SyscallCount(pid_t process, std::string log) : log_(std::move(log)) {
  const std::string pid = fmt::format("{}", process);
  if (start({"perf", "stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", pid})) return;
  is_perf_ = false;
  if (!start({"strace", "-c", "-f", "-p", pid})) tool_.reset();
}

bool SyscallCount::start(const std::vector<std::string>& words) {
  try {
    tool_ = std::make_unique<Process>(words, log_);
  } catch (const std::runtime_error&) {
    return false;  // not installed
  }
  std::this_thread::sleep_for(kAttach);
  return tool_->is_running();
}

std::optional<double> SyscallCount::stop() {
  if (!tool_) return std::nullopt;
  tool_->signal(SIGINT);
  tool_->wait();
  return is_perf_ ? count_of_perf(tool_->printed()) : count_of_strace(tool_->printed());
}

}  // namespace millrace::bench
