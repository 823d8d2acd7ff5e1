#pragma once

// What one way to run some jobs took, and what that says beside the other ways. Pure.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::producer {

enum class Way : std::uint8_t { inline_run, thread, process, loop };
/// `inline thread process loop`, as in JSON; all but the first as --executor has them.
[[nodiscard]] std::string_view to_string(Way way);
/// For people: `threads`, `processes`.
[[nodiscard]] std::string_view title(Way way);

struct Figures {
  Way way = Way::inline_run;
  bool ran = false;          ///< else `error` says why not
  bool died = false;         ///< the process that ran the jobs ended in the middle; not `ran`
  std::uint64_t slots = 1;   ///< jobs at once
  std::uint64_t jobs = 0;    ///< how many there were
  std::uint64_t failed = 0;  ///< of them
  double seconds = 0;        ///< from the first enqueue to the last result; inline: of the runs
  double cpu_s = 0;          ///< of the worker and all that descends from it
  double delayed_s = 0;      ///< inline: how long it could have run, but had no CPU
  std::uint64_t memory_bytes = 0;  ///< the highest sum of resident sizes
  std::string error = {};          ///< the first of those that failed

  /// It can be compared with others.
  [[nodiscard]] bool is_good() const { return ran && failed == 0; }
};

/// The part of its time in which an inline run computed, or would have, had it had a CPU: 0 to 1.
[[nodiscard]] double busy_share(const Figures& inline_run);

/// What no way to run `inline_run`'s jobs can go below: what they compute, spread over `cpus`, and
/// what they wait, in as many rounds as it takes with `slots` at once.
[[nodiscard]] double ideal_seconds(const Figures& inline_run, std::uint64_t slots, unsigned cpus);

/// Times `inline_run`; 0 when there is nothing to compare with.
[[nodiscard]] double speedup(const Figures& row, const Figures& inline_run);
/// What a job costs beyond its share of ideal_seconds(), in µs, not below 0.
[[nodiscard]] double overhead_us(const Figures& row, const Figures& inline_run, unsigned cpus);

/// {"executor","jobs","seconds","speedup","jobs_per_s","cpu_s","memory_bytes","overhead_us",
/// "error"}; null is what was not measured.
[[nodiscard]] std::string to_json(const Figures& row, const Figures& inline_run, unsigned cpus);

/// Titles and cells of the table.
[[nodiscard]] std::vector<std::string> compare_titles();
[[nodiscard]] std::vector<std::string> compare_cells(const Figures& row, const Figures& inline_run,
                                                     unsigned cpus);

/// `0.24 µs`, `35 µs`, `2.1 ms`, `3.4 s`: three digits are enough.
[[nodiscard]] std::string format_time(double seconds);
/// `23 MB`.
[[nodiscard]] std::string format_memory(std::uint64_t bytes);

}  // namespace millrace::producer
