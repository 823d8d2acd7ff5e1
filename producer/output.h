#pragma once

// Data on stdout: rows as a table for people, one JSON array, or JSON lines. Numbers and texts for
// people are made here as well.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/errors.h"
#include "common/types.h"

namespace millrace::producer {

enum class OutputFormat : std::uint8_t { table, json, jsonl };
[[nodiscard]] bool parse(std::string_view name, OutputFormat& format);

/// `text` without what could move a cursor or change a terminal: C0, DEL, C1, broken UTF-8.
[[nodiscard]] std::string printable(std::string_view text);
/// `1,234,567`.
[[nodiscard]] std::string format_count(std::uint64_t number);
/// "1 job", "1,000 jobs".
[[nodiscard]] std::string format_count(std::uint64_t number, std::string_view noun);
/// How long a run took: `80 ms`, `12.4 s`, `3 min 05 s`.
[[nodiscard]] std::string format_elapsed(Duration elapsed);
/// `80.6/s`.
[[nodiscard]] std::string format_rate(std::uint64_t count, Duration elapsed);

/// Rows to stdout as they come. What was written is on its way after `flush`; when nobody reads it
/// any more, `failure` says so. The JSON array is closed by `finish`, at the latest by the
/// destructor.
class Output {
 public:
  explicit Output(OutputFormat format) : format_(format) {}
  ~Output();
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  [[nodiscard]] bool is_table() const { return format_ == OutputFormat::table; }
  /// One row as a JSON object; not for tables.
  void row(std::string_view json);
  /// One line of a table, as it is.
  void line(std::string_view text);
  void flush();
  void finish();
  /// Errors: storage_failed, when stdout cannot be written.
  [[nodiscard]] const Status& failure() const { return failure_; }

 private:
  void write(std::string_view text);

  OutputFormat format_;
  bool opened_ = false;
  bool finished_ = false;
  Status failure_;
};

/// Gathers rows of cells and prints them in columns as wide as their widest cell.
class Table {
 public:
  /// A title that begins with `>` makes its column right-aligned.
  explicit Table(std::vector<std::string> titles);
  void add(std::vector<std::string> cells);
  void print(Output& output) const;

 private:
  std::vector<std::vector<std::string>> rows_;
  std::vector<bool> right_;
};

}  // namespace millrace::producer
