#pragma once

// One INSERT for many rows: SQLite opens a table and its indexes once for each statement, and that
// costs as much as a row. What does not fill a large statement goes by smaller ones.

#include <array>
#include <cstddef>
#include <iterator>
#include <string>

#include "broker/store/sqlite.h"

namespace millrace::broker {

class BulkInsert {
 public:
  /// `head` up to VALUES, `row` in parentheses with its parameters as `?`, and what follows all.
  BulkInsert(const sqlite::Connection& connection, const std::string& head, const std::string& row,
             const std::string& tail = {})
      : sizes_{{{64, {connection, text(head, row, tail, 64)}},
                {16, {connection, text(head, row, tail, 16)}},
                {4, {connection, text(head, row, tail, 4)}},
                {1, {connection, text(head, row, tail, 1)}}}} {}

  /// Inserts all of `items`; `bind(statement, parameter, item)` binds one from that parameter on
  /// and returns the one after it. What it binds must outlive the call. Returns the number of rows
  /// that were written.
  template <class Items, class Bind>
  std::size_t insert(const Items& items, const Bind& bind) {
    std::int64_t written = 0;
    auto item = std::begin(items);
    std::size_t left = std::size(items);
    for (auto& [rows, statement] : sizes_) {
      for (; left >= rows; left -= rows) {
        int parameter = 1;
        for (std::size_t i = 0; i < rows; ++i, ++item)
          parameter = bind(statement, parameter, *item);
        written += statement.execute();
      }
    }
    return static_cast<std::size_t>(written);
  }

 private:
  struct Size {
    std::size_t rows;
    sqlite::Statement statement;
  };

  static std::string text(const std::string& head, const std::string& row, const std::string& tail,
                          std::size_t rows) {
    std::string sql = head + " VALUES ";
    for (std::size_t i = 0; i < rows; ++i) sql += (i == 0 ? "" : ", ") + row;
    return sql + " " + tail;
  }

  std::array<Size, 4> sizes_;  ///< largest first
};

}  // namespace millrace::broker
