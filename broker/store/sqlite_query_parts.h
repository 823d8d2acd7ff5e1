#pragma once

// The inner parts of SqliteQuery; private to its sources.

#include <functional>

#include "broker/store/sqlite_query.h"
#include "broker/store/sqlite_rows.h"

namespace millrace::broker {

struct SqliteQuery::Statements {
  explicit Statements(const sqlite::Connection& db) : connection(db) {}

  const sqlite::Connection& connection;

  sqlite::Statement last_finish{connection, "SELECT last_finish FROM meta"};
  // Of ended jobs, whose row of `status` says it all.
#define MR_RESULT_COLUMNS                                                                 \
  "job.id, job.lane, status.state, status.result, status.result_checksum, status.error, " \
  "status.attempts, status.finish_seq, status.started_at, status.finished_at"
  sqlite::Statement results{connection, "SELECT " MR_RESULT_COLUMNS
                                        " FROM status INDEXED BY status_ended "
                                        "CROSS JOIN job ON job.id = status.id "
                                        "WHERE status.batch = ? AND status.finish_seq > ? "
                                        "ORDER BY status.finish_seq LIMIT ?"};
  sqlite::Statement result{connection, "SELECT " MR_RESULT_COLUMNS
                                       " FROM status CROSS JOIN job ON job.id = status.id "
                                       "WHERE status.id = ?"};
  sqlite::Statement job_state{connection, "SELECT " MR_STATE " FROM " MR_JOBS "WHERE job.id = ?"};
  sqlite::Statement outputs{connection,
                            "SELECT seq, attempt, type, data, at FROM output INDEXED BY output_job "
                            "WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?"};
  sqlite::Statement progress{connection,
                             "SELECT data FROM output INDEXED BY output_job "
                             "WHERE job = ? AND type = 1 ORDER BY seq DESC LIMIT 1"};
  sqlite::Statement highest{connection, "SELECT max(id) FROM job"};

#define MR_FILTER_ROWS                       \
  "SELECT job.id, " MR_STATE                 \
  ", job.lane, job.batch, job.enqueued_at, " \
  "status.finished_at, job.unique_key FROM " MR_JOBS
  sqlite::Statement walk_up{connection,
                            MR_FILTER_ROWS "WHERE job.id > ? AND job.id <= ? ORDER BY job.id"};
  sqlite::Statement walk_down{
      connection, MR_FILTER_ROWS "WHERE job.id > ? AND job.id <= ? ORDER BY job.id DESC"};
  sqlite::Statement filter_row{connection, MR_FILTER_ROWS "WHERE job.id = ?"};
  // These do not read the rows of the jobs.
  sqlite::Statement ended_ids{
      connection,
      "SELECT id FROM status INDEXED BY status_ended WHERE batch = ?3 AND finish_seq IS NOT NULL "
      "AND id > ?1 AND id <= ?2"};
  sqlite::Statement ready_ids{connection,
                              "SELECT job.id FROM ready CROSS JOIN job "
                              "ON job.id BETWEEN max(ready.first, ?1 + 1) AND min(ready.last, ?2)"};
  sqlite::Statement leased_ids{
      connection,
      "SELECT lease.job FROM lease LEFT JOIN status ON status.id = lease.job "
      "WHERE lease.job > ?1 AND lease.job <= ?2 AND " MR_STATE " = 3"};
  sqlite::Statement scheduled_ids{connection,
                                  "SELECT id FROM status INDEXED BY status_scheduled "
                                  "WHERE state = 1 AND id > ?1 AND id <= ?2"};
  sqlite::Statement open_counts{connection,
                                "SELECT coalesce(sum(scheduled), 0), coalesce(sum(ready), 0), "
                                "coalesce(sum(leased), 0) FROM lane"};

#define MR_JOB_RESULT ", job.payload, status.result, status.result_checksum FROM " MR_JOBS
  sqlite::Statement job{connection, "SELECT " MR_JOB_FIXED_COLUMNS
                                    ", NULL, NULL, NULL FROM " MR_JOBS "WHERE job.id = ?"};
  sqlite::Statement job_whole{connection,
                              "SELECT " MR_JOB_FIXED_COLUMNS MR_JOB_RESULT "WHERE job.id = ?"};
  sqlite::Statement lanes{connection, "SELECT " MR_LANE_COLUMNS " FROM lane ORDER BY id"};
  sqlite::Statement lane{connection, "SELECT queue, kind FROM lane WHERE id = ?"};
  sqlite::Statement worker{connection, "SELECT name FROM worker WHERE id = ?"};
  sqlite::Statement attempts{
      connection,
      "SELECT attempt, worker, started_at, finished_at, outcome, error FROM attempt WHERE job = ? "
      "ORDER BY attempt DESC LIMIT 1000"};  // the newest; a message carries 4,096 items at most
  sqlite::Statement batch{connection, "SELECT " MR_BATCH_COLUMNS " FROM batch WHERE id = ?"};
  sqlite::Statement batches_up{
      connection, "SELECT " MR_BATCH_COLUMNS " FROM batch WHERE id > ? AND id <= ? ORDER BY id"};
  sqlite::Statement batches_down{connection,
                                 "SELECT " MR_BATCH_COLUMNS
                                 " FROM batch WHERE id > ? AND id <= ? ORDER BY id DESC"};
};

/// Looks at the clock now and then only.
[[nodiscard]] bool is_time_up(std::size_t looked_at, Instant deadline);

/// Ids that an index offers, in the order of the page.
struct SqliteQuery::Candidates {
  std::vector<std::uint64_t> ids;
  bool more = false;  ///< there are others beyond the last one
};

/// Decides how far a page goes: rows, bytes and time.
class SqliteQuery::PageBuilder {
 public:
  using Fetch = std::function<std::optional<protocol::JobInfo>(JobId)>;

  PageBuilder(protocol::Page& page, const JobMatcher& matcher, Fetch fetch, std::size_t rows_max,
              Instant deadline)
      : page_(page),
        matcher_(matcher),
        fetch_(std::move(fetch)),
        rows_max_(rows_max),
        deadline_(deadline) {}

  /// Takes the job if it matches. False: the page ends here.
  bool consider(const FilterRow& job);
  [[nodiscard]] std::uint64_t last() const { return last_; }

 private:
  protocol::Page& page_;
  const JobMatcher& matcher_;
  const Fetch fetch_;
  const std::size_t rows_max_;
  const Instant deadline_;
  std::size_t bytes_ = 0;
  std::size_t looked_at_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace millrace::broker
