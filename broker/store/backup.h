#pragma once

// Whole copies of a database: made while a broker serves it, and brought back as a new one.

#include <cstdint>
#include <stop_token>
#include <string>

#include "broker/store/file_check.h"

namespace millrace::broker {

/// Copies the database `path` as it is at one moment to the new file `destination`, verifies the
/// copy and syncs it; only then does it get its name. A file is never replaced. Works beside a
/// broker, which it does not block, and without one; callable on any thread; takes as long as
/// copying the file and reading it twice. While it copies, the broker's log cannot start anew.
/// Returns what is in the copy. Throws no_input (no such database), foreign_file, usage
/// (`destination` exists), busy (another backup writes it), corrupt, storage_failed; stopping when
/// `stop` was requested: then there is no copy.
FileSummary backup_database(const std::string& path, const std::string& destination,
                            const std::stop_token& stop = {});

struct Restored {
  FileSummary content;
  std::uint64_t leases_ended = 0;  ///< jobs that ran when the backup was made
  JobId last_job;                  ///< ids go on above it
};

/// Makes the database `path` from `backup` (a backup, or a copy of a database with its log), which
/// is verified first and left as it is. In the new database
/// - the epoch is at least 65,536 above that of the backup: no lease given after the backup, in a
///   life that is now undone, can ever equal a new one;
/// - no job is leased: what ran is ready again, and nothing is charged for it, so that no worker
///   can settle a lease that it has from before;
/// - ids of jobs and cursors of results go on far above those of the backup: none that was given
///   out after it is given to another job.
/// Throws no_input (no such backup), foreign_file (not ours, or newer), corrupt, usage (there is a
/// database or the log of one at `path`), store_locked (a broker holds it), storage_failed.
Restored restore_database(const std::string& backup, const std::string& path);

}  // namespace millrace::broker
