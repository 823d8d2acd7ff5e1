#include "common/util/cpus.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <thread>

namespace millrace {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  return text;
}

std::optional<double> ratio(std::string_view quota, std::string_view period) {
  const auto number = [](std::string_view text) -> double {
    long long value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? static_cast<double>(value)
                                                                    : -1.0;
  };
  const double q = number(trimmed(quota));
  const double p = number(trimmed(period));
  if (q <= 0 || p <= 0) return std::nullopt;
  return q / p;
}

/// Empty when the file is not there.
std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

unsigned affinity_cpus() {
  // More CPUs than a fixed cpu_set_t holds need a larger set; ask until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(cpus));
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(cpus));
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return static_cast<unsigned>(count);
  }
  return std::max(1U, std::thread::hardware_concurrency());
}

}  // namespace

std::optional<double> parse_cpu_max(std::string_view text) {
  text = trimmed(text);
  const std::size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  return ratio(text.substr(0, space), text.substr(space + 1));
}

std::optional<double> parse_cfs_quota(std::string_view quota, std::string_view period) {
  return ratio(quota, period);
}

CgroupPaths parse_cgroup_paths(std::string_view proc_self_cgroup) {
  CgroupPaths paths;
  while (!proc_self_cgroup.empty()) {
    const std::size_t end = std::min(proc_self_cgroup.find('\n'), proc_self_cgroup.size());
    const std::string_view line = proc_self_cgroup.substr(0, end);
    proc_self_cgroup.remove_prefix(std::min(end + 1, proc_self_cgroup.size()));
    // ID:CONTROLLERS:PATH, where version 2 is `0::PATH`.
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers =
        "," + std::string(line.substr(first + 1, second - first - 1)) + ",";
    if (controllers == ",,") paths.v2 = line.substr(second + 1);
    if (controllers.find(",cpu,") != std::string::npos) paths.cpu = line.substr(second + 1);
  }
  return paths;
}

std::vector<std::string> with_parents(std::string_view path) {
  std::vector<std::string> all;
  while (path.size() > 1) {
    all.emplace_back(path);
    path = path.substr(0, path.rfind('/'));
  }
  all.emplace_back("/");
  return all;
}

unsigned usable_cpus(unsigned affinity, const std::vector<double>& quotas) {
  double cpus = std::max(1U, affinity);
  for (const double quota : quotas) cpus = std::min(cpus, std::ceil(quota));
  return std::max(1U, static_cast<unsigned>(cpus));
}

unsigned cpu_quota() {
  const CgroupPaths paths = parse_cgroup_paths(read_file("/proc/self/cgroup"));
  std::vector<double> quotas;
  const auto add = [&](std::optional<double> quota) {
    if (quota) quotas.push_back(*quota);
  };
  // Inside a container the named path may not exist; the root, which is always looked at, is then
  // the container's own group.
  for (const std::string& path : with_parents(paths.v2))
    add(parse_cpu_max(read_file("/sys/fs/cgroup" + path + "/cpu.max")));
  for (const std::string& path : with_parents(paths.cpu)) {
    const std::string folder = "/sys/fs/cgroup/cpu" + path + "/";
    add(parse_cfs_quota(read_file(folder + "cpu.cfs_quota_us"),
                        read_file(folder + "cpu.cfs_period_us")));
  }
  return usable_cpus(affinity_cpus(), quotas);
}

}  // namespace millrace
