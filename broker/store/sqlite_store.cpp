// SqliteStore: opening, starting, housekeeping and stopping.

#include "broker/store/sqlite_store.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <limits>

#include "broker/store/schema.h"
#include "broker/store/sqlite_settings.h"
#include "broker/store/sqlite_statements.h"
#include "common/assert.h"
#include "common/util/clock.h"
#include "common/util/instrument.h"

namespace millrace::broker {
namespace {

constexpr int kFull = 2;  // PRAGMA synchronous
constexpr std::size_t kPageBytes = 4096;
constexpr Duration kLockWait{2000};
constexpr Duration kLookEvery{1000};
constexpr Duration kBallastEvery{10'000};
/// How long a checkpoint that readers kept from finishing is left alone.
constexpr Duration kCheckpointAgain{100};
constexpr Duration kTruncateAgain{1000};

/// The file, once it is known to be ours or new, and locked by us.
std::string claim(const std::string& path, bool create) {
  check_file_header(path);
  if (!create && identify(path) == FileIdentity{})
    throw StoreError(ErrorCode::storage_failed, fmt::format("there is no database `{}`", path));
  return path;
}

}  // namespace

std::string sqlite_version() { return sqlite::library_version(); }

SqliteStore::SqliteStore(SqliteOptions options)
    : options_(std::move(options)),
      path_(resolve_database_path(options_.path)),
      lock_(path_),
      log_vfs_(options_.synchronous == kFull ? std::make_unique<sqlite::LogVfs>(options_.vfs)
                                             : nullptr),
      connection_(claim(path_, options_.create),
                  options_.create ? sqlite::Access::create : sqlite::Access::write,
                  log_vfs_ ? log_vfs_->name() : options_.vfs),
      ballast_(path_, options_.ballast_bytes) {
  set_up_writer(connection_, path_, options_.synchronous);
  identity_ = identify(path_);
  connection_.track_log();
  statements_ = std::make_unique<Statements>(connection_, options_.lease_rows_slack);
}

SqliteStore::~SqliteStore() {
  if (failed_ || !started_) return;
  try {
    stop();
  } catch (const StoreError&) {
    // Everything committed is in the log; the next start finds it and checks the file.
  }
}

Snapshot SqliteStore::start() {
  MR_ASSERT(!started_, "a store starts once");
  return guarded([&] {
    connection_.checkpoint(sqlite::Checkpoint::truncate);
    check_file();
    instrument::crash_point("broker.before_start_epoch");
    raise_epoch();
    instrument::crash_point("broker.after_start_epoch");
    if (options_.log_reserve_bytes != 0) reserve_log(path_, options_.log_reserve_bytes);
    Snapshot result = snapshot();
    last_worker_at_start_ = result.last_worker;
    started_at_ = read_clocks().utc;
    started_ = true;
    return result;
  });
}

void SqliteStore::check_file() const {
  constexpr std::int64_t kCheckedPagesMax = (256 * kMiB) / kPageBytes;
  if (connection_.integer("SELECT clean FROM meta") != 0) return;
  // A file that is too large to check would keep the broker from serving for too long.
  if (connection_.integer("PRAGMA page_count") > kCheckedPagesMax) return;
  const std::string found = connection_.value("PRAGMA quick_check(1)").value_or("nothing");
  if (found == "ok") return;
  throw StoreError(ErrorCode::corrupt,
                   fmt::format("`{}` is damaged ({}); restore a backup", path_, found));
}

void SqliteStore::raise_epoch() {
  with_space([&] {
    sqlite::Transaction transaction(connection_, sqlite::Transaction::Kind::write);
    connection_.execute("UPDATE meta SET epoch = epoch + 1, clean = 0");
    instrument::crash_point("broker.during_start_epoch");
    transaction.commit();
  });
  epoch_ = static_cast<std::uint64_t>(connection_.integer("SELECT epoch FROM meta"));
}

void SqliteStore::commit(const WriteBatch& batch) {
  if (batch.empty()) return;
  guarded([&] {
    MR_ASSERT(started_, "commit before start");
    with_space([&] { apply(batch); });
  });
}

void SqliteStore::maintain() {
  guarded([&] {
    const Instant now = read_clocks().mono;
    manage_log(now);
    if (now >= next_shrink_) shrink_file(now);
    if (now >= next_look_) look_around(now);
  });
}

std::uint64_t SqliteStore::free_bytes() {
  const auto folder = std::filesystem::path(path_).parent_path();
  struct statvfs info {};
  if (statvfs(folder.c_str(), &info) != 0) return std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t free = static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
  const std::uint64_t pages = connection_.log_pages();
  const std::uint64_t wanted = pages == log_pages_moved_ ? 0 : pages * kPageBytes;
  return free > wanted ? free - wanted : 0;
}

void SqliteStore::manage_log(Instant now) {
  const std::uint64_t bytes = log_bytes();
  if (bytes < options_.log_passive_bytes || now < next_checkpoint_) return;
  // After a complete checkpoint the next commit writes the log from its start again.
  if (connection_.log_pages() == log_pages_moved_) return;

  auto mode = sqlite::Checkpoint::passive;
  if (bytes >= options_.log_restart_bytes) mode = sqlite::Checkpoint::restart;
  if (bytes >= options_.log_truncate_bytes) mode = sqlite::Checkpoint::truncate;
  bool complete = false;
  connection_.wait_for_locks(Duration{0});
  instrument::crash_point("broker.before_checkpoint");
  complete = connection_.checkpoint(mode);
  instrument::crash_point("broker.after_checkpoint");
  connection_.wait_for_locks(kLockWait);
  if (complete)
    log_pages_moved_ = connection_.log_pages();
  else
    next_checkpoint_ =
        now + (mode == sqlite::Checkpoint::truncate ? kTruncateAgain : kCheckpointAgain);
}

void SqliteStore::look_around(Instant now) {
  next_look_ = now + kLookEvery;
  if (identify(path_) != identity_)
    throw StoreError(ErrorCode::storage_failed,
                     fmt::format("`{}` was moved, replaced or deleted while it was in use", path_));
  if (now < next_ballast_) return;
  next_ballast_ = now + kBallastEvery;
  ballast_.restore();
}

void SqliteStore::shrink_file(Instant now) {
  constexpr std::int64_t kFreePagesMin = 4096;
  constexpr std::int64_t kPagesMin = 16;  // below that a step is nothing but its fsync
  constexpr std::int64_t kPagesMax = 4096;
  constexpr Duration kEveryMin{50};
  constexpr int kRest = 10;  // times what a step took, so that it never takes much of a busy disk
  constexpr Duration kIdleEvery{1000};
  constexpr Duration kTroubleEvery{10'000};
  constexpr std::chrono::microseconds kStepMax{3000};
  // Free pages are used again; only what a quarter of the file does not need goes back.
  const std::int64_t free = connection_.integer("PRAGMA freelist_count");
  if (free <= kFreePagesMin || free * 4 <= connection_.integer("PRAGMA page_count")) {
    next_shrink_ = now + kIdleEvery;
    return;
  }
  try {
    shrink_pages_ = std::max(shrink_pages_, kPagesMin);
    const auto start = std::chrono::steady_clock::now();
    connection_.execute(fmt::format("PRAGMA incremental_vacuum({})", shrink_pages_));
    // What a page takes grows with the number of free ones, so the size of a step is found out.
    const auto taken = std::chrono::steady_clock::now() - start;
    if (taken > kStepMax) shrink_pages_ /= 2;
    if (taken < kStepMax / 2) shrink_pages_ = std::min(shrink_pages_ * 2, kPagesMax);
    next_shrink_ = now + std::max(kEveryMin, std::chrono::duration_cast<Duration>(taken * kRest));
  } catch (const sqlite::SqliteError& error) {
    // It writes the log before it frees anything.
    if (!error.is_full() && !error.is_busy()) throw;
    next_shrink_ = now + kTroubleEvery;
  }
}

void SqliteStore::stop() {
  instrument::crash_point("broker.before_stop");
  connection_.execute("UPDATE meta SET clean = 1");
  connection_.execute("PRAGMA analysis_limit = 400");
  connection_.execute("PRAGMA optimize");
  connection_.wait_for_locks(Duration{0});
  instrument::crash_point("broker.before_stop_checkpoint");
  connection_.checkpoint(sqlite::Checkpoint::truncate);
  instrument::crash_point("broker.after_stop_checkpoint");
  connection_.checkpoint_when_closed();
}

std::uint64_t SqliteStore::log_bytes() const { return connection_.log_pages() * kPageBytes; }

}  // namespace millrace::broker
