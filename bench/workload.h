#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "bench/report.h"

namespace millrace::bench {

/// What the command line chose.
struct Settings {
  std::string programs;  ///< folder of millrace-broker and the others
  std::string folder;    ///< for everything that is written; on a disk
  double scale = 1;      ///< of the number of jobs, and of the time of W5
  std::size_t rounds = 3;
  std::vector<std::size_t> backlogs = {100'000, 1'000'000};  ///< of W4, before scaling
};

/// One round of one workload: where it may write, how much it shall do, and where its figures go.
class Run {
 public:
  Run(const Settings& settings, Report& report, std::string workload)
      : settings_(settings), report_(report), workload_(std::move(workload)) {}

  [[nodiscard]] const Settings& settings() const { return settings_; }
  /// `full` scaled, but at least `least`.
  [[nodiscard]] std::size_t scaled(std::size_t full, std::size_t least = 20) const;
  /// A new, empty folder.
  [[nodiscard]] std::string new_folder(const std::string& name) const;

  /// A figure of millrace; `limit` is the metric of this workload's limit that stands beside it.
  void add(const std::string& metric, double value, const std::string& unit,
           const std::string& limit = {}) {
    report_.add({workload_, "millrace", metric, value, unit}, limit);
  }
  void add_limit(const std::string& metric, double value, const std::string& unit) {
    report_.add({workload_, "limit", metric, value, unit});
  }
  void note(const std::string& text) { report_.note(workload_ + ": " + text); }

 private:
  const Settings& settings_;
  Report& report_;
  std::string workload_;
};

struct Workload {
  const char* name;
  const char* title;
  void (*run)(Run& run);
};

/// All of them, in the order in which they run.
[[nodiscard]] std::span<const Workload> workloads();

// One each, in bench/workloads/.
void run_limits(Run& run);
void run_enqueue(Run& run);
void run_single(Run& run);
void run_drain(Run& run);
void run_latency(Run& run);
void run_backlog(Run& run);
void run_steady(Run& run);
void run_options(Run& run);
void run_start(Run& run);

}  // namespace millrace::bench
