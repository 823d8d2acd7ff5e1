#pragma once

// The steps of schema.cpp that stand in files of their own; private to it.

#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

/// Version 2: unique keys, expiry, kinds, outputs, and what retention by number and size needs.
void create_2(const sqlite::Connection& connection);

/// SQL that shows a column of times as ISO 8601, UTC, with milliseconds; NULL for 0.
[[nodiscard]] std::string iso(const char* column);

}  // namespace millrace::broker
