#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// The indexes of jobs that wait stand on columns of their own, which are NULL while a job does not
// wait. SQLite looks at an index only when a statement writes to one of its columns, and nearly
// every statement writes `state`: a job that is leased or done pays for the two indexes it moves
// between, not for all of them.
constexpr const char* kJobs = R"sql(
DROP VIEW jobs;
DROP VIEW attempts;
DROP INDEX job_ready;
DROP INDEX job_scheduled;
DROP INDEX job_leased;
DROP INDEX job_ended;
DROP INDEX job_expires;
ALTER TABLE job RENAME TO job_2;

CREATE TABLE job (
  id              INTEGER PRIMARY KEY,
  state           INTEGER NOT NULL,
  lane            INTEGER NOT NULL,
  priority        INTEGER NOT NULL,
  batch           INTEGER NOT NULL,
  replay_of       INTEGER NOT NULL,
  max_attempts    INTEGER NOT NULL,
  timeout         INTEGER NOT NULL,
  backoff         INTEGER NOT NULL,
  absolute        INTEGER NOT NULL,
  enqueued_at     INTEGER NOT NULL,
  lease           INTEGER NOT NULL,
  worker          INTEGER NOT NULL,
  deliveries      INTEGER NOT NULL,
  attempts        INTEGER NOT NULL,
  crashes         INTEGER NOT NULL,
  attempts_base   INTEGER NOT NULL,
  crashes_base    INTEGER NOT NULL,
  run_at          INTEGER NOT NULL,
  started_at      INTEGER NOT NULL,
  finished_at     INTEGER NOT NULL,
  finish_seq      INTEGER,
  payload_bytes   INTEGER NOT NULL,
  checksum        INTEGER NOT NULL,
  result_checksum INTEGER,
  crashes_max     INTEGER NOT NULL,
  retry           TEXT,
  expires_at      INTEGER NOT NULL,
  unique_key      TEXT,
  unique_scope    INTEGER NOT NULL,
  unique_held     INTEGER NOT NULL,
  ready_in        INTEGER,  -- the lane, while it is ready
  due_at          INTEGER,  -- run_at, while it is scheduled
  gives_up_at     INTEGER,  -- expires_at, while it waits, if there is one
  error           TEXT NOT NULL,
  payload         ANY,
  result          ANY
) STRICT;
INSERT INTO job
SELECT id, state, lane, priority, batch, replay_of, max_attempts, timeout, backoff, absolute,
       enqueued_at, lease, worker, deliveries, attempts, crashes, attempts_base, crashes_base,
       run_at, started_at, finished_at, finish_seq, payload_bytes, checksum, result_checksum,
       crashes_max, retry, expires_at, unique_key, unique_scope, unique_held,
       iif(state = 2, lane, NULL), iif(state = 1, run_at, NULL),
       iif(state IN (1, 2) AND expires_at > 0, expires_at, NULL), error, payload, result
FROM job_2 ORDER BY id;
DROP TABLE job_2;
CREATE INDEX job_ready ON job (ready_in, priority) WHERE ready_in IS NOT NULL;
CREATE INDEX job_scheduled ON job (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX job_leased ON job (lease) WHERE state = 3;
CREATE INDEX job_ended ON job (batch, finish_seq) WHERE finish_seq IS NOT NULL;
CREATE INDEX job_expires ON job (gives_up_at) WHERE gives_up_at IS NOT NULL;
)sql";

}  // namespace

void create_3(const sqlite::Connection& connection) {
  connection.execute(kJobs);
  create_job_views(connection);
}

}  // namespace millrace::broker
