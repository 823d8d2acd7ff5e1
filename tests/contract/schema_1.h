#pragma once

// The database as version 1 of the schema made it: released, so it stays as it is here.

namespace millrace::broker::testing {

/// For an empty file with `auto_vacuum = 2`.
extern const char* const kSchema1;

}  // namespace millrace::broker::testing
