#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <unordered_set>

#include "broker/store/log_vfs.h"
#include "broker/store/sqlite.h"
#include "broker/store/store.h"
#include "broker/store/store_files.h"
#include "common/limits.h"
#include "common/util/thread.h"

namespace millrace::broker {

struct SqliteOptions {
  std::string path;
  bool create = true;  ///< false: a missing file is an error
  /// Set aside for a full disk; 0: none.
  std::size_t ballast_bytes = 32 * kMiB;
  /// The log is made so long at the start; 0: it grows as it is written.
  std::size_t log_reserve_bytes = 16 * kMiB;
  /// From this length on the log is moved into the file without waiting for anybody …
  std::size_t log_passive_bytes = 16 * kMiB;
  /// … from this one also made to start anew, once no reader needs it …
  std::size_t log_restart_bytes = 64 * kMiB;
  /// … and from this one cut, which a log that is written over again does not need.
  std::size_t log_truncate_bytes = 256 * kMiB;
  /// So many rows of leases that are over are left alone (lease_table.h).
  std::size_t lease_rows_slack = 4096;
  /// For tests only: `PRAGMA synchronous` (2 is FULL) and a file system shim.
  int synchronous = 2;
  std::string vfs;
};

/// Version of the SQLite library that runs, for the log.
[[nodiscard]] std::string sqlite_version();

/// The durable store: one SQLite file, written and checkpointed by this connection and no other
/// (SQLite before 3.51.3 can corrupt a log that two connections write and checkpoint at once).
/// Made, used and destroyed on the thread `mr-store`. After the first StoreError every call throws:
/// after a failed fsync nobody knows what is on the disk, so only a new start can tell.
class SqliteStore final : public Store {
 public:
  /// Opens or creates the file, locks out other brokers, checks every setting. Throws store_locked,
  /// foreign_file, storage_failed, corrupt.
  explicit SqliteStore(SqliteOptions options);
  /// Moves the log into the file and notes that the stop was clean, unless the store has failed.
  ~SqliteStore() override;

  Snapshot start() override;
  void commit(const WriteBatch& batch) override;
  Loaded load(const Load& load) override;
  std::vector<Payload> payloads(std::span<const JobId> ids) override;
  std::uint64_t free_bytes() override;
  void maintain() override;

  /// Length of the write-ahead log.
  [[nodiscard]] std::uint64_t log_bytes() const;

 private:
  struct Statements;
  /// What the walk of Prune has seen since it last began at the first job.
  struct PruneWalk {
    bool whole = false;
    Time finished_before{};
    std::unordered_set<WorkerId> workers;  ///< named by jobs that stay
  };

  template <class Work>
  auto guarded(const Work& work);
  template <class Work>
  auto with_space(const Work& work);

  void check_file() const;
  void raise_epoch();
  void fence(const WriteBatch& batch, WorkerId last_worker);
  void stop();
  void manage_log(Instant now);
  void look_around(Instant now);
  void shrink_file(Instant now);

  void apply(const WriteBatch& batch);
  void write_names(const WriteBatch& batch);
  void write_requests(const WriteBatch& batch);
  void write_unique(const WriteBatch& batch);
  void write_jobs(const WriteBatch& batch);
  void insert_jobs(const std::vector<JobInsert>& jobs);
  bool insert_status(JobId job, const JobStatus& status);
  void update_jobs(const std::vector<JobUpdate>& jobs);
  void write_first_done(const std::vector<const JobUpdate*>& jobs);
  void write_status(const JobUpdate& job);
  void note_move(const JobUpdate& job);
  void apply_deltas(const std::vector<LaneDelta>& deltas);

  Snapshot snapshot();
  Loaded answer(const LoadReady& load);
  Loaded answer(const LoadScheduled& load);
  Loaded answer(const LoadJobs& load);
  Loaded answer(const LoadRequest& load);
  Loaded answer(const LoadBatch& load);
  Loaded answer(const LoadUnique& load);
  Loaded answer(const LoadExpired& load);
  Loaded answer(const Prune& load);
  std::vector<JobRecord> leased_jobs();
  std::vector<BatchRow> batches_of(const std::vector<JobRecord>& jobs);
  std::vector<UniqueRow> unique_of(const std::vector<JobRecord>& jobs);
  std::uint64_t outputs_of(const JobRecord& job);

  Pruned prune_jobs(const Prune& prune);
  void delete_jobs(const std::vector<JobId>& jobs);
  bool prune_unique(const Prune& prune);
  void remember_workers(const Prune& prune, JobId job, WorkerId worker, bool has_attempts);
  void prune_batches(const std::vector<BatchId>& batches, Time before);
  void prune_workers();
  void prune_requests(const Prune& prune);

  const SqliteOptions options_;
  const std::string path_;
  ThreadOwner owner_;
  FileLock lock_;
  const std::unique_ptr<const sqlite::LogVfs> log_vfs_;  ///< with synchronous=FULL
  sqlite::Connection connection_;
  Ballast ballast_;
  FileIdentity identity_;
  std::unique_ptr<Statements> statements_;

  bool started_ = false;
  bool failed_ = false;
  std::uint64_t epoch_ = 0;
  WorkerId last_worker_at_start_;
  Time started_at_{};
  Instant next_look_{};
  Instant next_ballast_{};
  Instant next_checkpoint_{};
  Instant next_shrink_{};
  std::int64_t shrink_pages_ = 0;  ///< of the next small step
  std::uint64_t log_pages_moved_ = 0;
  PruneWalk walk_;
  /// Prefixes are stored as signed numbers, so the first one is negative.
  static constexpr std::int64_t kFirstPrefix = std::numeric_limits<std::int64_t>::min();
  std::int64_t request_prefix_ = kFirstPrefix;  ///< where the walk over the requests goes on
};

}  // namespace millrace::broker
