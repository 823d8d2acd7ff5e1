#pragma once

// The table `ready`: exactly the jobs that are ready, in the order in which they are leased, as
// runs of ids that follow each other. Jobs become ready and are leased in such runs, so what a
// transaction writes here grows with the requests and deliveries in it and not with their jobs. A
// run alone may be a single job.
//
// Invariants: all jobs of a run are there, ready, and of its lane and priority; runs of one lane
// and priority do not overlap. They may touch.

#include <compare>
#include <optional>
#include <vector>

#include "broker/store/bulk_insert.h"
#include "broker/store/sqlite.h"

namespace millrace::broker {

/// The writer's side, on its thread: gathers what one transaction changes.
class ReadyTable {
 public:
  explicit ReadyTable(const sqlite::Connection& connection);

  /// A transaction begins; forgets what one that was rolled back has said.
  void begin() {
    added_.clear();
    removed_.clear();
  }
  /// The job becomes ready, or stops being so.
  void add(LaneId lane, int priority, JobId job) { added_.push_back({lane, priority, job}); }
  void remove(LaneId lane, int priority, JobId job) { removed_.push_back({lane, priority, job}); }
  /// Writes the rows. Throws internal when a job that becomes ready was, or one that stops was not.
  void write();

 private:
  struct Place {
    LaneId lane;
    int priority = 0;
    JobId job;
    auto operator<=>(const Place&) const = default;
  };
  /// `first` to `last`, both of them too.
  struct Run {
    LaneId lane;
    int priority = 0;
    JobId first;
    JobId last;
  };

  static std::vector<Run> runs_of(std::vector<Place>& places);
  /// The run in which `job` is or, without one, the next.
  std::optional<Run> find(LaneId lane, int priority, JobId job);
  Run joined(const Run& run);
  void insert(const std::vector<Run>& runs);
  void take_out(const Run& run);
  bool erase(const Run& run);

  sqlite::Statement find_;
  sqlite::Statement erase_;
  BulkInsert insert_;
  std::vector<Place> added_;
  std::vector<Place> removed_;
};

}  // namespace millrace::broker
