#!/usr/bin/env python3
"""Checks that a database file is consistent with itself and with what producers were told.

    tests/support/audit.py FILE [--ended]

check() raises AssertionError that names every rule the file breaks.
"""

import argparse
import pathlib
import sqlite3
import sys

STATES = ("blocked", "scheduled", "ready", "leased", "done", "dead", "cancelled", "expired")
FINAL = ("done", "dead", "cancelled", "expired")
OUTCOMES = ("ack", "nack", "reject", "timeout", "crash")

# Each question lists what must not be there.
RULES = {
    "a job has a state that does not exist":
        f"SELECT id, state FROM jobs WHERE state IS NULL OR state NOT IN {STATES}",
    "a lane's counters differ from its jobs":
        "SELECT * FROM (SELECT lane.id, lane.queue, lane.kind, {lane_counters}, {job_counters}"
        " FROM lane LEFT JOIN job ON job.lane = lane.id GROUP BY lane.id) WHERE {lane_differs}",
    "the view `queues` differs from the jobs":
        "SELECT * FROM (SELECT q.queue, {queue_counters}, {view_counters} FROM queues AS q"
        " LEFT JOIN jobs ON jobs.queue = q.queue GROUP BY q.queue) WHERE {queue_differs}",
    # A batch counts all its jobs for ever, also those that retention has deleted.
    "a batch's own counters do not add up":
        "SELECT * FROM batches WHERE total <> open + done + dead + cancelled + expired",
    "a batch's counters differ from its jobs":
        "SELECT b.batch, b.total, b.open, b.done, b.dead, b.cancelled, b.expired, count(jobs.id)"
        " FROM batches AS b LEFT JOIN jobs ON jobs.batch = b.batch GROUP BY b.batch"
        " HAVING count(jobs.id) = b.total AND ("
        "  b.open <> coalesce(sum(state IN ('blocked','scheduled','ready','leased')), 0)"
        "  OR b.done <> coalesce(sum(state = 'done'), 0)"
        "  OR b.dead <> coalesce(sum(state = 'dead'), 0)"
        "  OR b.cancelled <> coalesce(sum(state = 'cancelled'), 0)"
        "  OR b.expired <> coalesce(sum(state = 'expired'), 0))",
    "a batch has more jobs than it counts, or too few open ones":
        "SELECT b.batch, b.total, b.open, count(jobs.id) FROM batches AS b"
        " LEFT JOIN jobs ON jobs.batch = b.batch GROUP BY b.batch"
        " HAVING count(jobs.id) > b.total"
        "  OR b.open <> coalesce(sum(state IN ('blocked','scheduled','ready','leased')), 0)",
    # A job that was enqueued alone is its own batch and has no row there.
    "a job names a batch that does not exist":
        "SELECT id, batch FROM jobs"
        " WHERE batch <> id AND batch NOT IN (SELECT batch FROM batches)",
    "an open job has an end, or an ended one has none":
        f"SELECT id, state, finish_seq, finished_at FROM job"
        " WHERE (state >= 4) <> (finish_seq IS NOT NULL) OR (state >= 4) <> (finished_at <> 0)",
    "two jobs ended at the same cursor":
        "SELECT finish_seq, count(*) FROM job WHERE finish_seq IS NOT NULL GROUP BY 1"
        " HAVING count(*) > 1",
    "ids or cursors lie above the high-water marks":
        "SELECT last_job, last_finish, (SELECT max(id) FROM job), (SELECT max(finish_seq) FROM job)"
        " FROM meta WHERE last_job < coalesce((SELECT max(id) FROM job), 0)"
        " OR last_finish < coalesce((SELECT max(finish_seq) FROM job), 0)",
    "a leased job has no lease or no worker":
        "SELECT id, lease, worker FROM job WHERE state = 3 AND (lease = 0 OR worker NOT IN"
        " (SELECT id FROM worker))",
    "two jobs hold the same lease":
        "SELECT lease, count(*) FROM job WHERE state = 3 GROUP BY lease HAVING count(*) > 1",
    "a done job was never tried":
        "SELECT id, attempts, deliveries FROM jobs WHERE state = 'done'"
        " AND (attempts < 1 OR deliveries < 1)",
    "a job was tried more often than it was given out":
        "SELECT id, attempts, crashes, deliveries FROM jobs WHERE attempts + crashes > deliveries",
    "a job's attempts differ from the rows of its runs":
        "SELECT jobs.id, jobs.state, jobs.attempts, jobs.crashes, count(run.job) AS runs,"
        " total(run.outcome = 'crash') AS lost FROM jobs"
        " LEFT JOIN attempts AS run ON run.job = jobs.id GROUP BY jobs.id"
        " HAVING runs <> jobs.attempts + jobs.crashes OR lost <> jobs.crashes",
    "runs of a job are not numbered 1, 2, 3 …":
        "SELECT job, count(*), min(attempt), max(attempt) FROM attempts GROUP BY job"
        " HAVING min(attempt) <> 1 OR max(attempt) <> count(*)"
        "  OR count(DISTINCT attempt) <> count(*)",
    "a run has an outcome that does not exist":
        f"SELECT job, attempt, outcome FROM attempts WHERE outcome NOT IN {OUTCOMES}",
    "a job has two outcomes, or is done without an ack":
        "SELECT jobs.id, jobs.state, total(run.outcome = 'ack') AS acks FROM jobs"
        " LEFT JOIN attempts AS run ON run.job = jobs.id GROUP BY jobs.id"
        " HAVING acks <> (jobs.state = 'done')",
    "a run ended before it started":
        "SELECT job, attempt, started_at, finished_at FROM attempts WHERE finished_at < started_at",
    "a run belongs to no job":
        "SELECT job FROM attempt WHERE job NOT IN (SELECT id FROM job)",
    "a done job carries an error, or another carries a result":
        "SELECT id, state, error FROM jobs WHERE (state = 'done' AND error IS NOT NULL)"
        " OR (state <> 'done' AND result IS NOT NULL)",
    "a drained queue has open jobs":
        "SELECT queue FROM queues WHERE state = 'drained'"
        " AND blocked + scheduled + ready + leased > 0",
    "a replayed job names no earlier job":
        "SELECT id, replay_of FROM jobs WHERE replay_of IS NOT NULL AND replay_of >= id",
}


def _expand(sql):
    if "{" not in sql:
        return sql
    numbered = list(enumerate(STATES))
    return sql.format(
        lane_counters=", ".join(f"lane.{s} AS l_{s}" for s in STATES),
        job_counters=", ".join(f"total(job.state = {n}) AS j_{s}" for n, s in numbered),
        lane_differs=" OR ".join(f"l_{s} <> j_{s}" for s in STATES),
        queue_counters=", ".join(f"q.{s} AS q_{s}" for s in STATES),
        view_counters=", ".join(f"total(jobs.state = '{s}') AS v_{s}" for s in STATES),
        queue_differs=" OR ".join(f"q_{s} <> v_{s}" for s in STATES),
    )


def _problems(connection, acknowledged, ended, final):
    for name, sql in RULES.items():
        rows = connection.execute(_expand(sql)).fetchmany(5)
        if rows:
            yield f"{name}: {rows}"
    (verdict,) = connection.execute("PRAGMA quick_check").fetchone()
    if verdict != "ok":
        yield f"SQLite finds the file damaged: {verdict}"
    if ended:
        rows = connection.execute(
            f"SELECT id, state FROM jobs WHERE state NOT IN {FINAL}").fetchmany(5)
        if rows:
            yield f"jobs have not ended: {rows}"
    if acknowledged is None:
        return
    known = list(acknowledged)
    if len(known) != len(set(known)):
        yield "an id was acknowledged twice"
    states = dict(connection.execute("SELECT id, state FROM jobs"))
    lost = sorted(job for job in set(known) if job not in states)
    if lost:
        yield f"{len(lost)} acknowledged jobs are not in the file: {lost[:5]}"
    if final:
        wrong = [(j, states[j]) for j in set(known) if j in states and states[j] not in final]
        if wrong:
            yield f"{len(wrong)} acknowledged jobs are not {' or '.join(final)}: {wrong[:5]}"


def check(path, acknowledged=None, ended=False, final=()):
    """Checks the file at `path`.

    acknowledged: ids that producers were given; each must be in the file once.
    ended: no job may be open, leased ones included.
    final: states one of which each acknowledged job must have reached.
    """
    uri = f"{pathlib.Path(path).resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=10)
    try:
        # All questions see one state of the file, also while a broker writes to it.
        connection.execute("BEGIN")
        problems = list(_problems(connection, acknowledged, ended, final))
    finally:
        connection.close()
    if problems:
        raise AssertionError(f"audit of {path}:\n  " + "\n  ".join(problems))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--ended", action="store_true", help="every job must have ended")
    options = parser.parse_args()
    try:
        check(options.file, ended=options.ended)
    except AssertionError as problem:
        print(problem)
        return 1
    print(f"{options.file}: no problems")
    return 0


if __name__ == "__main__":
    sys.exit(main())
