#pragma once

// The SQLite C API behind four small classes; only sqlite.cpp sees sqlite3.h. A connection and
// everything made from it belong to the one thread that opened it.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "broker/store/store.h"
#include "common/types.h"

struct sqlite3;
struct sqlite3_stmt;

namespace millrace::broker::sqlite {

/// A call into SQLite failed. `result` is its extended result code.
class SqliteError : public StoreError {
 public:
  SqliteError(ErrorCode code, const std::string& message, int result)
      : StoreError(code, message), result_(result) {}
  [[nodiscard]] int result() const { return result_; }
  [[nodiscard]] bool is_busy() const;
  [[nodiscard]] bool is_full() const;
  [[nodiscard]] bool is_interrupt() const;

 private:
  int result_;
};

/// Bytes that are stored as BLOB; a string_view is stored as TEXT.
struct Blob {
  std::string_view bytes;
};

/// `copy` reads, and may write one other file with VACUUM INTO.
enum class Access : std::uint8_t { read, copy, write, create };
enum class Checkpoint : std::uint8_t { passive, restart, truncate };

/// Owns one open database handle, hardened (no extensions, no attached files, no symbolic links, a
/// schema from strangers can do nothing). Nothing is checkpointed when it closes.
class Connection {
 public:
  /// `vfs` empty means the default one.
  Connection(const std::string& path, Access access, const std::string& vfs);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  [[nodiscard]] sqlite3* handle() const { return handle_; }

  /// Runs statements without parameters and drops their rows.
  void execute(const char* sql) const;
  void execute(const std::string& sql) const { execute(sql.c_str()); }
  /// First column of the first row, as text; nothing when there is no row or it is NULL.
  [[nodiscard]] std::optional<std::string> value(const std::string& sql) const;
  [[nodiscard]] std::int64_t integer(const std::string& sql) const;
  /// Rows changed by the last statement.
  [[nodiscard]] std::int64_t changes() const;
  [[nodiscard]] bool in_transaction() const;
  /// The file can only be read, whatever was asked for.
  [[nodiscard]] bool is_read_only() const;
  /// How long a lock that another connection holds is waited for.
  void wait_for_locks(Duration longest) const;

  /// True when all of the log is in the database file. Never waits for readers.
  bool checkpoint(Checkpoint mode);
  /// Lets closing move the log into the file and remove it.
  void checkpoint_when_closed() const;
  /// From here on log_pages() tells the length of the write-ahead log after the last commit.
  void track_log();
  [[nodiscard]] std::uint64_t log_pages() const { return log_pages_; }

  /// Statements that run past `deadline` (of CLOCK_MONOTONIC) fail with is_interrupt().
  void set_deadline(Instant deadline);
  [[nodiscard]] bool is_late() const;
  /// From when `stop` is requested, on any thread, statements fail with is_interrupt(), also one
  /// that is under way.
  void stop_on(std::stop_token stop);

  /// Throws what `result` means; `doing` is the statement.
  [[noreturn]] void fail(int result, std::string_view doing) const;

 private:
  void harden(Access access) const;
  void look_while_running();

  sqlite3* handle_ = nullptr;
  std::uint64_t log_pages_ = 0;
  Instant deadline_ = Instant::max();
  std::stop_token stop_;
  std::optional<std::stop_callback<std::function<void()>>> interrupt_;
};

class Statement;

/// One execution of a statement; resets it when it goes.
class Rows {
 public:
  explicit Rows(Statement& statement) : statement_(statement) {}
  ~Rows();
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  /// False after the last row. The values of a row live until the next call.
  bool next();
  /// For statements that give no rows.
  void finish();

  /// Where the column `name` of the result stands. Throws internal when there is none.
  [[nodiscard]] int column(std::string_view name) const;
  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t integer(int column) const;
  [[nodiscard]] int small(int column) const { return static_cast<int>(integer(column)); }
  [[nodiscard]] std::uint64_t natural(int column) const {
    return static_cast<std::uint64_t>(integer(column));
  }
  [[nodiscard]] bool boolean(int column) const { return integer(column) != 0; }
  [[nodiscard]] Time time(int column) const { return Time{Duration{integer(column)}}; }
  [[nodiscard]] Duration duration(int column) const { return Duration{integer(column)}; }
  /// Bytes of TEXT or BLOB; empty for NULL.
  [[nodiscard]] std::string_view bytes(int column) const;
  [[nodiscard]] std::string text(int column) const { return std::string(bytes(column)); }
  /// TEXT, BLOB or NULL.
  [[nodiscard]] Payload payload(int column) const;
  template <class IdType>
  [[nodiscard]] IdType id(int column) const {
    return IdType{natural(column)};
  }

 private:
  Statement& statement_;
};

/// A prepared statement that is used again and again. Bound text and blobs are not copied: they
/// must outlive the execution.
class Statement {
 public:
  Statement(const Connection& connection, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  /// Binds `values` to ?1, ?2 … and starts an execution.
  template <class... Values>
  [[nodiscard]] Rows run(const Values&... values) {
    int parameter = 0;
    (bind(++parameter, values), ...);
    return Rows(*this);
  }
  /// Binds `values` to the parameters from ?`first` on, for a run() without values. Returns the
  /// parameter after them.
  template <class... Values>
  int bind_from(int first, const Values&... values) {
    (bind(first++, values), ...);
    return first;
  }
  /// For statements that give no rows. Returns the number of rows changed.
  template <class... Values>
  std::int64_t execute(const Values&... values) {
    run(values...).finish();
    return connection_.changes();
  }

 private:
  friend class Rows;

  void bind(int parameter, std::int64_t value);
  void bind(int parameter, std::uint64_t value) {
    bind(parameter, static_cast<std::int64_t>(value));
  }
  void bind(int parameter, int value) { bind(parameter, std::int64_t{value}); }
  void bind(int parameter, bool value) { bind(parameter, std::int64_t{value}); }
  void bind(int parameter, JobState value) { bind(parameter, static_cast<std::int64_t>(value)); }
  void bind(int parameter, Duration value) { bind(parameter, std::int64_t{value.count()}); }
  void bind(int parameter, Time value) { bind(parameter, value.time_since_epoch()); }
  void bind(int parameter, const std::string& value) { bind(parameter, std::string_view(value)); }
  void bind(int parameter, std::string_view text);
  void bind(int parameter, Blob blob);
  void bind(int parameter, const Payload& payload);
  void bind(int parameter, std::nullptr_t);
  template <class Tag>
  void bind(int parameter, Id<Tag> id) {
    bind(parameter, id.value);
  }
  template <class Value>
  void bind(int parameter, const std::optional<Value>& value) {
    if (value) return bind(parameter, *value);
    bind(parameter, nullptr);
  }
  void check(int result) const;

  const Connection& connection_;
  sqlite3_stmt* statement_ = nullptr;
};

/// Begins when made; rolls back in its destructor unless `commit` returned.
class Transaction {
 public:
  enum class Kind : std::uint8_t { read, write };

  Transaction(const Connection& connection, Kind kind);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit();

 private:
  const Connection& connection_;
};

[[nodiscard]] std::string library_version();

/// Without the counters of memory in use, which nobody reads, an allocation takes no lock. Before
/// anything else is asked of SQLite; later it stays as it is. Any thread.
void set_up_library();

}  // namespace millrace::broker::sqlite
