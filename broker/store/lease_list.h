#pragma once

// The list of leased jobs, the table `lease_list`: which jobs to look at when all that are leased
// are wanted. An index would say it too, but it would be written twice in the life of every job; a
// row of the list is written once for all leases of a commit.
//
// Each row packs ids: sorted, each as the distance from the one before (the first from 0), seven
// bits a byte, the lowest first, the eighth bit set but in the last byte of a number.
//
// Invariant: every leased job is in some row. The reverse is not said: a listed job may have ended,
// gone back, or been removed by retention; `job.state` is the truth. Both classes belong to the
// thread of their connection.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/store/sqlite.h"

namespace millrace::broker {

/// Reads the list within whatever transaction its connection is in.
class LeaseListReader {
 public:
  explicit LeaseListReader(const sqlite::Connection& connection);

  /// All ids there are, in the order of the rows, some more than once. Throws corrupt.
  [[nodiscard]] std::vector<JobId> listed();
  /// The jobs that are leased, lowest id first, each once. Throws corrupt.
  [[nodiscard]] std::vector<JobId> leased() { return leased_of(listed()); }
  /// Those of `ids` that are leased now, lowest first, each once; others that are leased and whose
  /// ids are close to these may be among them. `ids` in any order.
  [[nodiscard]] std::vector<JobId> leased_of(std::vector<JobId> ids);

 private:
  sqlite::Statement rows_;
  sqlite::Statement leased_between_;
};

/// Writes the list, and rewrites it when more than half of it may be out of date: so the list stays
/// as short as the leases are few, and a lease pays for two looks at most.
class LeaseList {
 public:
  /// `slack`: so many entries too many are never worth rewriting the list.
  LeaseList(const sqlite::Connection& connection, std::size_t slack);

  /// Notes that these jobs are leased since; within the transaction that leased them, after their
  /// rows. May be called again when that transaction was rolled back.
  void write(std::vector<JobId> leased);
  /// What the last write() did is on disk.
  void committed() { size_ = next_; }

  /// The jobs that are leased, lowest id first, each once; at the start. Throws corrupt.
  [[nodiscard]] std::vector<JobId> load();

 private:
  struct Size {
    std::size_t listed = 0;
    std::size_t listed_max = 0;  ///< with more the list is rewritten
  };

  void insert(std::span<const JobId> sorted);

  LeaseListReader reader_;
  sqlite::Statement insert_;
  sqlite::Statement clear_;
  const std::size_t slack_;
  Size size_;
  Size next_;
};

/// A row's `jobs` and back; `sorted` rises. Unpacking appends; false when the bytes are no list.
[[nodiscard]] std::string pack_rising(std::span<const JobId> sorted);
[[nodiscard]] bool unpack_rising(std::string_view bytes, std::vector<JobId>& ids);

}  // namespace millrace::broker
