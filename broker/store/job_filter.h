#pragma once

// What all stores answer in the same way: which jobs a filter selects, and the batch of a job that
// has none.

#include <optional>
#include <string>
#include <vector>

#include "broker/engine/records.h"

namespace millrace::broker {

/// The columns of a job that a filter looks at.
struct FilterRow {
  JobId id;
  JobState state = JobState::ready;
  LaneId lane;
  BatchId batch;
  Time enqueued_at{};
  Time finished_at{};
  std::string unique_key;
};

/// A filter with its queue and kind turned into lanes.
class JobMatcher {
 public:
  /// `lanes` are those of the filter's queue and kind, ascending; not looked at when it names
  /// neither.
  JobMatcher(const protocol::JobFilter& filter, std::vector<LaneId> lanes);

  [[nodiscard]] bool matches(const FilterRow& job) const;
  /// All states it lets through are final.
  [[nodiscard]] bool only_ended() const;
  [[nodiscard]] bool lets_through(JobState state) const;

 private:
  const protocol::JobFilter& filter_;
  std::vector<LaneId> lanes_;
  std::vector<JobId> ids_;
};

[[nodiscard]] bool selects_lane(const protocol::JobFilter& filter, const LaneRow& lane);
[[nodiscard]] bool selects_batch(const protocol::JobFilter& filter, const BatchRow& batch);

/// Ids of a page: those in low < id ≤ high.
struct IdRange {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
};
/// The range a page may look at, by `after`, `upto` and `newest_first`.
[[nodiscard]] IdRange range_of(const protocol::List& list);
/// Rows of a page, within 1 … kPageRowsMax.
[[nodiscard]] std::size_t rows_of(const protocol::List& list);

/// The batch row of a job that was enqueued alone; nothing when it belongs to another batch.
[[nodiscard]] std::optional<BatchRow> implicit_batch(const JobRecord& job);

[[nodiscard]] protocol::BatchInfo to_info(const BatchRow& batch);
/// Without payload, result, and the names of lane and worker.
[[nodiscard]] protocol::JobInfo to_info(const JobRecord& job);
/// The run that made `job` done; it has no row of its own.
[[nodiscard]] protocol::AttemptInfo last_run(const protocol::JobInfo& job);
/// How long the last run took; zero when the job never ran.
[[nodiscard]] Duration elapsed(Time started_at, Time finished_at);

}  // namespace millrace::broker
