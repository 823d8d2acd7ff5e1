#pragma once

// A file system for SQLite that writes the log of a database in large pieces.
//
// SQLite writes a page of a commit with two calls, one for 24 bytes about it, and syncs the log
// once after the last. Nobody reads that far before the sync is done: the index of the log, in
// shared memory, says so only then. So what is written may wait for the sync, and then goes with
// one call.

#include <string>

namespace millrace::broker::sqlite {

/// Name of such a file system above the one named `base` (empty: the default one), for connections
/// that write with synchronous=FULL; with less nothing would make what waits visible to readers.
/// What cannot be written makes the sync fail, with the same code. Any thread.
[[nodiscard]] std::string log_vfs(const std::string& base);

}  // namespace millrace::broker::sqlite
