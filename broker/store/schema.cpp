#include "broker/store/schema.h"

#include <fmt/format.h>

#include <array>

#include "broker/store/schema_steps.h"

namespace millrace::broker {
namespace {

// The numbers below are stored; the enumeration must not move under them.
static_assert(static_cast<int>(JobState::blocked) == 0);
static_assert(static_cast<int>(JobState::scheduled) == 1);
static_assert(static_cast<int>(JobState::ready) == 2);
static_assert(static_cast<int>(JobState::leased) == 3);
static_assert(static_cast<int>(JobState::done) == 4);
static_assert(static_cast<int>(JobState::dead) == 5);
static_assert(static_cast<int>(JobState::cancelled) == 6);
static_assert(static_cast<int>(JobState::expired) == 7);
static_assert(static_cast<int>(QueueState::open) == 0);
static_assert(static_cast<int>(QueueState::closed) == 1);
static_assert(static_cast<int>(QueueState::drained) == 2);

// Times and durations are milliseconds, 0 where there is none. 0 costs no byte in a row.
// `payload` and `result` come last, so that no scan has to walk over them.
constexpr const char* kTables1 = R"sql(
CREATE TABLE meta (
  id          INTEGER PRIMARY KEY CHECK (id = 1),
  epoch       INTEGER NOT NULL,
  last_job    INTEGER NOT NULL,
  last_finish INTEGER NOT NULL,
  last_worker INTEGER NOT NULL,
  clean       INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0, 0, 1);

CREATE TABLE queue (
  name       TEXT PRIMARY KEY,
  state      INTEGER NOT NULL,
  paused     INTEGER NOT NULL,
  generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lane (
  id        INTEGER PRIMARY KEY,
  queue     TEXT NOT NULL,
  kind      TEXT NOT NULL,
  blocked   INTEGER NOT NULL DEFAULT 0 CHECK (blocked >= 0),
  scheduled INTEGER NOT NULL DEFAULT 0 CHECK (scheduled >= 0),
  ready     INTEGER NOT NULL DEFAULT 0 CHECK (ready >= 0),
  leased    INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
  done      INTEGER NOT NULL DEFAULT 0 CHECK (done >= 0),
  dead      INTEGER NOT NULL DEFAULT 0 CHECK (dead >= 0),
  cancelled INTEGER NOT NULL DEFAULT 0 CHECK (cancelled >= 0),
  expired   INTEGER NOT NULL DEFAULT 0 CHECK (expired >= 0),
  UNIQUE (queue, kind)
) STRICT;

CREATE TABLE batch (
  id         INTEGER PRIMARY KEY,
  sealed     INTEGER NOT NULL,
  owner      BLOB NOT NULL,
  total      INTEGER NOT NULL,
  open       INTEGER NOT NULL,
  done       INTEGER NOT NULL,
  dead       INTEGER NOT NULL,
  cancelled  INTEGER NOT NULL,
  expired    INTEGER NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX batch_live ON batch (id) WHERE sealed = 0 OR open > 0;

CREATE TABLE worker (
  id           INTEGER PRIMARY KEY,
  session      BLOB NOT NULL,
  name         TEXT NOT NULL,
  host         TEXT NOT NULL,
  pid          INTEGER NOT NULL,
  connected_at INTEGER NOT NULL,
  left_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE request (
  prefix    INTEGER NOT NULL,
  counter   INTEGER NOT NULL,
  body_hash INTEGER NOT NULL,
  batch     INTEGER NOT NULL,
  first     INTEGER NOT NULL,
  count     INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  replay_of BLOB,
  PRIMARY KEY (prefix, counter)
) STRICT, WITHOUT ROWID;

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
  error           TEXT NOT NULL,
  payload         ANY,
  result          ANY
) STRICT;
-- Each is followed by the id, which SQLite keeps in every index.
CREATE INDEX job_ready ON job (lane, priority) WHERE state = 2;
CREATE INDEX job_scheduled ON job (run_at) WHERE state = 1;
CREATE INDEX job_leased ON job (lease) WHERE state = 3;
CREATE INDEX job_ended ON job (batch, finish_seq) WHERE finish_seq IS NOT NULL;

CREATE TABLE attempt (
  job         INTEGER NOT NULL,
  attempt     INTEGER NOT NULL,
  worker      INTEGER NOT NULL,
  started_at  INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  outcome     TEXT NOT NULL,
  error       TEXT NOT NULL,
  PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
)sql";

// For people and their scripts: words instead of numbers, NULL for what is not there.
constexpr const char* kViews1 = R"sql(
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

CREATE VIEW queues AS
SELECT name.queue AS queue,
       CASE coalesce(queue.state, 0) WHEN 0 THEN 'open' WHEN 1 THEN 'closed'
                                     WHEN 2 THEN 'drained' END AS state,
       coalesce(queue.paused, 0) AS paused, coalesce(queue.generation, 1) AS generation,
       coalesce(sum(lane.blocked), 0) AS blocked, coalesce(sum(lane.scheduled), 0) AS scheduled,
       coalesce(sum(lane.ready), 0) AS ready, coalesce(sum(lane.leased), 0) AS leased,
       coalesce(sum(lane.done), 0) AS done, coalesce(sum(lane.dead), 0) AS dead,
       coalesce(sum(lane.cancelled), 0) AS cancelled, coalesce(sum(lane.expired), 0) AS expired
FROM (SELECT name AS queue FROM queue UNION SELECT queue FROM lane) AS name
LEFT JOIN queue ON queue.name = name.queue
LEFT JOIN lane ON lane.queue = name.queue
GROUP BY name.queue;

CREATE VIEW batches AS
SELECT batch.id AS batch, batch.sealed AS sealed, batch.total AS total, batch.open AS open,
       batch.done AS done, batch.dead AS dead, batch.cancelled AS cancelled,
       batch.expired AS expired, {batch_created_at} AS created_at
FROM batch;
)sql";

void create_1(const sqlite::Connection& connection) {
  connection.execute(kTables1);
  connection.execute(fmt::format(kViews1, fmt::arg("enqueued_at", iso("job.enqueued_at")),
                                 fmt::arg("run_at", iso("job.run_at")),
                                 fmt::arg("started_at", iso("job.started_at")),
                                 fmt::arg("finished_at", iso("job.finished_at")),
                                 fmt::arg("run_started_at", iso("run.started_at")),
                                 fmt::arg("run_finished_at", iso("run.finished_at")),
                                 fmt::arg("batch_created_at", iso("batch.created_at"))));
}

using Step = void (*)(const sqlite::Connection&);
// Step n makes version n out of version n−1.
constexpr std::array<Step, kSchemaVersion> kSteps = {create_1, create_2, create_3,
                                                     create_4, create_5, create_6};

}  // namespace

std::string iso(const char* column) {
  return fmt::format("strftime('%Y-%m-%dT%H:%M:%fZ', nullif({}, 0) / 1000.0, 'unixepoch')", column);
}

void migrate(const sqlite::Connection& connection) {
  auto version = static_cast<std::size_t>(connection.integer("PRAGMA user_version"));
  while (version < kSteps.size()) {
    sqlite::Transaction transaction(connection, sqlite::Transaction::Kind::write);
    kSteps.at(version)(connection);
    ++version;
    connection.execute(fmt::format("PRAGMA application_id = {}", kApplicationId));
    connection.execute(fmt::format("PRAGMA user_version = {}", version));
    transaction.commit();
  }
}

}  // namespace millrace::broker
