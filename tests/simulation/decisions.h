#pragma once

// What the broker decides, as it hands it to the store: when, and by a clock that nobody sets.

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "broker/store/memory_store.h"
#include "tests/simulation/violation.h"

namespace millrace::simulation {

/// Follows every job from its insertion on and checks what can be seen at once: unique keys have
/// one holder, nothing expires or is given away at the wrong time, output belongs to the run that
/// holds the job. Throws Violation.
class Decisions {
 public:
  /// One job as far as it is committed.
  struct Fate {
    broker::JobSpec spec;
    std::string queue;
    Instant decided_at{};  ///< the insertion; not known of jobs found after a restart
    Time steady_at{};      ///< the same by the broker's steady clock
    Duration slack{};      ///< by which that clock may have been another one
    JobState state = JobState::ready;
    LeaseId lease;
    int deliveries = 0;
    std::optional<Instant> ended_at;
  };

  /// A broker starts: its steady clock begins as the wall clock is.
  void begin_life(Now now);
  /// The broker looks at the clocks: it follows the wall clock if that made a small step.
  void looks_at_clocks(Now now);
  /// Somebody asks for this job to be redriven: it may be replaced and redriven in one transaction.
  void redrive_sent(JobId id) { redriven_.insert(id); }
  /// A transaction is complete; it may never reach the disk.
  void decided(const broker::WriteBatch& writes, Now now);
  void committed(const broker::WriteBatch& writes, Now now);
  void restarted(const broker::MemoryState& rows, Now now);

  /// Null: never committed.
  [[nodiscard]] const Fate* find(JobId id) const {
    const auto found = fates_.find(id);
    return found == fates_.end() ? nullptr : &found->second;
  }
  /// It was told to the store that jobs of this kind are not to be replayed.
  [[nodiscard]] std::optional<Instant> not_replayable_since(const std::string& kind) const {
    const auto found = not_replayable_.find(kind);
    return found == not_replayable_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  using Name = std::pair<std::string, std::string>;  ///< queue, key

  [[nodiscard]] Time steady(Now now) const { return Time{now.mono.time_since_epoch() + offset_}; }
  void decide(JobId id, const broker::JobSpec& spec, const broker::JobStatus& status,
              LeaseId lease_before, Now now) const;
  void check_ttl(const broker::WriteBatch& writes, Now now);
  void note(JobId id, const broker::JobStatus& status, Now now);
  void hold(JobId id, const Fate& fate);
  void check_holders();

  Duration offset_{};
  Duration last_offset_{};  ///< of the wall clock, when the broker looked at it
  Duration slack_{};
  std::map<LaneId, std::string> queues_;
  std::map<JobId, Fate> decided_;  ///< insertions that may not be committed yet
  std::map<JobId, Fate> fates_;
  std::map<Name, std::set<JobId>> holders_;
  std::set<Name> touched_;
  std::map<Name, broker::UniqueRow> ttl_;
  std::set<JobId> redriven_;
  std::map<std::string, Instant> not_replayable_;
};

}  // namespace millrace::simulation
