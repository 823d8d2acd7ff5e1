#include "worker/inline_run.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <vector>

#include "common/limits.h"
#include "worker/executor.h"

namespace millrace::worker {
namespace {

struct Input {
  std::size_t warm_up = 0;
  std::vector<std::string> payloads;
};

Input read_input() {
  Input input;
  std::string line;
  if (std::getline(std::cin, line)) input.warm_up = std::strtoull(line.c_str(), nullptr, 10);
  while (std::getline(std::cin, line)) input.payloads.push_back(line);
  return input;
}

/// Keeps the channel from a handler that reads or prints; puts it back when it is destroyed.
class StandardFiles {
 public:
  StandardFiles() : out_(fcntl(1, F_DUPFD_CLOEXEC, 3)) {
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, 0);
    close(nothing);
    dup2(2, 1);
  }
  ~StandardFiles() {
    std::fflush(stdout);
    dup2(out_, 1);
    close(out_);
  }
  StandardFiles(const StandardFiles&) = delete;
  StandardFiles& operator=(const StandardFiles&) = delete;

 private:
  int out_;
};

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

/// Of this process and of the children it waited for.
double cpu_seconds() {
  double sum = 0;
  for (const auto who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    sum += seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  return sum;
}

/// How long this thread waited for a CPU while it could have run. 0 where the kernel does not
/// count.
double delayed_seconds() {
  std::ifstream file("/proc/thread-self/schedstat");
  std::uint64_t ran = 0;
  std::uint64_t delayed = 0;
  file >> ran >> delayed;
  return static_cast<double>(delayed) * 1e-9;
}

/// ru_maxrss will not do: it begins with that of the process that started this one.
std::uint64_t resident_bytes_max() {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    std::uint64_t kib = 0;
    if (word == "VmHWM:" && file >> kib) return kib * kKiB;
  }
  return 0;
}

class Runs {
 public:
  Runs(const std::string& kind, const Handler& handler) : handler_(handler) {
    job_.kind = kind;
    job_.queue = kQueueDefault;
    job_.max_attempts = 1;
  }

  void run(const std::string& payload) {
    ++job_.id.value;
    ++job_.lease.value;
    job_.payload = Payload::text(payload);
    JobContext context(job_, std::stop_token{});
    const Outcome outcome = outcome_of(context);
    if (outcome.verdict == Outcome::Verdict::ack) return;
    if (failed_++ == 0) error_ = outcome.error;
  }
  void forget() { failed_ = 0; }

  [[nodiscard]] std::uint64_t failed() const { return failed_; }
  [[nodiscard]] nlohmann::json error() const {
    return failed_ > 0 ? nlohmann::json(error_) : nlohmann::json();
  }

 private:
  Outcome outcome_of(JobContext& context) const {
    try {
      return handler_(context);
    } catch (const std::exception& error) {
      return Outcome::nack(error.what());
    } catch (...) {
      return Outcome::nack(kThrewNoText);
    }
  }

  const Handler& handler_;
  Job job_;
  std::uint64_t failed_ = 0;
  std::string error_;
};

}  // namespace

nlohmann::json run_inline(const std::string& kind, const Handler& handler) {
  using Clock = std::chrono::steady_clock;
  const Input input = read_input();
  const StandardFiles aside;
  Runs runs(kind, handler);
  for (std::size_t i = 0; i < std::min(input.warm_up, input.payloads.size()); ++i)
    runs.run(input.payloads[i]);
  runs.forget();

  const double delayed_before = delayed_seconds();
  const double cpu_before = cpu_seconds();
  const Clock::time_point begin = Clock::now();
  for (const std::string& payload : input.payloads) runs.run(payload);
  const std::chrono::duration<double> elapsed = Clock::now() - begin;
  const double cpu = cpu_seconds() - cpu_before;
  return {{"jobs", input.payloads.size()},
          {"failed", runs.failed()},
          {"seconds", elapsed.count()},
          {"cpu_s", cpu},
          {"delayed_s", delayed_seconds() - delayed_before},
          {"memory_bytes", resident_bytes_max()},
          {"error", runs.error()}};
}

}  // namespace millrace::worker
