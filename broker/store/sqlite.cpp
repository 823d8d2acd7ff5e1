#include "broker/store/sqlite.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "common/util/clock.h"

namespace millrace::broker::sqlite {
namespace {

ErrorCode code_of(int result) {
  switch (result & 0xff) {
    case SQLITE_CORRUPT:
      return ErrorCode::corrupt;
    case SQLITE_NOTADB:
      return ErrorCode::foreign_file;
    case SQLITE_CONSTRAINT:
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
      return ErrorCode::internal;
    default:
      return ErrorCode::storage_failed;
  }
}

}  // namespace

void set_up_library() {
  static const int done = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  (void)done;
}

bool SqliteError::is_busy() const { return (result_ & 0xff) == SQLITE_BUSY; }
bool SqliteError::is_full() const { return (result_ & 0xff) == SQLITE_FULL; }
bool SqliteError::is_interrupt() const { return (result_ & 0xff) == SQLITE_INTERRUPT; }

// ---- Connection --------------------------------------------------------------------------------

Connection::Connection(const std::string& path, Access access, const std::string& vfs) {
  set_up_library();
  int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOFOLLOW;
  flags |= access == Access::read || access == Access::copy ? SQLITE_OPEN_READONLY
                                                            : SQLITE_OPEN_READWRITE;
  if (access == Access::create) flags |= SQLITE_OPEN_CREATE;
  const int result =
      sqlite3_open_v2(path.c_str(), &handle_, flags, vfs.empty() ? nullptr : vfs.c_str());
  if (result == SQLITE_OK) {
    harden(access);
    return;
  }
  const std::string why = handle_ != nullptr ? sqlite3_errmsg(handle_) : sqlite3_errstr(result);
  sqlite3_close_v2(handle_);
  throw SqliteError(code_of(result), fmt::format("cannot open `{}`: {}", path, why), result);
}

void Connection::harden(Access access) const {
  constexpr int kRowBytesMax = 64 << 20;
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, nullptr);
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  // VACUUM INTO attaches the file it writes.
  sqlite3_limit(handle_, SQLITE_LIMIT_ATTACHED, access == Access::copy ? 1 : 0);
  sqlite3_limit(handle_, SQLITE_LIMIT_LENGTH, kRowBytesMax);
}

Connection::~Connection() {
  interrupt_.reset();  // no other thread uses the handle from here on
  sqlite3_close_v2(handle_);
}

void Connection::execute(const char* sql) const {
  const int result = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) fail(result, std::string_view(sql).substr(0, 60));
}

std::optional<std::string> Connection::value(const std::string& sql) const {
  Statement statement(*this, sql);
  Rows rows = statement.run();
  if (!rows.next() || rows.is_null(0)) return std::nullopt;
  return rows.text(0);
}

std::int64_t Connection::integer(const std::string& sql) const {
  Statement statement(*this, sql);
  Rows rows = statement.run();
  return rows.next() ? rows.integer(0) : 0;
}

std::int64_t Connection::changes() const { return sqlite3_changes64(handle_); }

bool Connection::in_transaction() const { return sqlite3_get_autocommit(handle_) == 0; }

void Connection::wait_for_locks(Duration longest) const {
  sqlite3_busy_timeout(handle_, static_cast<int>(longest.count()));
}

bool Connection::is_read_only() const { return sqlite3_db_readonly(handle_, "main") != 0; }

bool Connection::checkpoint(Checkpoint mode) {
  int kind = SQLITE_CHECKPOINT_PASSIVE;
  if (mode == Checkpoint::restart) kind = SQLITE_CHECKPOINT_RESTART;
  if (mode == Checkpoint::truncate) kind = SQLITE_CHECKPOINT_TRUNCATE;
  int log_frames = 0;
  int moved_frames = 0;
  const int result = sqlite3_wal_checkpoint_v2(handle_, "main", kind, &log_frames, &moved_frames);
  // A reader in the way or a full disk: what is committed stays in the log until later.
  if ((result & 0xff) == SQLITE_BUSY || (result & 0xff) == SQLITE_FULL) return false;
  if (result != SQLITE_OK) fail(result, "checkpoint");
  if (mode == Checkpoint::truncate) log_pages_ = 0;
  return log_frames == moved_frames;
}

void Connection::checkpoint_when_closed() const {
  sqlite3_db_config(handle_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
}

void Connection::track_log() {
  const auto remember = [](void* self, sqlite3*, const char*, int pages) {
    static_cast<Connection*>(self)->log_pages_ = static_cast<std::uint64_t>(pages);
    return SQLITE_OK;
  };
  sqlite3_wal_hook(handle_, remember, this);
}

void Connection::set_deadline(Instant deadline) {
  deadline_ = deadline;
  look_while_running();
}

void Connection::stop_on(std::stop_token stop) {
  stop_ = std::move(stop);
  look_while_running();
  // Some steps are long, such as the check of a whole table. It ends these, but does nothing
  // between two statements.
  interrupt_.emplace(stop_, [handle = handle_] { sqlite3_interrupt(handle); });
}

void Connection::look_while_running() {
  constexpr int kStepsBetweenLooks = 2000;
  const auto ends = [](void* self) {
    const auto& connection = *static_cast<Connection*>(self);
    return connection.is_late() || connection.stop_.stop_requested() ? 1 : 0;
  };
  sqlite3_progress_handler(handle_, kStepsBetweenLooks, ends, this);
}

bool Connection::is_late() const {
  return deadline_ != Instant::max() && read_clocks().mono >= deadline_;
}

void Connection::fail(int result, std::string_view doing) const {
  const int extended = handle_ != nullptr ? sqlite3_extended_errcode(handle_) : result;
  throw SqliteError(code_of(result),
                    fmt::format("the database refused `{}`: {} (SQLite code {})", doing,
                                sqlite3_errmsg(handle_), extended),
                    result);
}

// ---- Statement and Rows ------------------------------------------------------------------------

Statement::Statement(const Connection& connection, std::string_view sql) : connection_(connection) {
  const int result =
      sqlite3_prepare_v3(connection.handle(), sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  if (result != SQLITE_OK) connection.fail(result, sql);
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Statement::check(int result) const {
  if (result != SQLITE_OK) connection_.fail(result, sqlite3_sql(statement_));
}

void Statement::bind(int parameter, std::int64_t value) {
  check(sqlite3_bind_int64(statement_, parameter, value));
}

void Statement::bind(int parameter, std::string_view text) {
  // A null pointer would bind NULL.
  const char* data = text.data() != nullptr ? text.data() : "";
  check(sqlite3_bind_text64(statement_, parameter, data, text.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Statement::bind(int parameter, Blob blob) {
  const char* data = blob.bytes.data() != nullptr ? blob.bytes.data() : "";
  check(sqlite3_bind_blob64(statement_, parameter, data, blob.bytes.size(), SQLITE_STATIC));
}

void Statement::bind(int parameter, const Payload& payload) {
  switch (payload.form) {
    case Payload::Form::none:
      return bind(parameter, nullptr);
    case Payload::Form::text:
      return bind(parameter, std::string_view(payload.bytes));
    case Payload::Form::binary:
      return bind(parameter, Blob{payload.bytes});
  }
}

void Statement::bind(int parameter, std::nullptr_t) {
  check(sqlite3_bind_null(statement_, parameter));
}

Rows::~Rows() { sqlite3_reset(statement_.statement_); }

bool Rows::next() {
  const int result = sqlite3_step(statement_.statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  statement_.connection_.fail(result, sqlite3_sql(statement_.statement_));
}

void Rows::finish() {
  while (next()) {
  }
}

int Rows::column(std::string_view name) const {
  const int columns = sqlite3_column_count(statement_.statement_);
  for (int i = 0; i < columns; ++i)
    if (sqlite3_column_name(statement_.statement_, i) == name) return i;
  throw StoreError(ErrorCode::internal, fmt::format("`{}` gives no column {}",
                                                    sqlite3_sql(statement_.statement_), name));
}

bool Rows::is_null(int column) const {
  return sqlite3_column_type(statement_.statement_, column) == SQLITE_NULL;
}

std::int64_t Rows::integer(int column) const {
  return sqlite3_column_int64(statement_.statement_, column);
}

std::string_view Rows::bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_.statement_, column);
  const int size = sqlite3_column_bytes(statement_.statement_, column);
  if (data == nullptr || size <= 0) return {};
  return {static_cast<const char*>(data), static_cast<std::size_t>(size)};
}

Payload Rows::payload(int column) const {
  switch (sqlite3_column_type(statement_.statement_, column)) {
    case SQLITE_NULL:
      return {};
    case SQLITE_TEXT:
      return Payload::text(text(column));
    default:
      return Payload::binary(text(column));
  }
}

// ---- Transaction -------------------------------------------------------------------------------

Transaction::Transaction(const Connection& connection, Kind kind) : connection_(connection) {
  if (kind == Kind::read) {
    connection.execute("BEGIN");
    return;
  }
  // Nobody else should write, but somebody may try by hand.
  constexpr int kTriesMax = 5;
  for (int tries = 1;; ++tries) {
    try {
      connection.execute("BEGIN IMMEDIATE");
      return;
    } catch (const SqliteError& error) {
      if (!error.is_busy() || tries == kTriesMax) throw;
    }
  }
}

Transaction::~Transaction() {
  // SQLite itself may have rolled back already (full disk, I/O error).
  if (connection_.in_transaction())
    sqlite3_exec(connection_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void Transaction::commit() { connection_.execute("COMMIT"); }

std::string library_version() { return sqlite3_libversion(); }

}  // namespace millrace::broker::sqlite
