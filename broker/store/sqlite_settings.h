#pragma once

// How the writing connection is set up. Every setting is read back: a build of SQLite or a file
// system that silently does something else would break a promise, so the broker refuses to run.

#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

/// Prepares the connection, makes or updates the schema, switches to the write-ahead log and checks
/// all of it. `synchronous` is 2 (FULL) outside tests. Throws foreign_file, storage_failed.
void set_up_writer(const sqlite::Connection& connection, const std::string& path, int synchronous);

/// Throws foreign_file unless the open file is ours and not newer; an empty one is fine if
/// `may_be_empty`.
void check_ownership(const sqlite::Connection& connection, const std::string& path,
                     bool may_be_empty);

/// Throws storage_failed unless `PRAGMA name` answers `wanted`.
void check_setting(const sqlite::Connection& connection, const std::string& name,
                   const std::string& wanted);

}  // namespace millrace::broker
