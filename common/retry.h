#pragma once

// How long a failed job waits before its next try, as people write it and as the broker counts it.
// Pure; any thread.

#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"
#include "common/limits.h"
#include "common/types.h"

namespace millrace {

/// The delay before try n+1 is, for the nth failure,
///   exponential  first · 2^(n−1), at most `cap`
///   linear       first · n, at most `cap`
///   listed       the nth of `delays`, the last one from then on
/// of which the last `jitter_percent` are drawn at random, so that jobs that failed together do not
/// come back together: 0 none, 50 between half and all of it, 100 anything up to it ("full jitter",
/// Brooker: "Exponential Backoff and Jitter", 2015).
struct RetryPolicy {
  enum class Shape : std::uint8_t { exponential, linear, listed };

  Shape shape = Shape::exponential;
  Duration first = kBackoffFirst;
  Duration cap = kBackoffMax;
  int jitter_percent = kJitterPercentDefault;
  std::vector<Duration> delays;  ///< 1 to kRetryDelaysMax when listed

  /// `failures` from 1; `random` in [0, 1).
  [[nodiscard]] Duration delay(int failures, double random) const;
  bool operator==(const RetryPolicy&) const = default;
};

/// Words in any order: `exponential:1s` or `linear:5s` or `1s,5s,30s`, then `cap:5m` and
/// `jitter:50`. Error: bad_request, with the word that is wrong and an example.
[[nodiscard]] Result<RetryPolicy> parse_retry(std::string_view text);
/// What parse_retry reads; only what is not the default.
[[nodiscard]] std::string format_retry(const RetryPolicy& policy);

}  // namespace millrace
