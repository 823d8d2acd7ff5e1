"""Scenes in which a worker or a producer dies.

A worker that dies costs the runs it had begun one crash each, and nothing else. What a producer had
sent is enqueued whole or not at all; what it had been told is there.
"""

import pathlib
import signal
import sys

from crash_stage import at
from millrace_testing import wait_for

JOBS = 20
LINES = "".join(f"{n}\n" for n in range(JOBS))


# ---- a worker that holds no result

@at("worker.before_offer", "worker.before_resume", "worker.after_resume")
def worker_connects(s):
    "a worker connects; jobs are ready"
    ids = s.enqueue_many(s.b, "echo", range(4))
    s.arm()
    s.dies(s.crew(doomed=True))
    s.crew()
    # After RESUME there may have been credit, but the worker had read no JOBS.
    s.ends("done", *ids, deliveries=(1, 2))


@at("worker.before_resume", "worker.after_resume")
def worker_reconnects(s):
    "a worker with a running job comes back to a new broker"
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": 20_000})
    wait_for(lambda: s.b.job(job)["started_at"])
    s.arm()
    s.b.kill()
    s.b = s.broker_again(s.b)
    s.dies(worker)
    s.good(s.b, "job", "cancel", job)
    s.ends("cancelled", job, attempts=0, crashes=(0, 1), deliveries=(1,))


@at("worker.after_delivery", "worker.before_started")
def worker_holds_leases(s):
    "leased jobs, none of them started"
    s.arm()
    worker = s.crew("--io-threads", "3", doomed=True, connected=True)
    ids = s.enqueue_many(s.b, "sleep", [{"ms": 10}] * 3)
    s.dies(worker)
    s.crew()
    s.ends("done", *ids)


@at("worker.after_started", "worker.before_handler")
def worker_starts(s):
    "a job that has just started"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": 10})
    s.dies(worker)
    s.crew()
    # STARTED may have been on its way.
    s.ends("done", job, crashes=(0, 1), deliveries=(2,))


CHILDREN = {"worker.before_child_enqueue": (3,),
            "worker.after_child_enqueue_sent": (3, 6),
            "worker.after_child_enqueued": (6,)}


@at(*CHILDREN)
def worker_enqueues(s):
    "a running job enqueues further jobs"
    program = pathlib.Path(__file__).resolve().parents[1] / "support" / "stdio_child.py"
    kind = ("--kind", f"nasty={sys.executable} -B {program}", "--executor", "nasty=process:1")
    s.arm()
    worker = s.crew(*kind, doomed=True, connected=True)
    job = s.enqueue(s.b, "nasty", {"do": "enqueue", "count": 3})
    s.dies(worker)
    s.crew(*kind)
    # The broker may not have heard that the run had begun.
    s.ends("done", job, crashes=(0, 1), deliveries=(2,))
    # Those of the run that was lost are there whole, or not at all.
    children = [id for id, in s.b.query("SELECT id FROM jobs WHERE batch = ? AND id <> ?", job, job)]
    s.assertIn(len(children), CHILDREN[s.point])
    s.ends("done", *children, deliveries=(1, 2))
    rows = s.good(s.b, "results", job, "--output", "jsonl").rows()
    s.assertEqual(sorted(row["job"] for row in rows), sorted([job, *children]))
    s.acknowledged = s.jobs()


@at("worker.before_revoke")
def worker_cancels(s):
    "a running job that is cancelled"
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": 60_000})
    s.wait_for_state(s.b, job, "leased")
    s.arm()
    s.good(s.b, "job", "cancel", job)
    s.dies(worker)
    s.crew()
    s.ends("cancelled", job, attempts=0, deliveries=(1,))


# ---- a worker that holds a result

@at("worker.after_handler", "worker.before_outcome")
def worker_has_result(s):
    "a run that ended well, untold"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": 500})
    s.dies(worker)
    s.crew()
    s.ends("done", job, crashes=1, deliveries=(2,))


@at("worker.before_outcome")
def worker_has_timeout(s):
    "a run over its timeout, untold"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": 60_000}, "--timeout", "500ms", "--max-attempts", "1")
    s.dies(worker)
    s.crew()
    # The broker itself may have ended the attempt at its timeout: then that is what is recorded.
    s.ends("dead", job, crashes=(0, 1))


@at("worker.after_outcome")
def worker_told_done(s):
    "ACK sent"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": 500})
    s.dies(worker)
    s.crew()
    s.ends("done", job, crashes=(0, 1))


@at("worker.after_outcome")
def worker_told_retry(s):
    "NACK sent"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "fail", {"times": 1})
    s.dies(worker)
    s.crew()
    # It arrived, or STARTED alone did, or neither.
    s.ends("done", job, attempts=2, crashes=(0, 1), deliveries=(2, 3))


@at("worker.after_outcome")
def worker_told_dead(s):
    "REJECT sent"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": -1})
    s.dies(worker)
    s.crew()
    s.ends("dead", job, crashes=(0, 1))


@at("worker.before_settled", "worker.after_settled")
def worker_settled_done(s):
    "SETTLED came for an ACK"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "echo", 1)
    s.dies(worker)
    s.crew()
    s.ends("done", job, deliveries=(1,))


@at("worker.before_settled", "worker.after_settled")
def worker_settled_retry(s):
    "SETTLED came for a NACK; the job waits for its retry"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "fail", {"times": 1})
    s.dies(worker)
    s.crew()
    # The retry may have been given to the dead worker, too late to be sent.
    s.ends("done", job, attempts=2, deliveries=(2, 3))


@at("worker.before_settled", "worker.after_settled")
def worker_settled_dead(s):
    "SETTLED came for a REJECT"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "sleep", {"ms": -1})
    s.dies(worker)
    s.crew()
    s.ends("dead", job, deliveries=(1,))


# ---- a worker that leaves

@at("worker.before_release", "worker.after_release")
def worker_releases(s):
    "SIGTERM: one job runs, others wait for a thread"
    worker = s.crew("--io-threads", "1", doomed=True, connected=True)
    s.ends("done", *s.enqueue_many(s.b, "echo", range(300)))
    # With a timeout, or they would all stand in the one slot, since the echoes were short.
    running, *waiting = s.enqueue_many(s.b, "sleep", [{"ms": 1500}] + [{"ms": 1}] * 10,
                                       "--timeout", "1m")
    wait_for(lambda: s.b.states().get("leased", 0) > 5)
    s.arm()
    worker.signal(signal.SIGTERM)
    s.dies(worker)
    s.crew()
    s.ends("done", running, crashes=(0, 1), deliveries=(2,))
    # What was given back may have been sent to the one that leaves once more, on its last credit.
    s.ends("done", *waiting, deliveries=(1, 2, 3))


@at("worker.before_bye")
def worker_leaves(s):
    "the queue is drained"
    s.arm()
    worker = s.crew(doomed=True, connected=True)
    job = s.enqueue(s.b, "echo", 1)
    s.good(s.b, "close", "default", "--wait")
    s.dies(worker)
    s.ends("done", job, deliveries=(1,))
    s.assertEqual(s.b.query("SELECT state, generation FROM queues WHERE queue = 'default'"),
                  [("drained", 1)])


# ---- a producer

def whole_or_nothing(s, counts, told_counts=(0,)):
    """How many jobs there are, and how many of them the producer that died had printed.

    What it never printed may be there all the same: nobody was told.
    """
    s.assertIn(len(s.jobs()), counts)
    s.assertIn(len(s.acknowledged), told_counts)
    s.assertLessEqual(set(s.acknowledged), set(s.jobs()))
    s.acknowledged = s.jobs()


def batch_ends(s):
    """Nobody will seal it, so it ends with its producer: whoever watches it is told so."""
    if s.acknowledged:
        rows = s.good(s.b, "results", s.acknowledged[0], "--output", "jsonl").rows()
        s.assertEqual(sorted(row["job"] for row in rows), sorted(s.acknowledged))


ENQUEUE = ("producer.before_enqueue", "producer.after_enqueue_sent", "producer.after_enqueued",
           "producer.after_told")
COUNTS = {"producer.before_enqueue": ((0,), (0,)),
          "producer.after_enqueue_sent": ((0, JOBS), (0,)),
          "producer.after_enqueued": ((JOBS,), (0,)),
          "producer.after_told": ((JOBS,), (JOBS,))}


def enqueue_and_die(s, *options):
    s.arm()
    producer = s.doomed_producer("enqueue", "echo", "-", "--output", "jsonl", *options, text=LINES)
    s.dies(producer)
    s.told(producer)
    # What it had sent may still be on its way; a request that follows it has passed it by then.
    s.good(s.b, "status")
    whole_or_nothing(s, *COUNTS[s.point])


@at(*ENQUEUE)
def producer_enqueues_ready(s):
    "jobs that become ready"
    enqueue_and_die(s)
    s.crew()
    s.ends("done", *s.acknowledged, deliveries=(1,))
    batch_ends(s)


@at(*ENQUEUE)
def producer_enqueues_scheduled(s):
    "jobs that are scheduled"
    enqueue_and_die(s, "--delay", "1s")
    s.crew()
    s.ends("done", *s.acknowledged, deliveries=(1,))
    batch_ends(s)


@at(*ENQUEUE)
def producer_enqueues_leased(s):
    "jobs that a worker runs at once"
    s.crew()
    enqueue_and_die(s)
    s.ends("done", *s.acknowledged, deliveries=(1,))
    batch_ends(s)


@at("producer.before_seal", "producer.after_seal_sent")
def producer_seals(s):
    "the end of the input, after the jobs"
    s.arm()
    producer = s.start_producer(s.b, "enqueue", "echo", "-", "--output", "jsonl",
                                environment=s.crash, stdin=-1)
    producer.popen.stdin.write(LINES.encode())
    producer.popen.stdin.flush()
    producer.wait_for_line("ids", out=True)
    producer.popen.stdin.close()
    s.dies(producer)
    s.told(producer)
    s.assertEqual(len(s.acknowledged), JOBS)
    s.crew()
    s.ends("done", *s.acknowledged, deliveries=(1,))
    batch_ends(s)


@at("producer.after_results")
def producer_watches(s):
    "results of a batch"
    s.crew()
    s.arm()
    producer = s.doomed_producer("enqueue", "sleep", "-", "--wait", "--output", "jsonl",
                                 text='{"ms": 30}\n' * JOBS)
    s.dies(producer)
    s.acknowledged = s.jobs()
    s.assertEqual(len(s.acknowledged), JOBS)
    s.ends("done", *s.acknowledged, deliveries=(1,))
    batch_ends(s)


COMMAND = ("producer.before_command", "producer.after_command_sent", "producer.after_command")


def command(s, *words, effect):
    """A command whose producer dies, and the same once more; `effect()` is true when it worked.

    The second copy is told `refused` (exit code 1) if the first was carried out.
    """
    s.arm()
    s.dies(s.doomed_producer(*words))
    s.good(s.b, "status")
    if s.point != "producer.after_command_sent":
        s.assertEqual(bool(effect()), s.point == "producer.after_command")
    again = s.producer(s.b, *words)
    s.assertIn(again.code, (0, 1), again)
    s.assertTrue(effect())


@at(*COMMAND)
def producer_cancels_ready(s):
    "CANCEL of a ready job"
    job = s.enqueue(s.b, "echo", 1)
    command(s, "job", "cancel", job, effect=lambda: s.b.job(job)["state"] == "cancelled")
    s.ends("cancelled", job, attempts=0, deliveries=(0,))


@at(*COMMAND)
def producer_cancels_running(s):
    "CANCEL of a running job"
    s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 60_000})
    s.wait_for_state(s.b, job, "leased")
    command(s, "job", "cancel", job, effect=lambda: s.b.job(job)["state"] == "cancelled")
    s.ends("cancelled", job, attempts=0, deliveries=(1,))


@at(*COMMAND)
def producer_redrives(s):
    "REDRIVE of a dead job"
    worker = s.crew()
    job = s.enqueue(s.b, "fail", {"times": 1}, "--max-attempts", "1")
    s.ends("dead", job)
    worker.signal(signal.SIGTERM)
    s.finished(worker)
    command(s, "job", "redrive", job, effect=lambda: s.b.job(job)["state"] == "ready")
    s.crew()
    s.ends("done", job, attempts=2, deliveries=(2,))


@at(*COMMAND)
def producer_replays(s):
    "REPLAY of a done job"
    s.crew()
    job = s.enqueue(s.b, "echo", 1)
    s.ends("done", job)
    s.arm()
    s.dies(s.doomed_producer("replay", "--id", job, "--output", "jsonl"))
    s.good(s.b, "status")
    # Another run of the command is another replay; what matters is that none is half done.
    whole_or_nothing(s, (1, 2), (1,))
    s.ends("done", *s.acknowledged, deliveries=(1,))


@at(*COMMAND)
def producer_closes(s):
    "CLOSE of a queue with a running job"
    worker = s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 1000})
    s.wait_for_state(s.b, job, "leased")
    command(s, "close", "default",
            effect=lambda: s.b.query("SELECT 1 FROM queues WHERE queue = 'default'"
                                     " AND state <> 'open'"))
    s.finished(worker)
    s.ends("done", job, deliveries=(1,))
    s.assertEqual(s.b.query("SELECT state, generation FROM queues WHERE queue = 'default'"),
                  [("drained", 1)])
