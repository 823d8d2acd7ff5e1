#pragma once

// The prepared statements of SqliteStore; private to its sources. Indexes are named where the time
// of a statement depends on them, so that no statistics can change the plan.

#include "broker/store/bulk_insert.h"
#include "broker/store/lease_table.h"
#include "broker/store/ready_table.h"
#include "broker/store/sqlite_rows.h"
#include "broker/store/sqlite_store.h"

namespace millrace::broker {

struct SqliteStore::Statements {
  Statements(const sqlite::Connection& db, std::size_t lease_rows_slack)
      : connection(db), leases(db, lease_rows_slack), ready(db) {}

  const sqlite::Connection& connection;
  LeaseTable leases;
  ReadyTable ready;

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
  // Columns in the order of the table, so that SQLite need not copy them. No statement is undone on
  // its own, so with OR ROLLBACK SQLite need not keep what it would undo it with.
  BulkInsert insert_jobs{connection,
                         "INSERT OR ROLLBACK INTO job (id, lane, priority, batch, replay_of, "
                         "max_attempts, timeout, backoff, absolute, enqueued_at, payload_bytes, "
                         "checksum, crashes_max, retry, expires_at, unique_key, unique_scope, "
                         "payload)",
                         "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"};
  // What most jobs go through: they are leased once and done at the first try. Few have a row yet:
  // those that were made ready again before, or whose start was written.
  BulkInsert first_done{
      connection,
      "INSERT INTO status (id, state, lease, worker, deliveries, attempts, crashes, attempts_base, "
      "crashes_base, run_at, started_at, finished_at, finish_seq, batch, unique_held, gives_up_at, "
      "error, result_checksum, result)",
      "(?, 4, ?, ?, 1, 1, 0, 0, 0, ?, ?, ?, ?, ?, 0, NULL, '', ?, ?)",
      "ON CONFLICT (id) DO UPDATE SET state = 4, lease = excluded.lease, worker = excluded.worker, "
      "deliveries = 1, attempts = 1, run_at = excluded.run_at, started_at = excluded.started_at, "
      "finished_at = excluded.finished_at, finish_seq = excluded.finish_seq, error = '', "
      "result_checksum = excluded.result_checksum, result = excluded.result "
      "WHERE (state = 3 AND lease = excluded.lease) OR (state = 2 AND lease = 0)"};
  // A job that is leased for the first time may have a row that does not say so.
  sqlite::Statement change_status{
      connection,
      "UPDATE status SET state = ?4, lease = ?5, worker = ?6, deliveries = ?7, attempts = ?8, "
      "crashes = ?9, attempts_base = ?10, crashes_base = ?11, run_at = ?12, started_at = ?13, "
      "finished_at = ?14, finish_seq = ?15, error = ?16, unique_held = ?17, "
      "gives_up_at = iif(?4 IN (1, 2), "
      "(SELECT nullif(expires_at, 0) FROM job WHERE job.id = ?1), NULL) "
      "WHERE id = ?1 AND (state = ?2 AND lease = ?3 OR ?2 = 3 AND state = 2 AND lease = 0)"};
  sqlite::Statement insert_status{
      connection,
      "INSERT OR IGNORE INTO status (id, state, lease, worker, deliveries, attempts, crashes, "
      "attempts_base, crashes_base, run_at, started_at, finished_at, finish_seq, error, "
      "unique_held, batch, gives_up_at) "
      "SELECT id, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, batch, "
      "iif(?2 IN (1, 2), nullif(expires_at, 0), NULL) FROM job WHERE id = ?1"};
  sqlite::Statement put_result{connection,
                               "UPDATE status SET result_checksum = ?2, result = ?3 WHERE id = ?1"};
  sqlite::Statement insert_attempt{
      connection,
      "INSERT INTO attempt (job, attempt, worker, started_at, finished_at, outcome, error) "
      "VALUES (?, ?, ?, ?, ?, ?, ?)"};

  // ---- loads. A range over (run_at, id) takes two statements, because SQLite uses only the first
  // column of such a pair when the second one is the rowid. CROSS JOIN keeps the order of a join.
  sqlite::Statement load_ready{
      connection, MR_WAITING_SMALL
      "ready CROSS JOIN job "
      "ON job.id BETWEEN max(ready.first, iif(ready.priority = ?2, ?3 + 1, 0)) AND ready.last "
      "LEFT JOIN status ON status.id = job.id "
      "WHERE ready.lane = ?1 AND (ready.priority, ready.last) > (?2, ?3) "
      "ORDER BY ready.priority, ready.last, job.id LIMIT ?4"};
#define MR_STATUS_JOB "CROSS JOIN job ON job.id = status.id "
  sqlite::Statement load_scheduled_same{
      connection, MR_WAITING_SMALL "status INDEXED BY status_scheduled " MR_STATUS_JOB
                                   "WHERE status.state = 1 AND status.run_at = ? AND status.id > ? "
                                   "ORDER BY status.id LIMIT ?"};
  sqlite::Statement load_scheduled_above{connection, MR_WAITING_SMALL
                                         "status INDEXED BY status_scheduled " MR_STATUS_JOB
                                         "WHERE status.state = 1 AND status.run_at > ? "
                                         "ORDER BY status.run_at, status.id LIMIT ?"};
  sqlite::Statement load_expiring{connection, MR_WAITING_SMALL
                                  "status INDEXED BY status_expires " MR_STATUS_JOB
                                  "WHERE status.gives_up_at IS NOT NULL "
                                  "ORDER BY status.gives_up_at, status.id LIMIT ?"};
  sqlite::Statement load_leased{connection,
                                "SELECT " MR_JOB_FIXED_COLUMNS ", " MR_PAYLOAD_SMALL
                                " FROM lease CROSS JOIN job ON job.id = lease.job "
                                "LEFT JOIN status ON status.id = job.id WHERE " MR_STATE " = 3"};
  sqlite::Statement load_job{connection, MR_JOB_SMALL "WHERE job.id = ?"};
  sqlite::Statement load_job_whole{connection, MR_JOB_WHOLE "WHERE job.id = ?"};
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
  sqlite::Statement last_output{connection,
                                "SELECT lease, n FROM output INDEXED BY output_job WHERE job = ? "
                                "ORDER BY seq DESC LIMIT 1"};

  // ---- prune
  sqlite::Statement walk_jobs{connection, "SELECT job.id, " MR_STATE
                                          ", job.lane, job.batch, job.enqueued_at, " MR_WORKER
                                          ", status.attempts + status.crashes, "
                                          "status.finished_at, job.payload_bytes FROM " MR_JOBS
                                          "WHERE job.id >= ? ORDER BY job.id LIMIT ?"};
  sqlite::Statement result_bytes{connection,
                                 "SELECT length(CAST(result AS BLOB)) FROM status WHERE id = ?"};
  sqlite::Statement output_bytes{connection,
                                 "SELECT sum(length(CAST(data AS BLOB))) FROM output "
                                 "INDEXED BY output_job WHERE job = ?"};
  sqlite::Statement delete_outputs{connection,
                                   "DELETE FROM output INDEXED BY output_job WHERE job = ?"};
  sqlite::Statement old_unique{connection,
                               "SELECT queue, key, job, until FROM unique_key "
                               "INDEXED BY unique_key_until WHERE until > 0 AND until < ? LIMIT ?"};
  sqlite::Statement delete_job{connection, "DELETE FROM job WHERE id = ?"};
  sqlite::Statement delete_status{connection, "DELETE FROM status WHERE id = ?"};
  sqlite::Statement delete_lease{connection, "DELETE FROM lease WHERE job = ?"};
  sqlite::Statement delete_attempts{connection, "DELETE FROM attempt WHERE job = ?"};
  sqlite::Statement attempt_workers{connection, "SELECT worker FROM attempt WHERE job = ?"};
  sqlite::Statement delete_batch{
      connection,
      "DELETE FROM batch WHERE id = ?1 AND open = 0 "
      "AND (sealed <> 0 OR (owner = x'' AND created_at < ?2)) AND NOT EXISTS (SELECT 1 FROM "
      "status INDEXED BY status_ended WHERE batch = ?1 AND finish_seq IS NOT NULL)"};
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
