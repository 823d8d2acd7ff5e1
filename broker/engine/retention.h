#pragma once

// How long ended jobs are kept: rules as an operator writes them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"
#include "common/types.h"

namespace millrace::broker {

/// One rule. It holds for the ended jobs of each queue by itself; what it does not name it leaves
/// to less specific rules.
struct RetentionRule {
  std::string queue;                   ///< empty: every queue
  std::optional<JobState> state;       ///< a final one; none: all of them
  std::optional<Duration> age;         ///< since the end; zero: for ever
  std::optional<std::uint64_t> jobs;   ///< so many of this queue and state stay, the newest ids
  std::optional<std::uint64_t> bytes;  ///< of payloads and results of this queue and state
  bool operator==(const RetentionRule&) const = default;
};

/// What holds for one queue and one final state.
struct Keep {
  Duration age{};  ///< zero: for ever
  std::optional<std::uint64_t> jobs;
  std::optional<std::uint64_t> bytes;
};

/// All rules. For each of age, jobs and bytes the most specific rule that names it counts: queue
/// and state, then queue, then state, then neither; of equal ones the last.
struct Retention {
  static constexpr Duration kAgeDefault{7L * 24 * 3600 * 1000};

  std::vector<RetentionRule> rules;

  Retention() = default;
  /// One age for everything; zero: for ever.
  explicit(false) Retention(Duration age);  // NOLINT(google-explicit-constructor): the usual case
  [[nodiscard]] Keep keep(std::string_view queue, JobState state) const;
  /// The shortest age of any rule; zero when nothing grows old.
  [[nodiscard]] Duration shortest_age() const;
};

/// `7d`, or `queue=mail state=dead age=30d jobs=1000 bytes=100MB` with spaces between; at
/// least one of age, jobs and bytes. Error: bad_config, naming the word and an example.
[[nodiscard]] Result<RetentionRule> parse_retention_rule(std::string_view text);

}  // namespace millrace::broker
