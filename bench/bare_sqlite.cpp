#include "bench/bare_sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <thread>

#include "bench/measure.h"
#include "broker/store/sqlite_store.h"

namespace millrace::bench {
namespace {

// What the broker writes for a plain queued job …
constexpr const char* kInsert =
    "INSERT INTO job (id, lane, priority, batch, replay_of, max_attempts, timeout, backoff, "
    "absolute, enqueued_at, payload_bytes, checksum, crashes_max, retry, expires_at, unique_key, "
    "unique_scope, payload) VALUES (?1, 1, 100, 1, 0, 3, 0, 0, 0, 1700000000000, length(?3), ?2, "
    "3, NULL, 0, NULL, 1, ?3)";
constexpr const char* kFirstReady =
    "INSERT INTO ready (lane, priority, last, first) VALUES (1, 100, 0, 1)";
// Of all jobs of a transaction at once, up to the last.
constexpr const char* kInsertReady = "UPDATE ready SET last = ?1 WHERE lane = 1";

// … and when that job has ended well.
constexpr const char* kEnd =
    "INSERT INTO status (id, state, lease, worker, deliveries, attempts, crashes, attempts_base, "
    "crashes_base, run_at, started_at, finished_at, finish_seq, batch, unique_held, gives_up_at, "
    "error, result_checksum, result) VALUES (?1, 4, ?1, 1, 1, 1, 0, 0, 0, 1700000000000, "
    "1700000000000, 1700000000000, ?1, 1, 0, NULL, '', ?2, ?3)";
constexpr const char* kEndReady = "UPDATE ready SET first = ?1 + 1 WHERE lane = 1";

sqlite3_int64 checksum(std::size_t row) {
  return static_cast<sqlite3_int64>(row * 0x9E3779B97F4A7C15ULL >> 1);
}

}  // namespace

BareTable::BareTable(const std::string& folder, std::size_t payload_bytes)
    : payload_(payload_bytes, 'x') {
  const std::string path = folder + "/bare.db";
  {
    broker::SqliteOptions options;
    options.path = path;
    options.ballast_bytes = 0;
    options.log_reserve_bytes = 0;
    broker::SqliteStore(std::move(options)).start();  // makes the tables
  }
  check(sqlite3_open(path.c_str(), &database_));
  execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536");
  execute(kFirstReady);
  insert_ = {prepare(kInsert), prepare(kInsertReady)};
  end_ = {prepare(kEnd), prepare(kEndReady)};
}

BareTable::~BareTable() {
  for (sqlite3_stmt* statement : {insert_.job, insert_.ready, end_.job, end_.ready})
    sqlite3_finalize(statement);
  sqlite3_close(database_);
}

void BareTable::check(int result) {
  if (result != SQLITE_OK && result != SQLITE_DONE && result != SQLITE_ROW)
    throw std::runtime_error(fmt::format("bare SQLite loop: {}", sqlite3_errmsg(database_)));
}

void BareTable::execute(const char* sql) {
  check(sqlite3_exec(database_, sql, nullptr, nullptr, nullptr));
}

sqlite3_stmt* BareTable::prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  check(sqlite3_prepare_v2(database_, sql, -1, &statement, nullptr));
  return statement;
}

void BareTable::step(sqlite3_stmt* statement) {
  check(sqlite3_step(statement));
  sqlite3_reset(statement);
}

void BareTable::write(const Pair& statements, std::size_t first, std::size_t last) {
  execute("BEGIN IMMEDIATE");
  for (std::size_t row = first; row <= last; ++row) {
    sqlite3_bind_int64(statements.job, 1, static_cast<sqlite3_int64>(row));
    sqlite3_bind_int64(statements.job, 2, checksum(row));
    sqlite3_bind_text(statements.job, 3, payload_.data(), static_cast<int>(payload_.size()),
                      SQLITE_STATIC);
    step(statements.job);
  }
  sqlite3_bind_int64(statements.ready, 1, static_cast<sqlite3_int64>(last));
  step(statements.ready);
  execute("COMMIT");
}

double BareTable::write_all(const Pair& statements, std::size_t first, std::size_t last,
                            std::size_t rows_each) {
  const auto begin = Clock::now();
  for (std::size_t row = first; row <= last; row += rows_each)
    write(statements, row, std::min(row + rows_each - 1, last));
  return static_cast<double>(last - first + 1) / seconds_since(begin);
}

double BareTable::insert(std::size_t rows, std::size_t rows_each) {
  const std::size_t first = rows_ + 1;
  rows_ += rows;
  return write_all(insert_, first, rows_, rows_each);
}

double BareTable::update(std::size_t rows_each) { return write_all(end_, 1, rows_, rows_each); }

std::vector<double> BareTable::commit_one_by_one(std::size_t count,
                                                 std::chrono::microseconds pause) {
  std::vector<double> taken;
  for (std::size_t i = 0; i < count; ++i) {
    if (pause.count() > 0) std::this_thread::sleep_for(pause);
    const auto begin = Clock::now();
    ++rows_;
    write(insert_, rows_, rows_);
    taken.push_back(ms_since(begin));
  }
  return taken;
}

double read_number(const std::string& database, const std::string& sql) {
  sqlite3* opened = nullptr;
  const int failed = sqlite3_open_v2(database.c_str(), &opened, SQLITE_OPEN_READONLY, nullptr);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> connection(opened, sqlite3_close);
  sqlite3_stmt* prepared = nullptr;
  if (failed != SQLITE_OK ||
      sqlite3_prepare_v2(opened, sql.c_str(), -1, &prepared, nullptr) != SQLITE_OK)
    throw std::runtime_error(fmt::format("{}: {}", sql, sqlite3_errmsg(opened)));
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(prepared, sqlite3_finalize);
  if (sqlite3_step(prepared) != SQLITE_ROW)
    throw std::runtime_error(fmt::format("{}: {}", sql, sqlite3_errmsg(opened)));
  return sqlite3_column_double(prepared, 0);
}

}  // namespace millrace::bench
