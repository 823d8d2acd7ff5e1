#pragma once

#include <cstddef>
#include <string>

namespace millrace::bench {

/// Rows a second that SQLite takes into the broker's own `job` table (same file format, same
/// indexes, WAL, synchronous=FULL), `rows_each` rows a transaction, with nothing around it.
[[nodiscard]] double bare_insert_rate(const std::string& folder, std::size_t rows,
                                      std::size_t rows_each);

}  // namespace millrace::bench
