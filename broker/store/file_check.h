#pragma once

// Whether a database file is whole: what SQLite can tell, the checksums, and what must hold between
// the rows (row_check.h).

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "broker/store/row_check.h"

namespace millrace::broker {

struct FileCheckOptions {
  RowCheckOptions rows;
  /// Told of each job, in the order of ids; no state when the stored one is none.
  std::function<void(JobId, std::optional<JobState>)> on_job;
  std::stop_token stop = {};  ///< once it is requested, the check throws storage_failed
};

/// What was found in the file, good or bad.
struct FileSummary {
  std::int64_t format = 0;  ///< version of the schema
  /// False when the format is older than this program's: then only SQLite's own check was made.
  bool rows_checked = false;
  std::uint64_t epoch = 0;
  std::uint64_t jobs = 0;
  StateCounts states{};
};

/// Reads all of the file at `path` in one read-only transaction and tells `sink` every violation;
/// also of a file that a broker serves, or of a copy of it with its log. Blocks for as long as
/// reading the file twice takes; callable on any thread. Throws no_input (no such file),
/// foreign_file (not ours, or newer), storage_failed. Damage is a violation, not an exception.
FileSummary check_file(const std::string& path, const FileCheckOptions& options,
                       const ViolationSink& sink);

}  // namespace millrace::broker
