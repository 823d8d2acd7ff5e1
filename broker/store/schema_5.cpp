#include <fmt/format.h>

#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// What a job is stands in `job` and never changes; how it stands, in `status`. A job without a row
// there is as it was enqueued, `run_at` its `enqueued_at`; a row of `lease` with a higher lease
// than its status names says that it is leased since (lease_table.h). So a job that is done at the
// first try is never updated: its row, its lease and its status are each written once, at the ends
// of their tables, and `ready` loses rows by ranges.
constexpr const char* kTables = R"sql(
DROP VIEW jobs;
DROP VIEW attempts;
DROP INDEX job_ready;
DROP INDEX job_scheduled;
DROP INDEX job_ended;
DROP INDEX job_expires;
DROP TABLE lease_list;
ALTER TABLE job RENAME TO job_4;

CREATE TABLE job (
  id            INTEGER PRIMARY KEY,
  lane          INTEGER NOT NULL,
  priority      INTEGER NOT NULL,
  batch         INTEGER NOT NULL,
  replay_of     INTEGER NOT NULL,
  max_attempts  INTEGER NOT NULL,
  timeout       INTEGER NOT NULL,
  backoff       INTEGER NOT NULL,
  absolute      INTEGER NOT NULL,
  enqueued_at   INTEGER NOT NULL,
  payload_bytes INTEGER NOT NULL,
  checksum      INTEGER NOT NULL,
  crashes_max   INTEGER NOT NULL,
  retry         TEXT,
  expires_at    INTEGER NOT NULL,
  unique_key    TEXT,
  unique_scope  INTEGER NOT NULL,
  payload       ANY
) STRICT;

CREATE TABLE status (
  id              INTEGER PRIMARY KEY,
  state           INTEGER NOT NULL,
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
  batch           INTEGER NOT NULL,  -- that of the job, for the index
  unique_held     INTEGER NOT NULL,
  gives_up_at     INTEGER,  -- expires_at of the job, while it waits, if there is one
  error           TEXT NOT NULL,
  result_checksum INTEGER,
  result          ANY
) STRICT;

-- Exactly the jobs that are ready.
CREATE TABLE ready (
  lane     INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  id       INTEGER NOT NULL,
  PRIMARY KEY (lane, priority, id)
) STRICT, WITHOUT ROWID;

-- The last lease of every job that is leased, and of some that were.
CREATE TABLE lease (
  job    INTEGER PRIMARY KEY,
  lease  INTEGER NOT NULL,
  worker INTEGER NOT NULL
) STRICT;

INSERT INTO job
SELECT id, lane, priority, batch, replay_of, max_attempts, timeout, backoff, absolute, enqueued_at,
       payload_bytes, checksum, crashes_max, retry, expires_at, unique_key, unique_scope, payload
FROM job_4 ORDER BY id;
INSERT INTO status
SELECT id, state, lease, worker, deliveries, attempts, crashes, attempts_base, crashes_base, run_at,
       started_at, finished_at, finish_seq, batch, unique_held, gives_up_at, error, result_checksum,
       result
FROM job_4
WHERE state <> 2 OR lease <> 0 OR worker <> 0 OR deliveries <> 0 OR attempts <> 0 OR crashes <> 0
      OR attempts_base <> 0 OR crashes_base <> 0 OR run_at <> enqueued_at OR started_at <> 0
      OR finished_at <> 0 OR finish_seq IS NOT NULL OR unique_held <> 0 OR gives_up_at IS NOT NULL
      OR error <> '' OR result IS NOT NULL
ORDER BY id;
INSERT INTO ready SELECT lane, priority, id FROM job_4 WHERE state = 2 ORDER BY lane, priority, id;
INSERT INTO lease SELECT id, lease, worker FROM job_4 WHERE state = 3 ORDER BY id;
DROP TABLE job_4;

-- Each is followed by the id, which SQLite keeps in every index.
CREATE INDEX status_scheduled ON status (run_at) WHERE state = 1;
CREATE INDEX status_expires ON status (gives_up_at) WHERE gives_up_at IS NOT NULL;
CREATE INDEX status_ended ON status (batch, finish_seq) WHERE finish_seq IS NOT NULL;
)sql";

// The columns are those of version 1.
constexpr const char* kViews = R"sql(
CREATE VIEW jobs AS
SELECT job.id AS id, lane.queue AS queue, lane.kind AS kind,
       CASE iif(lease.lease > coalesce(status.lease, 0), 3, coalesce(status.state, 2))
            WHEN 0 THEN 'blocked' WHEN 1 THEN 'scheduled' WHEN 2 THEN 'ready' WHEN 3 THEN 'leased'
            WHEN 4 THEN 'done' WHEN 5 THEN 'dead' WHEN 6 THEN 'cancelled' WHEN 7 THEN 'expired'
       END AS state,
       job.priority AS priority, job.payload AS payload, status.result AS result,
       nullif(status.error, '') AS error,
       coalesce(status.deliveries, 0) + coalesce(lease.lease > coalesce(status.lease, 0), 0)
         AS deliveries,
       coalesce(status.attempts, 0) AS attempts, coalesce(status.crashes, 0) AS crashes,
       nullif(job.batch, 0) AS batch, nullif(job.replay_of, 0) AS replay_of, worker.name AS worker,
       {enqueued_at} AS enqueued_at, {run_at} AS run_at, {started_at} AS started_at,
       {finished_at} AS finished_at
FROM job LEFT JOIN status ON status.id = job.id LEFT JOIN lease ON lease.job = job.id
LEFT JOIN lane ON lane.id = job.lane
LEFT JOIN worker ON worker.id =
  iif(lease.lease > coalesce(status.lease, 0), lease.worker, status.worker);

CREATE VIEW attempts AS
SELECT run.job AS job, run.attempt AS attempt, worker.name AS worker,
       {run_started_at} AS started_at, {run_finished_at} AS finished_at,
       run.outcome AS outcome, nullif(run.error, '') AS error
FROM (SELECT job, attempt, worker, started_at, finished_at, outcome, error FROM attempt
      UNION ALL
      SELECT id, attempts + crashes, worker, started_at, finished_at, 'ack', ''
      FROM status WHERE state = 4) AS run
LEFT JOIN worker ON worker.id = run.worker;
)sql";

}  // namespace

void create_5(const sqlite::Connection& connection) {
  connection.execute(kTables);
  connection.execute(
      fmt::format(kViews, fmt::arg("enqueued_at", iso("job.enqueued_at")),
                  fmt::arg("run_at", iso("coalesce(status.run_at, job.enqueued_at)")),
                  fmt::arg("started_at", iso("status.started_at")),
                  fmt::arg("finished_at", iso("status.finished_at")),
                  fmt::arg("run_started_at", iso("run.started_at")),
                  fmt::arg("run_finished_at", iso("run.finished_at"))));
}

}  // namespace millrace::broker
