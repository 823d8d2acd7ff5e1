#pragma once

// The table `lease`: one row for each lease that was given, the only one that a first lease writes.
//
// A row counts while its lease is above the one that the job's row of `status` names (0 without
// one): then the job is leased, for the first time, and nothing else has happened to it. Whatever
// happens next writes that lease into `status`, which speaks from then on; leases of a job rise, so
// the row never counts again. Rows that count no more are not deleted one by one: when they are too
// many, all are, and the leases that are given are written anew.
//
// Invariants: every leased job has a row with its lease; `leases_` says exactly which jobs are
// leased, as the transaction that is open sees it.

#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "broker/store/bulk_insert.h"
#include "broker/store/sqlite.h"

namespace millrace::broker {

/// The writer's side, on its thread. Bounded by the leases that are given.
class LeaseTable {
 public:
  struct Held {
    LeaseId lease;
    WorkerId worker;
  };

  /// So many rows too many (`slack`), or as many as there are leases, are left alone.
  LeaseTable(const sqlite::Connection& connection, std::size_t slack);

  /// At the start: what is leased, as it was read from the file.
  void load(std::map<JobId, Held> leases);

  /// A transaction begins; forgets what one that was rolled back has said.
  void begin();
  [[nodiscard]] bool holds(JobId job, LeaseId lease) const;
  [[nodiscard]] bool is_leased(JobId job) const { return leases_.contains(job); }
  /// The job is leased; under another lease than before, if it was. `first`: it never was before.
  void add(JobId job, Held held, bool first);
  /// It is leased no more.
  void remove(JobId job);
  /// Writes the rows of the leases that were added since begin().
  void write();
  /// The transaction is on disk.
  void committed() { undo_.clear(); }

 private:
  using Row = std::pair<const JobId, Held>;

  static int bind(sqlite::Statement& statement, int parameter, const Row& row);

  BulkInsert insert_;
  sqlite::Statement replace_;
  sqlite::Statement clear_;
  sqlite::Statement count_;
  const std::size_t slack_;
  std::size_t rows_ = 0;  ///< of the table, at most
  std::size_t rows_before_ = 0;
  std::map<JobId, Held> leases_;
  std::vector<std::pair<JobId, std::optional<Held>>> undo_;
  std::vector<Row> first_;  ///< that were added since begin(): no row of theirs can be there …
  std::vector<Row> again_;  ///< … and those with which it may
};

}  // namespace millrace::broker
