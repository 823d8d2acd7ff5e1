#pragma once

#include <cstdint>
#include <map>

#include "broker/store/memory_store.h"

namespace millrace::broker {

/// Looks at every transaction and at the rows they leave, and throws std::runtime_error when they
/// contradict each other: counters and rows, leases that do not rise, a job that ends twice.
class StoreAudit {
 public:
  /// After each commit. Checks what can be seen from the transaction itself.
  void note(const WriteBatch& writes, const MemoryState& after);
  /// A store starts with these rows; what the last transactions before a crash wrote may not have
  /// been noted.
  void restart(const MemoryState& disk);
  /// Everything, O(rows). `jobs_deleted`: by retention, so that batches may count more than there
  /// is.
  void check(const MemoryState& disk, bool jobs_deleted = false) const;

 private:
  void note_lease(JobId job, const JobStatus& status);
  void note_end(JobId job, const JobStatus& status);

  std::map<JobId, LeaseId> leases_;   ///< the last one of each job
  std::map<JobId, FinishSeq> ended_;  ///< the last end of each job
  LeaseId highest_before_;            ///< in earlier transactions
  LeaseId highest_;
  FinishSeq last_finish_;
};

}  // namespace millrace::broker
