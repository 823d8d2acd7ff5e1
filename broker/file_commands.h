#pragma once

// What millrace-broker does to files instead of serving one. Each prints what it did on stdout,
// what went wrong on stderr, and returns the exit code of the program.

#include <string>

namespace millrace::broker {

/// `millrace-broker backup FILE`: 64 when FILE exists, 66 when there is no database.
int run_backup(const std::string& db, const std::string& file);
/// `millrace-broker restore FILE`: 64 when there is a database, 66 when there is no FILE, 74 when
/// FILE is damaged, 75 when a broker holds the database, 78 when FILE is foreign or newer.
int run_restore(const std::string& db, const std::string& file);
/// `millrace-broker db check`: prints `ok`, or each problem and returns 74; 66, 78 as above.
int run_db_check(const std::string& db);

}  // namespace millrace::broker
