#pragma once

// A job to enqueue, in the same words for producers and for handlers that enqueue further jobs.

#include <string>

#include "common/limits.h"
#include "common/types.h"

namespace millrace {

/// At most one job of a queue holds a key at a time.
struct UniqueKey {
  std::string key = {};                           ///< 1 to 128 bytes; empty: none
  UniqueScope scope = UniqueScope::active;        ///< how long the job holds it
  Duration ttl{};                                 ///< with the scope `ttl`: from the enqueue on
  OnConflict on_conflict = OnConflict::existing;  ///< what becomes of the enqueue when it is held
};

/// One job to enqueue. Durations are milliseconds, from 0 to kDurationMax (10 years). What is zero
/// or empty of attempts, crashes, timeout and retry is as the job's kind says, see KindOptions,
/// and what that does not say is the default.
struct JobRequest {
  std::string kind;                 ///< `[a-z0-9._-]{1,64}`
  Payload payload = {};             ///< at most 256 KiB unless the broker says otherwise
  int priority = kPriorityDefault;  ///< 0 (most urgent) to 255
  int max_attempts = 0;             ///< 1 to kMaxAttemptsMax (1,000,000); default 3
  Duration delay{};                 ///< after the enqueue; not together with `run_at`
  Time run_at{};                    ///< UTC, milliseconds since 1970; zero: as soon as can be
  Duration timeout{};               ///< of one run; default none
  /// How long it waits after a failed run: `exponential:1s cap:5m jitter:50` (that is the default),
  /// `linear:5s`, or `1s,5s,30s`.
  std::string retry = {};
  int crashes_max = 0;    ///< runs that crashed, 1 to 1,000,000, default 3; then it is dead
  Duration expires_in{};  ///< a job that still waits then is `expired`; zero: never
  Time expires_at{};      ///< the same as a time, UTC; not together with `expires_in`
  UniqueKey unique = {};
};

}  // namespace millrace
