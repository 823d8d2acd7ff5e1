#pragma once

// Durations, sizes and times as people write them: on command lines, in the environment and in
// configuration files. Pure; any thread. Errors are bad_request and name the value with examples.

#include <cstdint>
#include <string>
#include <string_view>

#include "common/errors.h"
#include "common/types.h"

namespace millrace {

/// `500ms 2s 1.5m 1h 7d`, or a bare `0`. Never negative, at most kDurationMax.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);
/// In the largest unit that is exact: `1500ms`, `90s`, `7d`; zero is `0`.
[[nodiscard]] std::string format_duration(Duration duration);

/// `100`, `64KiB`, `1GB`: KB, MB, GB, TB are powers of 1000, KiB … TiB of 1024; any case.
[[nodiscard]] Result<std::uint64_t> parse_size(std::string_view text);
/// In the largest unit that is exact, powers of 1024 preferred: `64KiB`, `256MB`, `100`.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/// ISO 8601: `2026-11-21`, `2026-11-21T07:00Z`, `2026-11-21 07:00:00.250+01:00`. UTC when it names
/// no zone; years 1970 to 9999.
[[nodiscard]] Result<Time> parse_time(std::string_view text);
/// `2026-11-21T07:00:00.250Z`, always with milliseconds.
[[nodiscard]] std::string format_time(Time time);

}  // namespace millrace
