#pragma once

// Whether the tables that say how jobs stand (`status`, `ready`, `lease`) agree with each other and
// with `job`. What a job's rows say together is the business of row_check.h.

#include "broker/store/row_check.h"
#include "broker/store/sqlite.h"

namespace millrace::broker {

/// Within whatever transaction the connection is in.
void check_tables(const sqlite::Connection& connection, const ViolationSink& sink);

}  // namespace millrace::broker
