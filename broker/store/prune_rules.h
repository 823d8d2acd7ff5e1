#pragma once

// Which ended jobs one step of Prune takes. All stores ask this, so that they take the same.

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "broker/engine/effects.h"

namespace millrace::broker {

/// Rows a step looks at for each job it may delete.
inline constexpr std::size_t kPruneLooksPerJob = 10;

/// Asked about jobs in the order of their ids; remembers what it took. Pure.
class PruneRules {
 public:
  explicit PruneRules(const Prune& prune);

  /// Whether a job of `lane` that ended as `state` at `finished_at` goes.
  [[nodiscard]] bool takes(LaneId lane, JobState state, Time finished_at) const;
  /// It goes: `bytes` are its payload and result, `more_bytes` what else the step deletes with it.
  void take(LaneId lane, JobState state, std::uint64_t bytes, std::uint64_t more_bytes);
  /// The step has taken as much as it may; always at least one job.
  [[nodiscard]] bool is_full() const;
  /// Some lane still has too many jobs or bytes, so young jobs may have to go too.
  [[nodiscard]] bool has_excess() const { return excess_ != 0; }

  [[nodiscard]] std::size_t jobs() const { return jobs_; }
  /// What it took, per lane.
  [[nodiscard]] std::vector<LaneDelta> deltas() const;

 private:
  const std::size_t jobs_max_;
  const std::size_t bytes_max_;
  std::map<LaneId, LanePrune> lanes_;  ///< what is still too much
  std::size_t excess_ = 0;             ///< lanes and states that have too much
  std::map<LaneId, LaneDelta> deltas_;
  std::size_t jobs_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace millrace::broker
