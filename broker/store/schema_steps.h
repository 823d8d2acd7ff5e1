#pragma once

// The steps of schema.cpp that stand in files of their own; private to it.

#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

/// Version 2: unique keys, expiry, kinds, outputs, and what retention by number and size needs.
void create_2(const sqlite::Connection& connection);
/// Version 3: the indexes of waiting jobs stand on columns of their own.
void create_3(const sqlite::Connection& connection);
/// Version 4: leased jobs stay in the index of ready ones, and are listed.
void create_4(const sqlite::Connection& connection);
/// Version 5: what a job is apart from how it stands; `ready` and `lease`.
void create_5(const sqlite::Connection& connection);
/// Version 6: `ready` by runs.
void create_6(const sqlite::Connection& connection);

/// The views `jobs` and `attempts`, as they were from version 2 to 4.
void create_job_views(const sqlite::Connection& connection);

/// SQL that shows a column of times as ISO 8601, UTC, with milliseconds; NULL for 0.
[[nodiscard]] std::string iso(const char* column);

}  // namespace millrace::broker
