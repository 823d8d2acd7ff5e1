#pragma once

// The prepared statements of SqliteStore; private to its sources. Indexes are named where the time
// of a statement depends on them, so that no statistics can change the plan.

#include "broker/store/lease_list.h"
#include "broker/store/sqlite_rows.h"
#include "broker/store/sqlite_store.h"

namespace millrace::broker {

struct SqliteStore::Statements {
  /// Columns in the order of the table, so that SQLite need not copy them.
  static std::string insert_plain_sql(std::size_t rows);

  Statements(const sqlite::Connection& db, std::size_t lease_list_slack)
      : connection(db), lease_list(db, lease_list_slack) {}

  const sqlite::Connection& connection;
  LeaseList lease_list;

  sqlite::Statement fence{
      connection,
      "UPDATE meta SET last_job = max(last_job, ?2), last_finish = max(last_finish, ?3), "
      "last_worker = max(last_worker, ?4), last_output = max(last_output, ?5) "
      "WHERE id = 1 AND epoch = ?1"};

  // ---- writes
  sqlite::Statement insert_lane{connection, "INSERT INTO lane (id, queue, kind) VALUES (?, ?, ?)"};
  sqlite::Statement change_lane{
      connection,
      "UPDATE lane SET blocked = blocked + ?2, scheduled = scheduled + ?3, ready = ready + ?4, "
      "leased = leased + ?5, done = done + ?6, dead = dead + ?7, cancelled = cancelled + ?8, "
      "expired = expired + ?9, done_bytes = done_bytes + ?10, dead_bytes = dead_bytes + ?11, "
      "cancelled_bytes = cancelled_bytes + ?12, expired_bytes = expired_bytes + ?13 "
      "WHERE id = ?1"};
  sqlite::Statement put_queue{connection,
                              "INSERT INTO queue (name, state, paused, generation) "
                              "VALUES (?1, ?2, ?3, ?4) ON CONFLICT (name) DO UPDATE SET "
                              "state = ?2, paused = ?3, generation = ?4"};
  sqlite::Statement put_batch{
      connection,
      "INSERT INTO batch (" MR_BATCH_COLUMNS
      ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) "
      "ON CONFLICT (id) DO UPDATE SET sealed = ?2, owner = ?3, total = ?4, open = ?5, done = ?6, "
      "dead = ?7, cancelled = ?8, expired = ?9, created_at = ?10"};
  sqlite::Statement put_worker{
      connection, "INSERT INTO worker (" MR_WORKER_COLUMNS
                  ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
                  "ON CONFLICT (id) DO UPDATE SET session = ?2, name = ?3, host = ?4, pid = ?5, "
                  "connected_at = ?6, left_at = ?7"};
  sqlite::Statement insert_request{
      connection,
      "INSERT INTO request (prefix, counter, body_hash, batch, first, count, at, replay_of, ids) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"};
  sqlite::Statement put_kind{
      connection, "INSERT INTO kind (" MR_KIND_COLUMNS
                  ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO UPDATE SET "
                  "max_attempts = ?2, crashes_max = ?3, timeout = ?4, retry = ?5, "
                  "not_replayable = ?6, by_operator = ?7"};
  sqlite::Statement delete_kind{connection, "DELETE FROM kind WHERE name = ?"};
  sqlite::Statement release_unique{
      connection,
      "DELETE FROM unique_key WHERE queue = ?1 AND key = ?2 AND job = ?3 AND until = ?4"};
  sqlite::Statement acquire_unique{
      connection, "INSERT INTO unique_key (queue, key, job, until) VALUES (?1, ?2, ?3, ?4)"};
  sqlite::Statement insert_output{
      connection,
      "INSERT INTO output (seq, job, lease, n, attempt, type, at, data) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"};
  sqlite::Statement insert_job{connection,
                               "INSERT INTO job (" MR_JOB_FIXED_COLUMNS
                               ", payload, ready_in, due_at, gives_up_at) "
                               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, "
                               "?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, "
                               "?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35)"};
  // Jobs without any of the rarer things (is_plain): most of their columns need no value from
  // outside, and a statement for many opens the table and its indexes once.
  static constexpr std::size_t kInsertRows = 16;
  sqlite::Statement insert_plain{connection, insert_plain_sql(1)};
  sqlite::Statement insert_plain_rows{connection, insert_plain_sql(kInsertRows)};
  // What most jobs go through: they are leased once and done at the first try. The columns that
  // change are few, and SQLite only looks at the indexes that stand on them: a first lease is in
  // none of them.
  sqlite::Statement first_lease{connection,
                                "UPDATE job SET state = 3, lease = ?2, worker = ?3, deliveries = 1 "
                                "WHERE id = ?1 AND state = 2 AND lease = 0"};
  sqlite::Statement first_done{
      connection,
      "UPDATE job SET state = 4, attempts = 1, started_at = ?3, finished_at = ?4, "
      "finish_seq = ?5, ready_in = NULL, result = ?6, result_checksum = ?7 "
      "WHERE id = ?1 AND state = 3 AND lease = ?2"};
  sqlite::Statement update_job{
      connection,
      "UPDATE job SET state = ?4, lease = ?5, worker = ?6, deliveries = ?7, attempts = ?8, "
      "crashes = ?9, attempts_base = ?10, crashes_base = ?11, run_at = ?12, started_at = ?13, "
      "finished_at = ?14, finish_seq = ?15, error = ?16, unique_held = ?17, "
      "ready_in = iif(?4 IN (2, 3), lane, NULL), due_at = iif(?4 = 1, ?12, NULL), "
      "gives_up_at = iif(?4 IN (1, 2) AND expires_at > 0, expires_at, NULL) "
      "WHERE id = ?1 AND state = ?2 AND lease = ?3"};
  sqlite::Statement put_result{connection,
                               "UPDATE job SET result = ?2, result_checksum = ?3 WHERE id = ?1"};
  sqlite::Statement insert_attempt{
      connection,
      "INSERT INTO attempt (job, attempt, worker, started_at, finished_at, outcome, error) "
      "VALUES (?, ?, ?, ?, ?, ?, ?)"};

  // ---- loads: a range over (priority, id) takes two statements, because SQLite uses only the
  // first column of such a pair when the second one is the rowid; leased jobs are in the index too
  sqlite::Statement load_ready_same{
      connection, MR_JOB_SMALL
      "INDEXED BY job_ready WHERE ready_in = ? AND priority = ? AND id > ? "
      "AND state = 2 ORDER BY id LIMIT ?"};
  sqlite::Statement load_ready_above{connection, MR_JOB_SMALL
                                     "INDEXED BY job_ready WHERE ready_in = ? AND priority > ? "
                                     "AND state = 2 ORDER BY priority, id LIMIT ?"};
  sqlite::Statement load_scheduled_same{
      connection,
      MR_JOB_SMALL "INDEXED BY job_scheduled WHERE due_at = ? AND id > ? ORDER BY id LIMIT ?"};
  sqlite::Statement load_scheduled_above{
      connection,
      MR_JOB_SMALL "INDEXED BY job_scheduled WHERE due_at > ? ORDER BY due_at, id LIMIT ?"};
  sqlite::Statement load_job{connection, MR_JOB_SMALL "WHERE id = ?"};
  sqlite::Statement load_job_whole{connection, MR_JOB_WHOLE "WHERE id = ?"};
  sqlite::Statement load_request{
      connection,
      "SELECT body_hash, batch, first, count, at, replay_of, ids FROM request "
      "WHERE prefix = ? AND counter = ?"};
  sqlite::Statement counter_max{
      connection, "SELECT counter FROM request WHERE prefix = ? ORDER BY counter DESC LIMIT 1"};
  sqlite::Statement load_batch{connection, "SELECT " MR_BATCH_COLUMNS " FROM batch WHERE id = ?"};
  sqlite::Statement load_worker{connection,
                                "SELECT " MR_WORKER_COLUMNS " FROM worker WHERE id = ?"};
  sqlite::Statement load_unique{connection,
                                "SELECT queue, key, job, until FROM unique_key "
                                "WHERE queue = ? AND key = ?"};
  sqlite::Statement load_unique_in_lane{
      connection,
      "SELECT queue, key, job, until FROM unique_key "
      "WHERE queue = (SELECT queue FROM lane WHERE id = ?) AND key = ?"};
  sqlite::Statement load_expiring{connection, MR_JOB_SMALL
                                  "INDEXED BY job_expires WHERE gives_up_at IS NOT NULL "
                                  "ORDER BY gives_up_at, id LIMIT ?"};
  sqlite::Statement last_output{connection,
                                "SELECT lease, n FROM output INDEXED BY output_job WHERE job = ? "
                                "ORDER BY seq DESC LIMIT 1"};

  // ---- prune
  sqlite::Statement walk_jobs{connection,
                              "SELECT id, state, lane, batch, enqueued_at, worker, attempts + "
                              "crashes, finished_at, payload_bytes FROM job "
                              "WHERE id >= ? ORDER BY id LIMIT ?"};
  sqlite::Statement result_bytes{connection,
                                 "SELECT length(CAST(result AS BLOB)) FROM job WHERE id = ?"};
  sqlite::Statement output_bytes{connection,
                                 "SELECT sum(length(CAST(data AS BLOB))) FROM output "
                                 "INDEXED BY output_job WHERE job = ?"};
  sqlite::Statement delete_outputs{connection,
                                   "DELETE FROM output INDEXED BY output_job WHERE job = ?"};
  sqlite::Statement old_unique{connection,
                               "SELECT queue, key, job, until FROM unique_key "
                               "INDEXED BY unique_key_until WHERE until > 0 AND until < ? LIMIT ?"};
  sqlite::Statement delete_job{connection, "DELETE FROM job WHERE id = ?"};
  sqlite::Statement delete_attempts{connection, "DELETE FROM attempt WHERE job = ?"};
  sqlite::Statement attempt_workers{connection, "SELECT worker FROM attempt WHERE job = ?"};
  sqlite::Statement delete_batch{
      connection,
      "DELETE FROM batch WHERE id = ?1 AND open = 0 "
      "AND (sealed <> 0 OR (owner = x'' AND created_at < ?2)) AND NOT EXISTS (SELECT 1 FROM job "
      "INDEXED BY job_ended WHERE batch = ?1 AND finish_seq IS NOT NULL)"};
  sqlite::Statement walk_workers{connection, "SELECT id, left_at FROM worker ORDER BY id"};
  sqlite::Statement delete_worker{connection, "DELETE FROM worker WHERE id = ?"};
  sqlite::Statement next_prefix{
      connection, "SELECT prefix FROM request WHERE prefix >= ? ORDER BY prefix LIMIT 1"};
  sqlite::Statement walk_requests{
      connection, "SELECT counter, at FROM request WHERE prefix = ? ORDER BY counter LIMIT ?"};
  sqlite::Statement delete_request{connection,
                                   "DELETE FROM request WHERE prefix = ? AND counter = ?"};
};

/// Runs `work` unless the store has failed; any exception makes it fail for good.
template <class Work>
auto SqliteStore::guarded(const Work& work) {
  owner_.check();
  if (failed_)
    throw StoreError(ErrorCode::storage_failed,
                     "the database failed before; only a restart can tell what is on the disk");
  try {
    return work();
  } catch (...) {
    failed_ = true;
    throw;
  }
}

/// Runs `work`, one whole transaction; when the disk is full once more, with the ballast given
/// back.
template <class Work>
auto SqliteStore::with_space(const Work& work) {
  try {
    return work();
  } catch (const sqlite::SqliteError& error) {
    if (!error.is_full() || !ballast_.release()) throw;
  }
  return work();
}

}  // namespace millrace::broker
