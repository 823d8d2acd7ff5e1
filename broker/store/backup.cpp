#include "broker/store/backup.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <vector>

#include "broker/store/new_file.h"
#include "broker/store/schema.h"
#include "broker/store/sqlite_rows.h"
#include "broker/store/sqlite_settings.h"
#include "broker/store/store_files.h"
#include "common/util/clock.h"
#include "common/util/random.h"

namespace millrace::broker {
namespace {

constexpr Duration kLockWait{10'000};

// A restore skips at least so many, and by chance up to twice as many: the same backup may be
// restored twice, and the two lives must not give the same numbers out either.
constexpr std::uint64_t kEpochsSkipped = 65'536;
constexpr std::uint64_t kIdsSkipped = 1'000'000'000;
/// lease = epoch << 40 | counter, and stored as a signed number.
constexpr std::uint64_t kEpochMax = (1U << 23) - 1;

std::uint64_t skip(std::uint64_t least) { return least + random_u64() % least; }

/// Throws corrupt when the file does not hold together.
FileSummary verify(const std::string& path, const std::string& what,
                   const std::stop_token& stop = {}) {
  constexpr std::size_t kTold = 3;
  std::vector<std::string> found;
  std::size_t problems = 0;
  // Setting the wall clock damages nothing.
  const FileCheckOptions options{.rows = {.times = false}, .on_job = {}, .stop = stop};
  const FileSummary summary = check_file(path, options, [&](const Violation& violation) {
    if (++problems <= kTold) found.push_back(violation.text);
  });
  if (problems == 0) return summary;
  throw StoreError(ErrorCode::corrupt, fmt::format("{} is damaged, {} problems: {}", what, problems,
                                                   fmt::join(found, "; ")));
}

mode_t mode_of(const std::string& path) {
  constexpr mode_t kRights = 0777;
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & kRights : S_IRUSR | S_IWUSR;
}

/// All of the database `from`, as it is at one moment, into the empty file `to`.
void copy_database(const std::string& from, const std::string& shown, const std::string& to,
                   const std::stop_token& stop = {}) {
  // Not query_only, with which VACUUM INTO fails.
  sqlite::Connection connection(from, sqlite::Access::copy, {});
  connection.wait_for_locks(kLockWait);
  connection.stop_on(stop);
  connection.execute("PRAGMA mmap_size = 0");
  connection.execute("PRAGMA cell_size_check = ON");
  check_ownership(connection, shown, false);
  sqlite::Statement copy(connection, "VACUUM INTO ?");
  copy.run(to).finish();
}

/// Makes every leased job ready, uncharged. Returns how many.
std::uint64_t end_leases(const sqlite::Connection& connection) {
#define MR_LEASED \
  "lease CROSS JOIN job ON job.id = lease.job LEFT JOIN status ON status.id = job.id "
  connection.execute(
      "UPDATE lane SET ready = ready + running.jobs, leased = leased - running.jobs FROM "
      "(SELECT job.lane AS id, count(*) AS jobs FROM " MR_LEASED "WHERE " MR_STATE
      " = 3 GROUP BY job.lane) AS running WHERE lane.id = running.id");
  connection.execute(
      "INSERT INTO ready (lane, priority, last, first) "
      "SELECT job.lane, job.priority, job.id, job.id FROM " MR_LEASED "WHERE " MR_STATE " = 3");
  // A first lease may stand in `lease` only.
  connection.execute(
      "INSERT INTO status (id, state, lease, worker, deliveries, attempts, crashes, attempts_base, "
      "crashes_base, run_at, started_at, finished_at, batch, unique_held, error) "
      "SELECT job.id, 3, lease.lease, lease.worker, 1, 0, 0, 0, 0, 0, 0, 0, job.batch, 0, '' "
      "FROM " MR_LEASED "WHERE " MR_LEASED_SINCE
      " ON CONFLICT (id) DO UPDATE SET state = 3, lease = excluded.lease, "
      "worker = excluded.worker, deliveries = 1");
  connection.execute("DELETE FROM lease");
#undef MR_LEASED
  return static_cast<std::uint64_t>(
      sqlite::Statement(connection,
                        "UPDATE status SET state = 2, started_at = 0, run_at = ?, gives_up_at = "
                        "(SELECT nullif(expires_at, 0) FROM job WHERE job.id = status.id) "
                        "WHERE state = 3")
          .execute(read_clocks().utc));
}

/// Ends everything that the leases of the backup's life could still do.
Restored begin_new_life(const std::string& path) {
  const sqlite::Connection connection(path, sqlite::Access::write, {});
  connection.execute("PRAGMA synchronous = 2");
  migrate(connection);
  Restored restored;
  sqlite::Transaction transaction(connection, sqlite::Transaction::Kind::write);
  const auto epoch = static_cast<std::uint64_t>(connection.integer("SELECT epoch FROM meta")) +
                     skip(kEpochsSkipped);
  if (epoch > kEpochMax)
    throw StoreError(ErrorCode::storage_failed,
                     "the backup comes from a chain of too many restores: its epochs are used up");
  restored.leases_ended = end_leases(connection);
  sqlite::Statement(connection,
                    "UPDATE meta SET epoch = ?1, last_job = last_job + ?2, "
                    "last_finish = last_finish + ?2, last_output = last_output + ?2, clean = 1")
      .execute(epoch, skip(kIdsSkipped));
  restored.last_job =
      JobId{static_cast<std::uint64_t>(connection.integer("SELECT last_job FROM meta"))};
  transaction.commit();
  return restored;
}

}  // namespace

FileSummary backup_database(const std::string& path, const std::string& destination,
                            const std::stop_token& stop) {
  if (identify(path) == FileIdentity{})
    throw StoreError(ErrorCode::no_input, fmt::format("there is no database `{}`", path));
  const std::string source = resolve_database_path(path);
  check_file_header(source);
  NewFile copy(resolve_database_path(destination), mode_of(source));
  const StoreError stopped(ErrorCode::stopping, fmt::format("`{}` was not finished", destination));
  FileSummary summary;
  try {
    copy_database(source, path, copy.path(), stop);
    summary = verify(copy.path(), fmt::format("`{}`", path), stop);
  } catch (const sqlite::SqliteError& error) {
    if (error.is_interrupt()) throw stopped;
    throw;
  }
  if (stop.stop_requested()) throw stopped;
  copy.publish();
  return summary;
}

Restored restore_database(const std::string& backup, const std::string& path) {
  verify(backup, fmt::format("the backup `{}`", backup));
  const std::string target = resolve_database_path(path);
  for (const char* suffix : {"", "-wal", "-journal"}) refuse_existing(target + suffix);
  const FileLock lock(target);
  const std::string source = resolve_database_path(backup);
  NewFile copy(target, mode_of(source));
  copy_database(source, backup, copy.path());
  Restored restored = begin_new_life(copy.path());
  restored.content = verify(copy.path(), fmt::format("what was made of `{}`", backup));
  copy.publish();
  return restored;
}

}  // namespace millrace::broker
