#pragma once

// The same words for those who write handlers and for those who operate them.

#include <string>

#include "common/limits.h"
#include "common/types.h"

namespace millrace {

/// What holds for the jobs of a kind that do not say otherwise themselves, from the next enqueue
/// on. The broker remembers what a worker tells it, also when that worker is gone; an operator can
/// overrule it. A job enqueued before the kind was offered for the first time has the defaults.
struct KindOptions {
  int max_attempts = 0;  ///< 1 to kMaxAttemptsMax; 0: kMaxAttemptsDefault
  /// Workers and processes it may take down before it is dead with `poison`. 1 to
  /// kMaxAttemptsMax; 0: kCrashesMaxDefault.
  int crashes_max = 0;
  Duration timeout{};  ///< of one run, at most kDurationMax; zero: none
  /// How long a failed job waits: `exponential:1s cap:5m jitter:50`, `linear:5s` or `1s,5s,30s`.
  /// Empty: exponential from 1 s to 5 min, of which up to half is taken off at random.
  std::string retry = {};
  bool replayable = true;  ///< false: `replay` of its jobs needs `--force`

  bool operator==(const KindOptions&) const = default;
};

}  // namespace millrace
