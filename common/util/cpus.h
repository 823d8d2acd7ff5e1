#pragma once

// How many CPUs this process may use.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

/// The least of the CPUs it may be scheduled on and the quota of its control groups (versions 1
/// and 2), rounded up; at least 1. Reads a few small files.
[[nodiscard]] unsigned cpu_quota();

// ---- how control groups are read: pure, any thread ---------------------------------------------

/// `cpu.max` of version 2, `QUOTA PERIOD` in µs: CPUs, or nothing for `max` or unreadable text.
[[nodiscard]] std::optional<double> parse_cpu_max(std::string_view text);
/// `cpu.cfs_quota_us` and `cpu.cfs_period_us` of version 1; a quota of -1 is none.
[[nodiscard]] std::optional<double> parse_cfs_quota(std::string_view quota,
                                                    std::string_view period);

/// Where a process stands in each hierarchy, from /proc/self/cgroup; empty: not in it.
struct CgroupPaths {
  std::string v2;   ///< e.g. `/system.slice/worker.service`
  std::string cpu;  ///< version 1, the hierarchy of the cpu controller
};
[[nodiscard]] CgroupPaths parse_cgroup_paths(std::string_view proc_self_cgroup);

/// The path and each of its parents up to `/`: a limit of any of them holds.
[[nodiscard]] std::vector<std::string> with_parents(std::string_view path);

/// `affinity` CPUs under `quotas`, rounded up, at least 1.
[[nodiscard]] unsigned usable_cpus(unsigned affinity, const std::vector<double>& quotas);

}  // namespace millrace
