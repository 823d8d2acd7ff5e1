"""Scenes in which the broker dies. Workers and producers live on and come back by themselves.

So whatever the moment: what was acknowledged is there once, no run is charged for the crash, and
no job runs twice. A lease that was committed and never sent counts as a delivery more.
"""

import json

from crash_stage import at
from millrace_testing import feed, now, wait_for

COMMIT = ("broker.before_commit", "broker.in_transaction", "broker.after_commit")
REPLY = (*COMMIT, "broker.before_reply", "broker.after_reply")
LEASE = (*REPLY, "broker.after_lease_sent")
JOBS = 20
LINES = "".join(f"{n}\n" for n in range(JOBS))


# ---- into the queue

@at(*REPLY)
def enqueue_ready(s):
    "ENQUEUE of jobs that become ready"
    s.arm()
    producer = s.start_producer(s.b, "enqueue", "echo", "-", "--output", "jsonl", stdin=-1)
    feed(producer, LINES)
    s.broker_dies()
    ids = s.told(s.finished(producer))
    s.assertEqual(len(ids), JOBS)
    s.assertEqual({s.b.job(job)["state"] for job in ids}, {"ready"})
    s.crew()
    s.ends("done", *ids, deliveries=(1,))


@at(*REPLY)
def enqueue_scheduled(s):
    "ENQUEUE of a job that is scheduled"
    s.arm()
    began = now()
    producer = s.start_producer(s.b, "enqueue", "echo", "1", "--delay", "2s", "--output", "jsonl")
    s.broker_dies()
    (job,) = s.told(s.finished(producer))
    s.crew()
    s.ends("done", job, deliveries=(1,))
    s.assertGreater(now() - began, 1.9)


@at(*LEASE)
def enqueue_leased(s):
    "ENQUEUE of a job that an idle worker gets in the same transaction"
    s.crew()
    s.arm()
    producer = s.start_producer(s.b, "enqueue", "echo", "1", "--output", "jsonl")
    s.broker_dies()
    s.ends("done", *s.told(s.finished(producer)))


@at(*COMMIT)
def becomes_ready(s):
    "a scheduled job becomes ready"
    job = s.enqueue(s.b, "echo", 1, "--delay", "1s")
    s.arm()
    s.broker_dies()
    s.wait_for_state(s.b, job, "ready")
    s.crew()
    s.ends("done", job, deliveries=(1,))


@at(*COMMIT)
def expires(s):
    "a job has waited for too long"
    job = s.enqueue(s.b, "echo", 1, "--expires", "1s")
    s.arm()
    s.broker_dies()
    s.ends("expired", job, attempts=0, deliveries=(0,))


# ---- leases and runs

@at(*LEASE)
def scheduled_to_leased(s):
    "a scheduled job is due and goes to a worker"
    s.crew()
    job = s.enqueue(s.b, "echo", 1, "--delay", "1s")
    s.arm()
    s.broker_dies()
    s.ends("done", job)


@at(*LEASE)
def ready_to_leased(s):
    "ready jobs of a paused queue go to a worker when it is resumed"
    s.good(s.b, "queue", "pause", "default")
    ids = s.enqueue_many(s.b, "sleep", [{"ms": 50}] * 4)
    s.crew("--io-threads", "2")
    s.arm()
    resume = s.start_producer(s.b, "queue", "resume", "default")
    s.broker_dies()
    s.finished(resume)
    s.ends("done", *ids)


@at(*COMMIT)
def starts(s):
    "STARTED of a job that has run for a second is recorded"
    s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 2500})
    s.wait_for_state(s.b, job, "leased")
    s.arm()
    s.broker_dies()
    s.ends("done", job, deliveries=(1,))


@at("broker.before_start_epoch", "broker.during_start_epoch", "broker.after_start_epoch")
def starts_again(s):
    "it starts over jobs in every state"
    jobs = every_state(s)
    s.b.kill()
    s.arm()
    s.dies(s.doomed_broker())
    s.b = s.broker_again(s.b)
    every_state_ends(s, *jobs)


@at("broker.before_stop", "broker.before_stop_checkpoint", "broker.after_stop_checkpoint")
def stops(s):
    "it stops on SIGTERM over jobs in every state"
    jobs = every_state(s)
    s.arm()
    s.b.signal(15)
    s.broker_dies()
    every_state_ends(s, *jobs)


def every_state(s):
    """A job in each state that one can be in; none is lost when the broker ends now."""
    s.crew("--io-threads", "2")
    # Short jobs teach the worker to take more than it has threads for.
    s.ends("done", *s.enqueue_many(s.b, "echo", range(300)))
    dead = s.enqueue(s.b, "sleep", {"ms": -1})
    s.ends("dead", dead)
    retried_later = s.enqueue(s.b, "fail", {"times": 1})
    s.wait_for_state(s.b, retried_later, "scheduled")
    running = s.enqueue_many(s.b, "sleep", [{"ms": 400}, {"ms": 3000}])
    waiting = s.enqueue_many(s.b, "sleep", [{"ms": 10}] * 3)
    delayed = s.enqueue(s.b, "echo", 1, "--delay", "2s")
    cancelled = s.enqueue(s.b, "echo", 1, "--delay", "1h")
    s.good(s.b, "job", "cancel", cancelled)
    return dead, retried_later, running + waiting + [delayed], cancelled


def every_state_ends(s, dead, retried_later, done_in_the_end, cancelled):
    s.ends("dead", dead, deliveries=(1,))
    s.ends("done", *done_in_the_end)
    s.ends("done", retried_later, attempts=2, deliveries=(2, 3))
    s.ends("cancelled", cancelled, attempts=0, deliveries=(0,))


# ---- outcomes

@at(*REPLY)
def done(s):
    "ACK: a running job is done"
    s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 2000})
    s.wait_for_state(s.b, job, "leased")
    s.arm()
    s.broker_dies()
    s.ends("done", job, deliveries=(1,))


@at(*REPLY)
def gives_key_back(s):
    "ACK of a job with a unique key, which is free from then on"
    s.crew()
    words = ("sleep", {"ms": 2000}, "--unique-key", "only-one")
    job = s.enqueue(s.b, *words)
    s.wait_for_state(s.b, job, "leased")
    s.arm()
    s.broker_dies()
    s.ends("done", job, deliveries=(1,))
    again = s.enqueue(s.b, *words)
    s.assertGreater(again, job)
    s.ends("done", again)


@at(*REPLY, count=2)
def retried(s):
    "NACK: a running job waits for its retry"
    s.crew()
    s.arm()
    producer = s.start_producer(s.b, "enqueue", "fail", '{"times": 1}', "--output", "jsonl")
    s.broker_dies()
    s.ends("done", *s.told(s.finished(producer)), attempts=2, deliveries=(2, 3))


@at(*REPLY, count=2)
def dead_by_attempts(s):
    "NACK: the last attempt fails"
    s.crew()
    s.arm()
    producer = s.start_producer(s.b, "enqueue", "fail", "--max-attempts", "1", "--output", "jsonl")
    s.broker_dies()
    s.ends("dead", *s.told(s.finished(producer)))


@at(*REPLY, count=2)
def rejected(s):
    "REJECT: a job is dead at once"
    s.crew()
    s.arm()
    producer = s.start_producer(s.b, "enqueue", "sleep", '{"ms": -1}', "--output", "jsonl")
    s.broker_dies()
    s.ends("dead", *s.told(s.finished(producer)))


@at(*REPLY)
def timed_out(s):
    "a run is over its timeout"
    s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 60_000}, "--timeout", "700ms", "--max-attempts", "1")
    s.wait_for_state(s.b, job, "leased")
    s.arm()
    s.broker_dies()
    s.ends("dead", job, deliveries=(1,))


@at(*REPLY)
def released(s):
    "RELEASE: a worker that leaves gives back what it has not started"
    leaver = s.crew("--io-threads", "1")
    s.ends("done", *s.enqueue_many(s.b, "echo", range(300)))
    ids = s.enqueue_many(s.b, "sleep", [{"ms": 1500}] + [{"ms": 1}] * 10)
    wait_for(lambda: s.b.states().get("leased", 0) > 5)
    s.arm()
    leaver.signal(15)
    s.broker_dies()
    s.crew()
    s.ends("done", *ids, deliveries=(1, 2, 3))


# ---- commands

def command(s, *words, codes=(0, 1)):
    """A command over which the broker dies.

    It is sent again, and told `refused` (exit code 1) if its first copy was carried out.
    """
    s.arm()
    producer = s.start_producer(s.b, *words)
    s.broker_dies()
    s.assertIn(producer.wait(), codes, producer.name)
    return producer


@at(*REPLY)
def cancelled_scheduled(s):
    "CANCEL of a scheduled job"
    job = s.enqueue(s.b, "echo", 1, "--delay", "1h")
    command(s, "job", "cancel", job)
    s.ends("cancelled", job, attempts=0, deliveries=(0,))


@at(*REPLY)
def cancelled_ready(s):
    "CANCEL of a ready job"
    job = s.enqueue(s.b, "echo", 1)
    command(s, "job", "cancel", job)
    s.ends("cancelled", job, attempts=0, deliveries=(0,))


@at(*REPLY)
def cancelled_running(s):
    "CANCEL of a running job"
    s.crew("--io-threads", "1")
    job = s.enqueue(s.b, "sleep", {"ms": 60_000})
    s.wait_for_state(s.b, job, "leased")
    command(s, "job", "cancel", job)
    s.ends("cancelled", job, attempts=0, deliveries=(1,))
    # Its thread is free again.
    s.ends("done", s.enqueue(s.b, "echo", 1), deliveries=(1,))


@at(*REPLY)
def redriven(s):
    "REDRIVE of a dead job"
    worker = s.crew()
    job = s.enqueue(s.b, "fail", {"times": 1}, "--max-attempts", "1")
    s.ends("dead", job)
    worker.signal(15)
    s.finished(worker)
    command(s, "job", "redrive", job)
    s.assertEqual(s.b.job(job)["state"], "ready")
    s.crew()
    s.ends("done", job, attempts=2, deliveries=(2,))


@at(*REPLY)
def replayed(s):
    "REPLAY of a done job"
    worker = s.crew()
    job = s.enqueue(s.b, "echo", "again")
    s.ends("done", job)
    worker.signal(15)
    s.finished(worker)
    copies = s.told(command(s, "replay", "--id", job, "--output", "jsonl", codes=(0,)))
    s.assertEqual([s.b.job(copy)["replay_of"] for copy in copies], [job])
    s.crew()
    s.ends("done", *copies, deliveries=(1,))


@at(*REPLY)
def closed(s):
    "CLOSE of a queue with a running job"
    worker = s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 1500})
    s.wait_for_state(s.b, job, "leased")
    command(s, "close", "default", "--wait", codes=(0,))
    s.ends("done", job, deliveries=(1,))
    s.finished(worker)
    s.assertEqual(s.b.query("SELECT state, generation FROM queues WHERE queue = 'default'"),
                  [("drained", 1)])


# ---- housekeeping

@at("broker.before_checkpoint", "broker.after_checkpoint")
def checkpoint(s):
    "a checkpoint of a log of 16 MB, while jobs run"
    s.crew()
    s.arm()
    text = json.dumps("x" * 60_000) + "\n"
    producer = s.start_producer(s.b, "enqueue", "echo", "-", "--output", "jsonl", stdin=-1)
    feed(producer, text * 400)
    s.broker_dies()
    ids = s.told(s.finished(producer))
    s.assertEqual(len(ids), 400)
    s.ends("done", *ids)


@at("broker.before_prune", "broker.after_prune")
def pruned(s):
    "retention deletes ended jobs, while others run"
    s.b.kill()
    s.b = s.broker("--retention", "1s", environment=s.crash, listen=s.b.endpoint, db=s.b.db)
    s.ended_stay = False
    s.crew()
    old = s.enqueue_many(s.b, "echo", range(30))
    s.arm()
    running = s.enqueue(s.b, "sleep", {"ms": 4000})
    s.broker_dies()
    wait_for(lambda: s.jobs() == [running])
    s.acknowledged = [running]
    s.pruned_runs = len(old)
    s.b.signal(15)
    s.finished(s.b)
    s.b = s.broker(listen=s.b.endpoint, db=s.b.db)
    s.ends("done", running)


# ---- slow: these wait for the loss of a worker and for the time in which it may come back

@at("broker.in_transaction", "broker.after_commit")
def worker_lost(s):
    "a lost worker's run is charged"
    lost = s.crew()
    job = s.enqueue(s.b, "sleep", {"ms": 2000})
    wait_for(lambda: s.b.job(job)["started_at"])
    s.workers.remove(lost)
    s.arm()
    lost.kill()
    s.broker_dies()
    s.crew()
    s.ends("done", job, crashes=1, deliveries=(2,))

