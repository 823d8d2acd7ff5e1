#!/usr/bin/env python3
"""kill -9 of workers and producers: nothing is lost, nothing is done twice in the record."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
from millrace_testing import now, wait_for  # noqa: E402

# A worker is lost after 3 s without a sign, and what it held runs elsewhere within 5 s.
ELSEWHERE_SECONDS = 5.0


class WorkerKilled(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def leases_of(self, name):
        return {job for (job,) in self.b.query(
            "SELECT id FROM jobs WHERE state = 'leased' AND worker = ?", name)}

    def test_the_primes_are_the_same_when_a_worker_dies_in_the_middle(self):
        doomed = self.worker(self.b, "--name", "doomed")
        self.worker(self.b, "--name", "steady")
        # Chunks far smaller than the default, so that the middle is easy to meet.
        process = self.start_producer(self.b, "primes", 1, 10**9, "--chunk", 50000)
        wait_for(lambda: self.b.states().get("done", 0) > 1000)
        held = self.freeze_with_leases(doomed)
        doomed.kill()
        died_at = now()
        wait_for(lambda: not self.leases_of("doomed"), ELSEWHERE_SECONDS, "leases are given back")
        wait_for(lambda: all(self.b.job(job)["state"] == "done" for job in held))
        self.assertLess(now() - died_at, ELSEWHERE_SECONDS)
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.out, "50847534\n")
        self.assertEqual({self.b.job(job)["worker"] for job in held}, {"steady"})
        audit.check(self.b.db, range(1, 20001), ended=True, final=("done",))
        shares = dict(self.b.query("SELECT worker, count(*) FROM attempts WHERE outcome = 'ack'"
                                   " GROUP BY 1"))
        self.assertEqual(set(shares), {"doomed", "steady"})

    def freeze_with_leases(self, worker):
        """Stops a worker at a moment when it holds leases; which jobs they are.

        What it had sent may still be on its way, so the broker is given a second to read it.
        """
        for _ in range(50):
            worker.stop()
            end = now() + 1
            wait_for(lambda: now() > end or not self.leases_of("doomed"))
            held = self.leases_of("doomed")
            if held:
                return held
            worker.cont()
            done = self.b.states()["done"]
            wait_for(lambda: self.b.states()["done"] > done)
        raise AssertionError("the worker never held a lease when it was stopped")

    def test_what_a_dead_worker_ran_runs_elsewhere_within_five_seconds(self):
        doomed = self.worker(self.b, "--name", "doomed", "--io-threads", "4")
        jobs = self.enqueue_many(self.b, "sleep", [{"ms": 1800}] * 4)
        wait_for(lambda: len(self.leases_of("doomed")) == 4)
        # STARTED is written after a second of the run.
        started = "SELECT count(*) FROM jobs WHERE started_at IS NOT NULL"
        wait_for(lambda: self.b.value(started) == 4)
        self.worker(self.b, "--name", "steady", "--io-threads", "4")
        doomed.kill()
        died_at = now()
        wait_for(lambda: len(self.leases_of("steady")) == 4, ELSEWHERE_SECONDS + 1)
        self.assertLess(now() - died_at, ELSEWHERE_SECONDS)
        self.wait_for_states(self.b, done=4)
        audit.check(self.b.db, jobs, ended=True, final=("done",))
        for job in jobs:
            row = self.b.job(job)
            self.assertEqual((row["crashes"], row["attempts"], row["deliveries"]), (1, 1, 2))
            self.assertEqual(self.b.query("SELECT worker, outcome FROM attempts WHERE job = ?"
                                          " ORDER BY attempt", job),
                             [("doomed", "crash"), ("steady", "ack")])

    def test_what_a_dead_worker_had_not_started_is_not_charged(self):
        # Credit lets a quick kind be given out ahead; one thread then leaves it waiting.
        doomed = self.worker(self.b, "--name", "doomed", "--io-threads", "1")
        self.good(self.b, "enqueue", "echo", "-", "--wait", stdin="1\n" * 2000)
        jobs = self.enqueue_many(self.b, "sleep", [{"ms": 1500}] + [{"ms": 1}] * 50)
        wait_for(lambda: self.leases_of("doomed"))
        doomed.kill()
        self.worker(self.b, "--name", "steady")
        wait_for(lambda: set(self.b.states()) == {"done"})
        audit.check(self.b.db, jobs, ended=True, final=("done",))
        charged = self.b.value("SELECT count(*) FROM jobs WHERE crashes > 0")
        self.assertLessEqual(charged, 1)

    def test_a_job_that_kills_its_workers_becomes_a_dead_letter(self):
        job = self.enqueue(self.b, "sleep", {"ms": 60000}, "--max-attempts", "99")
        for _ in range(3):
            worker = self.worker(self.b)
            self.wait_for_state(self.b, job, "leased")
            wait_for(lambda: self.b.job(job)["started_at"])
            worker.kill()
            self.wait_for_state(self.b, job, "ready", "dead", seconds=ELSEWHERE_SECONDS + 1)
        row = self.b.job(job)
        self.assertEqual((row["state"], row["crashes"], row["attempts"]), ("dead", 3, 0))
        self.assertIn("poison", row["error"])
        audit.check(self.b.db, [job], ended=True)

    def test_workers_killed_at_random_moments_lose_nothing(self):
        random = millrace_testing.seeded_random()
        payloads = [{"ms": random.randrange(60)} for _ in range(1500)]
        ids = self.enqueue_many(self.b, "sleep", payloads)
        self.good(self.b, "close", "default")
        workers = [self.worker(self.b, "--io-threads", "6") for _ in range(3)]
        for _ in range(6):
            target = random.uniform(0.02, 0.12) * len(ids)
            before = self.b.states().get("done", 0)
            wait_for(lambda: self.b.states().get("done", 0) > before + target)
            workers.pop(random.randrange(len(workers))).kill()
            workers.append(self.worker(self.b, "--io-threads", "6"))
        wait_for(lambda: set(self.b.states()) == {"done"})
        self.assertEqual([w.wait() for w in workers], [0, 0, 0])
        audit.check(self.b.db, ids, ended=True, final=("done",))


class ProducerKilled(millrace_testing.Case):
    def test_what_was_acknowledged_before_the_producer_died_runs(self):
        broker = self.broker()
        process = self.start_producer(broker, "enqueue", "echo", "-", "--output", "jsonl", stdin=-1)
        millrace_testing.feed(process, "".join(f"{n}\n" for n in range(2_000_000)))
        process.wait_for_line(r'"ids"', out=True, count=3)
        process.kill()
        process.wait()
        rows = []
        for line in process.out_lines:
            if line.endswith("]}"):  # the last one may be cut
                rows.append(line)
        ids = [job for row in millrace_testing.Finished(0, "\n".join(rows), "").rows()
               for job in row["ids"]]
        self.assertGreater(len(ids), 0)
        self.worker(broker)
        self.worker(broker)
        wait_for(lambda: set(broker.states()) == {"done"}, 60)
        audit.check(broker.db, ids, ended=True, final=("done",))
        # Its batch ends for those who watch it, though nobody sealed it.
        done = self.good(broker, "results", rows_batch(rows), "--output", "jsonl")
        self.assertEqual(len(done.out.splitlines()), broker.value("SELECT count(*) FROM jobs"))

    def test_a_waiting_producer_that_died_leaves_its_jobs_running(self):
        broker = self.broker()
        process = self.start_producer(broker, "enqueue", "sleep", '{"ms": 300}', "--wait")
        wait_for(lambda: broker.states() == {"ready": 1})
        process.kill()
        self.worker(broker)
        self.wait_for_states(broker, done=1)
        audit.check(broker.db, [1], ended=True, final=("done",))


def rows_batch(rows):
    (batch,) = {row["batch"] for row in millrace_testing.Finished(0, "\n".join(rows), "").rows()}
    return batch


if __name__ == "__main__":
    millrace_testing.main()
