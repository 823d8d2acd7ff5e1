#include <fmt/format.h>

#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// Stored numbers, as in schema.cpp.
static_assert(static_cast<int>(UniqueScope::queued) == 0);
static_assert(static_cast<int>(UniqueScope::active) == 1);
static_assert(static_cast<int>(UniqueScope::ttl) == 2);
static_assert(static_cast<int>(OutputType::log) == 0);
static_assert(static_cast<int>(OutputType::progress) == 1);
static_assert(static_cast<int>(OutputType::chunk) == 2);

// The table of jobs is built anew, because a column that were added would stand behind the payload.
// A job that uses none of the new ones carries one byte of data for them, and a byte each in the
// header of its row: 0, 1 and NULL need no more.
constexpr const char* kJobs = R"sql(
DROP VIEW jobs;
DROP VIEW attempts;
DROP INDEX job_ready;
DROP INDEX job_scheduled;
DROP INDEX job_leased;
DROP INDEX job_ended;
ALTER TABLE job RENAME TO job_1;

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
  error           TEXT NOT NULL,
  payload         ANY,
  result          ANY
) STRICT;
INSERT INTO job
SELECT id, state, lane, priority, batch, replay_of, max_attempts, timeout, backoff, absolute,
       enqueued_at, lease, worker, deliveries, attempts, crashes, attempts_base, crashes_base,
       run_at, started_at, finished_at, finish_seq, payload_bytes, checksum, result_checksum,
       3, NULL, 0, NULL, 1, 0, error, payload, result
FROM job_1 ORDER BY id;
DROP TABLE job_1;
CREATE INDEX job_ready ON job (lane, priority) WHERE state = 2;
CREATE INDEX job_scheduled ON job (run_at) WHERE state = 1;
CREATE INDEX job_leased ON job (lease) WHERE state = 3;
CREATE INDEX job_ended ON job (batch, finish_seq) WHERE finish_seq IS NOT NULL;
CREATE INDEX job_expires ON job (expires_at) WHERE expires_at > 0 AND state IN (1, 2);
)sql";

constexpr const char* kTables = R"sql(
CREATE TABLE kind (
  name           TEXT PRIMARY KEY,
  max_attempts   INTEGER NOT NULL,
  crashes_max    INTEGER NOT NULL,
  timeout        INTEGER NOT NULL,
  retry          TEXT,
  not_replayable INTEGER NOT NULL,
  by_operator    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- until = 0: taken until the job gives it back.
CREATE TABLE unique_key (
  queue TEXT NOT NULL,
  key   TEXT NOT NULL,
  job   INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX unique_key_until ON unique_key (until) WHERE until > 0;

CREATE TABLE output (
  seq     INTEGER PRIMARY KEY,
  job     INTEGER NOT NULL,
  lease   INTEGER NOT NULL,
  n       INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  type    INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  data    ANY
) STRICT;
-- Followed by seq.
CREATE INDEX output_job ON output (job);

-- Payloads and results of ended jobs.
ALTER TABLE lane ADD COLUMN done_bytes INTEGER NOT NULL DEFAULT 0 CHECK (done_bytes >= 0);
ALTER TABLE lane ADD COLUMN dead_bytes INTEGER NOT NULL DEFAULT 0 CHECK (dead_bytes >= 0);
ALTER TABLE lane ADD COLUMN cancelled_bytes INTEGER NOT NULL DEFAULT 0
  CHECK (cancelled_bytes >= 0);
ALTER TABLE lane ADD COLUMN expired_bytes INTEGER NOT NULL DEFAULT 0 CHECK (expired_bytes >= 0);
UPDATE lane SET done_bytes = ended.done, dead_bytes = ended.dead, cancelled_bytes = ended.cancelled,
                expired_bytes = ended.expired
FROM (SELECT lane, sum(iif(state = 4, bytes, 0)) AS done, sum(iif(state = 5, bytes, 0)) AS dead,
             sum(iif(state = 6, bytes, 0)) AS cancelled, sum(iif(state = 7, bytes, 0)) AS expired
      FROM (SELECT lane, state,
                   payload_bytes + coalesce(length(CAST(result AS BLOB)), 0) AS bytes
            FROM job WHERE state >= 4)
      GROUP BY lane) AS ended
WHERE ended.lane = lane.id;

ALTER TABLE request ADD COLUMN ids BLOB;
ALTER TABLE meta ADD COLUMN last_output INTEGER NOT NULL DEFAULT 0;
)sql";

// Made again with every new table of jobs.
constexpr const char* kJobViews = R"sql(
CREATE VIEW jobs AS
SELECT job.id AS id, lane.queue AS queue, lane.kind AS kind,
       CASE job.state WHEN 0 THEN 'blocked' WHEN 1 THEN 'scheduled' WHEN 2 THEN 'ready'
                      WHEN 3 THEN 'leased' WHEN 4 THEN 'done' WHEN 5 THEN 'dead'
                      WHEN 6 THEN 'cancelled' WHEN 7 THEN 'expired' END AS state,
       job.priority AS priority, job.payload AS payload, job.result AS result,
       nullif(job.error, '') AS error, job.deliveries AS deliveries, job.attempts AS attempts,
       job.crashes AS crashes, nullif(job.batch, 0) AS batch,
       nullif(job.replay_of, 0) AS replay_of, worker.name AS worker,
       {enqueued_at} AS enqueued_at, {run_at} AS run_at, {started_at} AS started_at,
       {finished_at} AS finished_at
FROM job LEFT JOIN lane ON lane.id = job.lane LEFT JOIN worker ON worker.id = job.worker;

CREATE VIEW attempts AS
SELECT run.job AS job, run.attempt AS attempt, worker.name AS worker,
       {run_started_at} AS started_at, {run_finished_at} AS finished_at,
       run.outcome AS outcome, nullif(run.error, '') AS error
FROM (SELECT job, attempt, worker, started_at, finished_at, outcome, error FROM attempt
      UNION ALL
      SELECT id, attempts + crashes, worker, started_at, finished_at, 'ack', ''
      FROM job WHERE state = 4) AS run
LEFT JOIN worker ON worker.id = run.worker;
)sql";

constexpr const char* kViews = R"sql(
CREATE VIEW outputs AS
SELECT job, attempt, CASE type WHEN 0 THEN 'log' WHEN 1 THEN 'progress' WHEN 2 THEN 'chunk' END
       AS type, {output_at} AS at, data
FROM output;

CREATE VIEW kinds AS
SELECT name AS kind, nullif(max_attempts, 0) AS max_attempts,
       nullif(crashes_max, 0) AS crashes_max, nullif(timeout, 0) AS timeout_ms, retry,
       not_replayable, by_operator
FROM kind;
)sql";

}  // namespace

void create_job_views(const sqlite::Connection& connection) {
  connection.execute(fmt::format(kJobViews, fmt::arg("enqueued_at", iso("job.enqueued_at")),
                                 fmt::arg("run_at", iso("job.run_at")),
                                 fmt::arg("started_at", iso("job.started_at")),
                                 fmt::arg("finished_at", iso("job.finished_at")),
                                 fmt::arg("run_started_at", iso("run.started_at")),
                                 fmt::arg("run_finished_at", iso("run.finished_at"))));
}

void create_2(const sqlite::Connection& connection) {
  connection.execute(kJobs);
  connection.execute(kTables);
  create_job_views(connection);
  connection.execute(fmt::format(kViews, fmt::arg("output_at", iso("at"))));
}

}  // namespace millrace::broker
