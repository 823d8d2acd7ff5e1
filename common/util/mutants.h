#pragma once

// The planted bugs, by number. `if (planted(Mutant::x))` marks the place of each; a build without
// MILLRACE_INSTRUMENTED has none of them. `millrace-sim --mutants` shows that every one is found.
// A number is never reused.

#include <array>
#include <string_view>

#include "common/util/instrument.h"

namespace millrace::instrument {

// name, number, what goes wrong
#define MR_MUTANTS(X)                                                                       \
  X(stale_lease, 1, "an outcome counts for the job although its lease is over")             \
  X(foreign_lease, 2, "an outcome counts although another session holds the lease")         \
  X(early_reply, 3, "replies leave before what they tell is on disk")                       \
  X(lease_restarts, 4, "leases count from the beginning after a restart")                   \
  X(crash_uncounted, 5, "a run that was lost with its worker is not counted as a crash")    \
  X(release_charged, 6, "a lease that was given back counts as an attempt")                 \
  X(delay_by_wall_clock, 7, "setting the clock moves delays and back-offs")                 \
  X(request_forgotten, 8, "after a restart a repeated request is taken for a new one")      \
  X(sentinel_overtakes, 9, "a queue drains while jobs are leased or scheduled")             \
  X(drained_twice, 10, "who waits for a queue to drain is told twice")                      \
  X(restart_requeues, 11, "a restart takes running jobs from workers that are still there") \
  X(prune_open, 12, "retention deletes jobs that have not ended")                           \
  X(full_disk_drops, 13, "outcomes are answered but not recorded while the disk is full")   \
  X(frontier_skips, 14, "a load claims more of a lane than it brought")                     \
  X(cursor_skips, 15, "a stream that catches up leaves out a row")                          \
  X(priority_ignored, 16, "jobs leave in the order of their ids alone")                     \
  X(retry_at_once, 17, "a failed run is tried again without its back-off")                  \
  X(late_ack_wins, 18, "the lease of a cancelled job stays open")                           \
  X(resume_gives_back, 19, "RESUME gives back what it names")                               \
  X(one_attempt_more, 20, "a job gets one attempt more than it may have")                   \
  X(lost_delivery_stays, 21, "a delivery that got lost stays leased")                       \
  X(batch_ends_early, 22, "a stream ends before its batch is sealed")                       \
  X(poison_forever, 23, "a job may take down any number of workers")                        \
  X(visitor_stays, 24, "jobs that were loaded for one command stay in memory")              \
  X(key_stays, 25, "a job that is done keeps its unique key")                               \
  X(key_outlives_cancel, 26, "a job that is cancelled keeps its unique key")                \
  X(unique_looks_back, 27, "who holds a unique key is seen as it was when the load began")  \
  X(expiry_by_wall_clock, 28, "setting the clock expires what waits")                       \
  X(expired_delivered, 29, "a job is given to a worker although its time is over")          \
  X(outputs_doubled, 30, "after a restart a repeated output is taken for a new one")        \
  X(stale_output, 31, "output is kept although the lease of its run is over")               \
  X(crashes_max_ignored, 32, "every job may take down as many workers as the default says") \
  X(crash_charged, 33, "the crash of a run's process counts as an attempt")                 \
  X(child_alone, 34, "what a running job enqueues begins a batch of its own")

enum class Mutant : int {
#define MR_MUTANT(name, number, what) name = number,
  MR_MUTANTS(MR_MUTANT)
#undef MR_MUTANT
};

struct MutantText {
  int number = 0;
  std::string_view name;
  std::string_view what;
};
inline constexpr std::array kMutants = {
#define MR_MUTANT(name, number, what) MutantText{number, #name, what},
    MR_MUTANTS(MR_MUTANT)
#undef MR_MUTANT
};

/// True in an instrumented build while this bug is chosen.
[[nodiscard]] inline bool planted([[maybe_unused]] Mutant which) {
#ifdef MILLRACE_INSTRUMENTED
  return mutant(static_cast<int>(which));
#else
  return false;
#endif
}

}  // namespace millrace::instrument
