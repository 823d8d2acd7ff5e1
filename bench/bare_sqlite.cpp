#include "bench/bare_sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <chrono>
#include <stdexcept>

#include "broker/store/sqlite_store.h"

namespace millrace::bench {
namespace {

void check(int result, sqlite3* database) {
  if (result != SQLITE_OK && result != SQLITE_DONE && result != SQLITE_ROW)
    throw std::runtime_error(fmt::format("bare SQLite loop: {}", sqlite3_errmsg(database)));
}

void execute(sqlite3* database, const char* sql) {
  check(sqlite3_exec(database, sql, nullptr, nullptr, nullptr), database);
}

/// What the broker writes for a plain queued job of 100 bytes.
constexpr const char* kInsert =
    "INSERT INTO job (id, state, lane, priority, batch, replay_of, max_attempts, timeout, backoff, "
    "absolute, enqueued_at, lease, worker, deliveries, attempts, crashes, attempts_base, "
    "crashes_base, run_at, started_at, finished_at, finish_seq, payload_bytes, checksum, "
    "result_checksum, crashes_max, retry, expires_at, unique_key, unique_scope, unique_held, "
    "ready_in, due_at, gives_up_at, error, "
    "payload, result) VALUES (?1, 2, 1, 100, 1, 0, 3, 0, 0, 0, 1700000000000, 0, 0, 0, 0, 0, 0, 0, "
    "1700000000000, 0, 0, NULL, 100, ?2, NULL, 3, NULL, 0, NULL, 1, 0, 1, NULL, NULL, '', ?3, "
    "NULL)";

}  // namespace

double bare_insert_rate(const std::string& folder, std::size_t rows, std::size_t rows_each) {
  const std::string path = folder + "/bare.db";
  {
    broker::SqliteOptions options;
    options.path = path;
    options.ballast_bytes = 0;
    broker::SqliteStore(std::move(options)).start();  // makes the tables
  }
  sqlite3* database = nullptr;
  check(sqlite3_open(path.c_str(), &database), database);
  execute(database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536");
  sqlite3_stmt* insert = nullptr;
  check(sqlite3_prepare_v2(database, kInsert, -1, &insert, nullptr), database);
  const std::string payload(100, 'x');
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t row = 1; row <= rows; ++row) {
    if (row % rows_each == 1 || rows_each == 1) execute(database, "BEGIN IMMEDIATE");
    sqlite3_bind_int64(insert, 1, static_cast<sqlite3_int64>(row));
    sqlite3_bind_int64(insert, 2, static_cast<sqlite3_int64>(row * 0x9E3779B97F4A7C15ULL >> 1));
    sqlite3_bind_text(insert, 3, payload.data(), 100, SQLITE_STATIC);
    check(sqlite3_step(insert), database);
    sqlite3_reset(insert);
    if (row % rows_each == 0 || row == rows) execute(database, "COMMIT");
  }
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
  sqlite3_finalize(insert);
  sqlite3_close(database);
  return static_cast<double>(rows) / taken.count();
}

}  // namespace millrace::bench
