#include "broker/store/sqlite_settings.h"

#include <fmt/format.h>

#include <array>

#include "broker/store/schema.h"

namespace millrace::broker {
namespace {

struct Setting {
  const char* name;
  const char* wanted;  ///< as SQLite answers
};

constexpr std::array<Setting, 15> kSettings = {{
    // These two only take while the file is empty.
    {"page_size", "4096"},
    {"auto_vacuum", "2"},  // incremental
    // The broker decides when the log is moved into the file, between commits.
    {"wal_autocheckpoint", "0"},
    {"journal_size_limit", "-1"},
    // A mapped file turns a read error into a signal.
    {"mmap_size", "0"},
    {"cache_size", "-65536"},
    {"temp_store", "2"},
    {"trusted_schema", "0"},
    {"cell_size_check", "1"},
    {"recursive_triggers", "0"},
    {"foreign_keys", "0"},
    // Overwriting deleted rows with zeros makes retention three times as slow.
    {"secure_delete", "0"},
    {"fullfsync", "0"},
    {"locking_mode", "normal"},
    {"encoding", "UTF-8"},
}};

// `mmap_size` answers no row when the build has no mapping.
constexpr const char* kNoAnswer = "";

}  // namespace

void check_setting(const sqlite::Connection& connection, const std::string& name,
                   const std::string& wanted) {
  const std::string got = connection.value("PRAGMA " + name).value_or(kNoAnswer);
  if (got == wanted || (name == "mmap_size" && got == kNoAnswer)) return;
  throw StoreError(
      ErrorCode::storage_failed,
      fmt::format("PRAGMA {} must be {} but SQLite answers `{}`; the database cannot be "
                  "used safely here",
                  name, wanted, got));
}

void check_ownership(const sqlite::Connection& connection, const std::string& path,
                     bool may_be_empty) {
  const std::int64_t application = connection.integer("PRAGMA application_id");
  const std::int64_t version = connection.integer("PRAGMA user_version");
  const bool empty = application == 0 && version == 0 &&
                     connection.integer("SELECT count(*) FROM sqlite_schema") == 0;
  if (empty && may_be_empty) return;
  if (application != kApplicationId)
    throw StoreError(ErrorCode::foreign_file,
                     fmt::format("`{}` is not a millrace database; it was left as it is", path));
  if (version > kSchemaVersion)
    throw StoreError(ErrorCode::foreign_file,
                     fmt::format("`{}` has format {}, this program knows up to {}; use a newer "
                                 "millrace-broker",
                                 path, version, kSchemaVersion));
}

void set_up_writer(const sqlite::Connection& connection, const std::string& path, int synchronous) {
  constexpr Duration kLockWait{2000};
  connection.wait_for_locks(kLockWait);
  check_ownership(connection, path, true);
  if (connection.is_read_only())
    throw StoreError(ErrorCode::storage_failed,
                     fmt::format("`{}` is read-only for this user", path));

  for (const Setting& setting : kSettings)
    connection.execute(fmt::format("PRAGMA {} = '{}'", setting.name, setting.wanted));
  connection.execute(fmt::format("PRAGMA synchronous = {}", synchronous));
  // The schema is written with a rollback journal, so that the header in the file itself says whose
  // it is from its first byte on.
  migrate(connection);
  connection.execute("PRAGMA journal_mode = WAL");

  for (const Setting& setting : kSettings) check_setting(connection, setting.name, setting.wanted);
  check_setting(connection, "synchronous", std::to_string(synchronous));
  check_setting(connection, "journal_mode", "wal");
  check_setting(connection, "application_id", std::to_string(kApplicationId));
  check_setting(connection, "user_version", std::to_string(kSchemaVersion));
}

}  // namespace millrace::broker
