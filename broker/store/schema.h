#pragma once

// The tables and views of the database file, and how an older file becomes a current one.
//
// The rule for changing the format: a released version of the schema never changes. A change is a
// new step at the end of the list in schema.cpp, run by its version number; it leaves a file that a
// fresh one cannot be told from. A new column has a default that means what its absence meant. What
// the numbers in a column mean (states, checksums) is part of the format too. Steps only go
// forward: a file that a newer program wrote is refused and left as it is.

#include <cstdint>

#include "broker/store/sqlite.h"

namespace millrace::broker {

/// "MLRC", in the header of every file of ours.
inline constexpr std::int64_t kApplicationId = 0x4D4C5243;
inline constexpr std::int64_t kSchemaVersion = 6;

/// Creates what is missing, one transaction per version. The caller has checked that the file is
/// ours or empty, and that it is not newer than this program.
void migrate(const sqlite::Connection& connection);

}  // namespace millrace::broker
