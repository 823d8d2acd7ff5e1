#include "bench/workload.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

namespace millrace::bench {
namespace {

constexpr std::array<Workload, 9> kWorkloads = {{
    {"limits", "what this machine can do, without a queue", run_limits},
    {"W1", "enqueue from one producer until all is acknowledged, no workers", run_enqueue},
    {"W1s", "enqueue one at a time", run_single},
    {"W2", "enqueue, then drain", run_drain},
    {"W3", "one job every 2 ms into an idle queue: from enqueue to handler", run_latency},
    {"W4", "a backlog: what it costs, and what it slows down", run_backlog},
    {"W5", "steady load, looked at every second", run_steady},
    {"W6", "cost of an option, enqueue and drain together", run_options},
    {"W7", "start-up", run_start},
}};

}  // namespace

std::size_t Run::scaled(std::size_t full, std::size_t least) const {
  const auto wanted = std::llround(static_cast<double>(full) * settings_.scale);
  return std::max(static_cast<std::size_t>(wanted), least);
}

std::string Run::new_folder(const std::string& name) const {
  namespace fs = std::filesystem;
  fs::path path = fs::path(settings_.folder) / (workload_ + "-" + name);
  for (int number = 2; fs::exists(path); ++number)
    path = fs::path(settings_.folder) / fmt::format("{}-{}-{}", workload_, name, number);
  fs::create_directory(path);
  return path.string();
}

std::span<const Workload> workloads() { return kWorkloads; }

}  // namespace millrace::bench
