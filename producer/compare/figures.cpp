#include "producer/compare/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "producer/json_text.h"
#include "producer/output.h"

namespace millrace::producer {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"inline", "thread", "process", "loop"};
constexpr std::array<std::string_view, 4> kTitles = {"inline", "threads", "processes", "loop"};

double rate(const Figures& row) {
  return row.seconds > 0 ? static_cast<double>(row.jobs) / row.seconds : 0;
}

/// With what it takes to see that two rows differ, and no more.
std::string json_number(double value, int digits) { return fmt::format("{:.{}f}", value, digits); }

std::string note(const Figures& row) {
  if (!row.ran || row.failed == 0) return row.error;
  return fmt::format("{} of {} failed: {}", format_count(row.failed), format_count(row.jobs, "job"),
                     row.error);
}

std::string three_digits(double value) {
  const int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}", value, digits);
}

/// `1.94x`.
std::string format_times(double times) {
  return times < 0.01 ? "<0.01x" : fmt::format("{:.2f}x", times);
}

}  // namespace

std::string_view to_string(Way way) { return kNames[static_cast<std::size_t>(way)]; }
std::string_view title(Way way) { return kTitles[static_cast<std::size_t>(way)]; }

double busy_share(const Figures& inline_run) {
  if (inline_run.seconds <= 0) return 0;
  return std::min((inline_run.cpu_s + inline_run.delayed_s) / inline_run.seconds, 1.0);
}

double ideal_seconds(const Figures& inline_run, std::uint64_t slots, unsigned cpus) {
  if (inline_run.jobs == 0 || slots == 0) return 0;
  const auto jobs = static_cast<double>(inline_run.jobs);
  const double rounds = std::ceil(jobs / static_cast<double>(slots));
  const double busy = busy_share(inline_run) * inline_run.seconds;
  const double waited = inline_run.seconds - busy;
  const double computed = busy / static_cast<double>(std::min<std::uint64_t>(slots, cpus));
  return std::max({waited / jobs * rounds, computed, inline_run.seconds / jobs});
}

double speedup(const Figures& row, const Figures& inline_run) {
  return row.ran && inline_run.ran && row.seconds > 0 ? inline_run.seconds / row.seconds : 0;
}

double overhead_us(const Figures& row, const Figures& inline_run, unsigned cpus) {
  if (row.way == Way::inline_run || row.jobs == 0) return 0;
  const double beyond = row.seconds - ideal_seconds(inline_run, row.slots, cpus);
  return std::max(beyond, 0.0) * 1e6 / static_cast<double>(row.jobs);
}

std::string to_json(const Figures& row, const Figures& inline_run, unsigned cpus) {
  JsonObject object;
  object.text("executor", to_string(row.way)).number("jobs", row.jobs);
  const auto put = [&](const char* key, bool known, double value, int digits) {
    object.raw(key, known ? json_number(value, digits) : "null");
  };
  const bool both = row.ran && inline_run.ran;
  put("seconds", row.ran, row.seconds, 6);
  put("speedup", both, speedup(row, inline_run), 4);
  put("jobs_per_s", row.ran, rate(row), 1);
  put("cpu_s", row.ran, row.cpu_s, 6);
  if (row.ran)
    object.number("memory_bytes", row.memory_bytes);
  else
    object.null("memory_bytes");
  put("overhead_us", both, overhead_us(row, inline_run, cpus), 2);
  return object.text_or_null("error", note(row)).take();
}

std::vector<std::string> compare_titles() {
  return {"WHERE", ">AT ONCE", ">TIME",         ">SPEED-UP", ">JOBS/S",
          ">CPU",  ">MEMORY",  ">OVERHEAD/JOB", ""};
}

std::vector<std::string> compare_cells(const Figures& row, const Figures& inline_run,
                                       unsigned cpus) {
  std::vector<std::string> cells{std::string(title(row.way))};
  if (!row.ran) {
    cells.resize(8, "-");
    cells.push_back(note(row));
    return cells;
  }
  const bool compared = inline_run.ran && row.way != Way::inline_run;
  cells.push_back(format_count(row.slots));
  cells.push_back(format_time(row.seconds));
  cells.push_back(inline_run.ran ? format_times(speedup(row, inline_run)) : "-");
  cells.push_back(rate(row) < 100 ? three_digits(rate(row))
                                  : format_count(static_cast<std::uint64_t>(rate(row))));
  cells.push_back(format_time(row.cpu_s));
  cells.push_back(format_memory(row.memory_bytes));
  cells.push_back(compared ? format_time(overhead_us(row, inline_run, cpus) * 1e-6) : "-");
  cells.push_back(note(row));
  return cells;
}

std::string format_time(double seconds) {
  if (seconds < 0.9995e-3) return three_digits(seconds * 1e6) + " µs";
  if (seconds < 0.9995) return three_digits(seconds * 1e3) + " ms";
  return three_digits(seconds) + " s";
}

std::string format_memory(std::uint64_t bytes) {
  return fmt::format("{} MB", (bytes + 500'000) / 1'000'000);
}

}  // namespace millrace::producer
