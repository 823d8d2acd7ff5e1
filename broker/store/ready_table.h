#pragma once

// The table `ready`: exactly the jobs that are ready, in the order in which they are leased. Jobs
// become ready and are leased in runs of ids, so rows go by ranges.

#include <vector>

#include "broker/store/bulk_insert.h"
#include "broker/store/sqlite.h"

namespace millrace::broker {

/// The writer's side, on its thread: gathers what one transaction changes.
class ReadyTable {
 public:
  explicit ReadyTable(const sqlite::Connection& connection);

  /// A transaction begins; forgets what one that was rolled back has said.
  void begin() { changes_.clear(); }
  /// The job becomes ready, or stops being so.
  void add(LaneId lane, int priority, JobId job) { changes_.push_back({lane, priority, job, +1}); }
  void remove(LaneId lane, int priority, JobId job) {
    changes_.push_back({lane, priority, job, -1});
  }
  /// Writes the rows. Throws internal when one that goes was not there.
  void write();

 private:
  struct Change {
    LaneId lane;
    int priority = 0;
    JobId job;
    int by = 0;
    [[nodiscard]] bool is_next_to(const Change& before) const {
      return lane == before.lane && priority == before.priority && by == before.by &&
             job.value == before.job.value + 1;
    }
  };

  void insert();
  void erase();

  BulkInsert insert_;
  sqlite::Statement erase_;
  std::vector<Change> changes_;
};

}  // namespace millrace::broker
