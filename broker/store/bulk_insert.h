#pragma once

// One INSERT for many rows: SQLite opens a table and its indexes once for each statement, and that
// costs as much as a row. What does not fill a statement goes row by row.

#include <cstddef>
#include <iterator>
#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

class BulkInsert {
 public:
  static constexpr std::size_t kRows = 16;

  /// `head` up to VALUES, `row` in parentheses with its parameters as `?`, and what follows all.
  BulkInsert(const sqlite::Connection& connection, const std::string& head, const std::string& row,
             const std::string& tail = {})
      : one_(connection, text(head, row, tail, 1)),
        many_(connection, text(head, row, tail, kRows)) {}

  /// Inserts all of `items`; `bind(statement, parameter, item)` binds one from that parameter on
  /// and returns the one after it. What it binds must outlive the call. Returns the number of rows
  /// that were written.
  template <class Items, class Bind>
  std::size_t insert(const Items& items, const Bind& bind) {
    std::int64_t written = 0;
    auto item = std::begin(items);
    for (std::size_t left = std::size(items); left > 0;) {
      const std::size_t rows = left >= kRows ? kRows : 1;
      sqlite::Statement& statement = rows == 1 ? one_ : many_;
      int parameter = 1;
      for (std::size_t i = 0; i < rows; ++i, ++item) parameter = bind(statement, parameter, *item);
      written += statement.execute();
      left -= rows;
    }
    return static_cast<std::size_t>(written);
  }

 private:
  static std::string text(const std::string& head, const std::string& row, const std::string& tail,
                          std::size_t rows) {
    std::string sql = head + " VALUES ";
    for (std::size_t i = 0; i < rows; ++i) sql += (i == 0 ? "" : ", ") + row;
    return sql + " " + tail;
  }

  sqlite::Statement one_;
  sqlite::Statement many_;
};

}  // namespace millrace::broker
