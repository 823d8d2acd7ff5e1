#pragma once

// A file system shim for SQLite that passes everything on and fails on demand. Process-wide: a test
// sets what it needs and clears it.

#include <string>

namespace millrace::broker::testing {

/// Registers the shim once; its name goes into SqliteOptions::vfs.
const char* fault_vfs();

struct VfsFaults {
  int syncs_until_failure = 0;  ///< 1: the next fsync fails; 0: none
  /// While this file exists there is no room: every write answers "disk full".
  std::string full_while_exists;
  bool full = false;  ///< no room in any case
  int writes = 0;     ///< so many calls have asked for one, to any file
};
VfsFaults& vfs_faults();

}  // namespace millrace::broker::testing
