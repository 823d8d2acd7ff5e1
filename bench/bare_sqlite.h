#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace millrace::bench {

/// The broker's own tables of jobs with nothing around them: same file format, same indexes, WAL,
/// synchronous=FULL. Throws std::runtime_error.
class BareTable {
 public:
  /// Makes the file in `folder`. Rows have payloads of `payload_bytes`.
  BareTable(const std::string& folder, std::size_t payload_bytes);
  ~BareTable();
  BareTable(const BareTable&) = delete;
  BareTable& operator=(const BareTable&) = delete;

  /// Inserts as many queued jobs, `rows_each` a transaction; rows a second.
  [[nodiscard]] double insert(std::size_t rows, std::size_t rows_each);
  /// Writes the end and the result of all of them, in order; rows a second.
  [[nodiscard]] double update(std::size_t rows_each);
  /// Milliseconds that each of `count` transactions of one new row took, with a pause before each.
  [[nodiscard]] std::vector<double> commit_one_by_one(std::size_t count,
                                                      std::chrono::microseconds pause);

 private:
  void execute(const char* sql);
  void check(int result);
  [[nodiscard]] sqlite3_stmt* prepare(const char* sql);
  /// What is written of a job, and of all jobs of a transaction in the list of ready ones.
  struct Pair {
    sqlite3_stmt* job = nullptr;
    sqlite3_stmt* ready = nullptr;
  };
  void step(sqlite3_stmt* statement);
  /// One transaction.
  void write(const Pair& statements, std::size_t first, std::size_t last);
  /// Rows a second.
  [[nodiscard]] double write_all(const Pair& statements, std::size_t first, std::size_t last,
                                 std::size_t rows_each);

  sqlite3* database_ = nullptr;
  Pair insert_;
  Pair end_;
  std::string payload_;
  std::size_t rows_ = 0;
};

/// A query of one number through a connection that only reads, beside a broker.
[[nodiscard]] double read_number(const std::string& database, const std::string& sql);

}  // namespace millrace::bench
