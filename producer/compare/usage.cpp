#include "producer/compare/usage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stop_token>
#include <string>

#include "common/util/process_tree.h"
#include "common/util/thread.h"

namespace millrace::producer {
namespace {

constexpr std::chrono::milliseconds kLookEvery{20};

std::string read_all(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Exact, and of threads that ended, too.
double own_cpu(pid_t pid) {
  clockid_t clock = 0;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

/// Of children that ended, in ticks of the clock.
double ended_children_cpu(pid_t pid) {
  const std::string stat = read_all(fmt::format("/proc/{}/stat", pid));
  // The fields follow the name, which may have anything in it, in brackets. See proc(5).
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(name_end + 1));
  constexpr int kCutime = 16;
  std::string skipped;
  for (int field = 3; field < kCutime; ++field) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

std::uint64_t resident_sum(pid_t root) {
  std::uint64_t sum = 0;
  for (const pid_t pid : tree_of(root)) sum += resident_bytes(pid);
  return sum;
}

}  // namespace

Usage read_usage(pid_t root) {
  Usage usage;
  for (const pid_t pid : tree_of(root)) {
    usage.cpu_s += own_cpu(pid) + ended_children_cpu(pid);
    usage.memory_bytes += resident_bytes(pid);
  }
  return usage;
}

MemoryPeak::MemoryPeak(pid_t root)
    : root_(root), thread_([this](const std::stop_token& stop) {
        name_thread("mr-memory");
        Mutex mutex;
        Condition woken;
        const std::stop_callback wake(stop, [&] {
          Lock lock(mutex);
          woken.notify_all();
        });
        while (!stop.stop_requested()) {
          look();
          Lock lock(mutex);
          if (!stop.stop_requested()) woken.wait_for(mutex, kLookEvery);
        }
      }) {}

MemoryPeak::~MemoryPeak() = default;

std::uint64_t MemoryPeak::bytes() {
  look();
  Lock lock(mutex_);
  return bytes_;
}

void MemoryPeak::look() {
  const std::uint64_t now = resident_sum(root_);
  Lock lock(mutex_);
  bytes_ = std::max(bytes_, now);
}

}  // namespace millrace::producer
