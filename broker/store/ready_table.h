#pragma once

// The table `ready`: exactly the jobs that are ready, in the order in which they are leased. Jobs
// become ready and are leased in runs of ids, so rows go by ranges.

#include <compare>
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
  /// Writes the rows. Throws internal when one that goes was not there.
  void write();

 private:
  struct Row {
    LaneId lane;
    int priority = 0;
    JobId job;
    auto operator<=>(const Row&) const = default;
  };

  static void sort(std::vector<Row>& rows);
  void erase();

  BulkInsert insert_;
  sqlite::Statement erase_;
  std::vector<Row> added_;
  std::vector<Row> removed_;
};

}  // namespace millrace::broker
