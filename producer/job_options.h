#pragma once

// What the command line says of a job, checked and put into the words of the wire. Pure.

#include <cstdint>
#include <optional>
#include <string>

#include "common/errors.h"
#include "common/limits.h"
#include "common/protocol/messages.h"

namespace millrace::producer {

/// Options of one job as people write them; what holds nothing was not said.
struct JobOptions {
  std::int64_t priority = kPriorityDefault;
  Duration delay{};
  Time at{};
  std::optional<std::int64_t> max_attempts;
  std::optional<std::int64_t> crashes_max;
  std::string retry;
  Duration timeout{};
  Duration expires{};
  Time expires_at{};
  std::string unique_key;
  std::string unique_scope;
  Duration unique_ttl{};
  std::string on_conflict;
};

/// The job without its payload. Errors: usage, naming the option, the value and what is allowed.
[[nodiscard]] Result<protocol::NewJob> make_job(const std::string& kind, const JobOptions& options);

/// Errors of all below: usage.
[[nodiscard]] Status check_range(std::string_view option, std::int64_t value, std::int64_t low,
                                 std::int64_t high);
/// `retry` as parse_retry reads it; empty is good.
[[nodiscard]] Status check_retry(const std::string& retry);
/// A number of attempts or crashes, 0 when it was not said.
[[nodiscard]] Result<int> check_count(std::string_view option,
                                      const std::optional<std::int64_t>& value);

}  // namespace millrace::producer
