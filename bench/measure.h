#pragma once

// What every workload needs to take a time and to look at many.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/errors.h"

namespace millrace::bench {

using Clock = std::chrono::steady_clock;

[[nodiscard]] inline double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}
[[nodiscard]] inline double seconds_since(Clock::time_point begin) {
  return seconds_between(begin, Clock::now());
}
[[nodiscard]] inline double ms_since(Clock::time_point begin) { return seconds_since(begin) * 1e3; }

/// The value below which a share `q` of all lies; the nearest one that was measured.
[[nodiscard]] inline double quantile(std::vector<double> values, double q) {
  if (values.empty()) throw std::runtime_error("nothing was measured");
  const double last = static_cast<double>(values.size() - 1);
  const auto place = static_cast<std::ptrdiff_t>(last * q + 0.5);
  std::nth_element(values.begin(), values.begin() + place, values.end());
  return values[static_cast<std::size_t>(place)];
}

/// What a call of the client gave; a benchmark cannot go on after an error.
template <class T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace millrace::bench
