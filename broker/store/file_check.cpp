#include "broker/store/file_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "broker/store/checksum.h"
#include "broker/store/schema.h"
#include "broker/store/sqlite_rows.h"
#include "broker/store/sqlite_settings.h"
#include "broker/store/store_files.h"
#include "broker/store/table_check.h"

namespace millrace::broker {
namespace {

constexpr Duration kLockWait{10'000};

/// The runs of all jobs, taken in step with a walk over the jobs in the same order.
class RunWalk {
 public:
  explicit RunWalk(const sqlite::Connection& connection)
      : statement_(connection,
                   "SELECT job, attempt, worker, started_at, finished_at, outcome, error "
                   "FROM attempt ORDER BY job, attempt"),
        rows_(statement_.run()) {
    step();
  }

  /// The runs of `job`; those of earlier jobs that were not asked for go to `orphan`.
  template <class Orphan>
  const std::vector<AttemptRow>& take(JobId job, const Orphan& orphan) {
    runs_.clear();
    for (; next_ && next_->job < job; step()) orphan(*next_);
    for (; next_ && next_->job == job; step()) runs_.push_back(*next_);
    return runs_;
  }
  template <class Orphan>
  void take_rest(const Orphan& orphan) {
    for (; next_; step()) orphan(*next_);
  }

 private:
  void step() {
    next_.reset();
    if (!rows_.next()) return;
    next_ = AttemptRow{.job = rows_.id<JobId>(0),
                       .attempt = rows_.small(1),
                       .worker = rows_.id<WorkerId>(2),
                       .started_at = rows_.time(3),
                       .finished_at = rows_.time(4),
                       .outcome = rows_.text(5),
                       .error = rows_.text(6)};
  }

  sqlite::Statement statement_;
  sqlite::Rows rows_;
  std::optional<AttemptRow> next_;
  std::vector<AttemptRow> runs_;
};

/// One walk over a file whose format is this program's.
class FileWalk {
 public:
  FileWalk(const sqlite::Connection& connection, const FileCheckOptions& options,
           const ViolationSink& sink, FileSummary& summary)
      : connection_(connection),
        options_(options),
        sink_(sink),
        summary_(summary),
        marks_(read_marks()),
        check_(marks_, options.rows, sink) {
    summary_.epoch = marks_.epoch;
  }

  void run() {
    read_names();
    check_tables(connection_, sink_);
    read_jobs();
    read_outputs();
    check_.finish();
  }

 private:
  template <class Take>
  void read(std::string_view sql, const Take& take_row) const {
    sqlite::Statement statement(connection_, sql);
    auto rows = statement.run();
    while (rows.next()) take_row(rows);
  }

  [[nodiscard]] Marks read_marks() const {
    Marks marks;
    read("SELECT epoch, last_job, last_finish, last_output FROM meta",
         [&](const sqlite::Rows& row) {
           marks = {row.natural(0), row.id<JobId>(1), row.id<FinishSeq>(2), row.id<OutputSeq>(3)};
         });
    return marks;
  }

  void read_names() {
    read("SELECT " MR_LANE_COLUMNS " FROM lane",
         [&](const sqlite::Rows& row) { check_.add(read_lane(row)); });
    read("SELECT name, state, paused, generation FROM queue", [&](const sqlite::Rows& row) {
      check_.add(QueueRow{row.text(0), static_cast<QueueState>(row.integer(1)), row.boolean(2),
                          row.natural(3)});
    });
    read("SELECT " MR_BATCH_COLUMNS " FROM batch",
         [&](const sqlite::Rows& row) { check_.add(read_batch(row)); });
    read("SELECT " MR_WORKER_COLUMNS " FROM worker",
         [&](const sqlite::Rows& row) { check_.add(read_worker(row)); });
    read("SELECT prefix, counter, first, count FROM request", [&](const sqlite::Rows& row) {
      check_.add(RequestRow{.id = {row.natural(0), row.natural(1)},
                            .body_hash = 0,
                            .batch = {},
                            .first = row.id<JobId>(2),
                            .count = row.natural(3),
                            .replay_of = {},
                            .ids = {},
                            .at = {}});
    });
    read("SELECT queue, key, job, until FROM unique_key",
         [&](const sqlite::Rows& row) { check_.add(read_unique(row)); });
  }

  void read_jobs() {
    RunWalk runs(connection_);
    const auto orphan = [&](const AttemptRow& run) { check_.add_orphan(run); };
    sqlite::Statement statement(connection_,
                                "SELECT " MR_JOB_FIXED_COLUMNS
                                ", job.payload, status.result, "
                                "status.result_checksum FROM " MR_JOBS "ORDER BY job.id");
    auto rows = statement.run();
    while (rows.next()) {
      const auto id = rows.id<JobId>(0);
      read_job_row(rows, runs.take(id, orphan));
    }
    runs.take_rest(orphan);
  }

  void read_outputs() {
    read("SELECT seq, job, lease, n FROM output ORDER BY seq", [&](const sqlite::Rows& row) {
      OutputRow output;
      output.seq = row.id<OutputSeq>(0);
      output.job = row.id<JobId>(1);
      output.lease = row.id<LeaseId>(2);
      output.n = row.natural(3);
      check_.add(output);
    });
  }

  void read_job_row(const sqlite::Rows& rows, const std::vector<AttemptRow>& runs) {
    const auto id = rows.id<JobId>(0);
    ++summary_.jobs;
    const std::int64_t state = rows.integer(rows.column("state"));
    if (state < 0 || state >= static_cast<std::int64_t>(kJobStateCount)) {
      sink_({"state", fmt::format("job {} has state {}, which is none", id.value, state)});
      if (options_.on_job) options_.on_job(id, std::nullopt);
      return;
    }
    const JobRecord job = read_job(rows, PayloadRead::none);
    ++summary_.states.at(static_cast<std::size_t>(state));
    if (options_.on_job) options_.on_job(id, job.status.state);
    check_sums(rows, job);
    check_.add(job, rows.payload(rows.column("result")), runs);
  }

  void check_sums(const sqlite::Rows& rows, const JobRecord& job) const {
    if (job.payload.size() != job.payload_bytes ||
        job_checksum(job.id, job.spec, job.payload) != rows.integer(rows.column("checksum")))
      sink_(
          {"checksum", fmt::format("the row of job {} does not match its checksum", job.id.value)});
    const Payload result = rows.payload(rows.column("result"));
    const int sum = rows.column("result_checksum");
    if (result.empty() ? !rows.is_null(sum)
                       : rows.is_null(sum) || result_checksum(job.id, result) != rows.integer(sum))
      sink_({"checksum",
             fmt::format("the result of job {} does not match its checksum", job.id.value)});
  }

  const sqlite::Connection& connection_;
  const FileCheckOptions& options_;
  const ViolationSink& sink_;
  FileSummary& summary_;
  const Marks marks_;
  RowCheck check_;
};

void check_pages(const sqlite::Connection& connection, const ViolationSink& sink) {
  sqlite::Statement statement(connection, "PRAGMA integrity_check");
  auto rows = statement.run();
  while (rows.next())
    if (rows.bytes(0) != "ok") sink({"integrity", rows.text(0)});
}

}  // namespace

FileSummary check_file(const std::string& path, const FileCheckOptions& options,
                       const ViolationSink& sink) {
  if (identify(path) == FileIdentity{})
    throw StoreError(ErrorCode::no_input, fmt::format("there is no database `{}`", path));
  const std::string file = resolve_database_path(path);
  FileSummary summary;
  try {
    sqlite::Connection connection(file, sqlite::Access::read, {});
    connection.wait_for_locks(kLockWait);
    connection.stop_on(options.stop);
    connection.execute("PRAGMA query_only = ON");
    connection.execute("PRAGMA mmap_size = 0");
    connection.execute("PRAGMA cell_size_check = ON");
    // All questions see one state of the file, also while a broker writes to it.
    const sqlite::Transaction transaction(connection, sqlite::Transaction::Kind::read);
    check_ownership(connection, path, false);
    summary.format = connection.integer("PRAGMA user_version");
    check_pages(connection, sink);
    if (summary.format < kSchemaVersion) return summary;
    summary.rows_checked = true;
    FileWalk(connection, options, sink, summary).run();
  } catch (const sqlite::SqliteError& error) {
    if (error.code() != ErrorCode::corrupt) throw;
    sink({"integrity", error.what()});
  }
  return summary;
}

}  // namespace millrace::broker
