#!/usr/bin/env python3
"""SIGSTOP and SIGCONT: a peer that was frozen for longer than its lease, and a broker that was."""

import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
from millrace_testing import now, wait_for  # noqa: E402

FROZEN_SECONDS = 10


def let_pass(seconds):
    """The length of the freeze is what is tested, so here time itself is the event."""
    end = now() + seconds
    wait_for(lambda: now() >= end, seconds + 5)


class WorkerFrozen(millrace_testing.Case):
    def test_a_late_result_is_refused_and_the_worker_goes_on(self):
        broker = self.broker()
        frozen = self.worker(broker, "--name", "frozen", "--io-threads", "1")
        job = self.enqueue(broker, "sleep", {"ms": 1500})
        wait_for(lambda: broker.job(job)["started_at"])
        frozen.stop()
        self.worker(broker, "--name", "other", "--io-threads", "1")
        row = self.wait_for_state(broker, job, "done", seconds=15)
        self.assertEqual((row["worker"], row["crashes"], row["attempts"]), ("other", 1, 1))
        recorded = broker.query("SELECT * FROM status WHERE id = ?", job)

        frozen.cont()
        # It runs again: both workers are busy at once.
        pair = self.enqueue_many(broker, "sleep", [{"ms": 1200}] * 2)
        for one in pair:
            self.wait_for_state(broker, one, "done")
        self.assertEqual({broker.job(one)["worker"] for one in pair}, {"frozen", "other"})
        self.assertEqual(broker.query("SELECT * FROM status WHERE id = ?", job), recorded)
        self.assertEqual(broker.query("SELECT worker, outcome FROM attempts WHERE job = ?"
                                      " ORDER BY attempt", job),
                         [("frozen", "crash"), ("other", "ack")])
        audit.check(broker.db, [job, *pair], ended=True, final=("done",))
        frozen.signal(signal.SIGTERM)
        self.assertEqual(frozen.wait(10), 0)

    def test_a_short_freeze_costs_nothing(self):
        broker = self.broker()
        worker = self.worker(broker)
        job = self.enqueue(broker, "sleep", {"ms": 1500})
        self.wait_for_state(broker, job, "leased")
        worker.stop()
        let_pass(1.5)
        worker.cont()
        row = self.wait_for_state(broker, job, "done")
        self.assertEqual((row["attempts"], row["crashes"], row["deliveries"]), (1, 0, 1))

    def test_many_small_jobs_beside_a_frozen_worker_all_end_once(self):
        broker = self.broker()
        frozen = self.worker(broker, "--name", "frozen")
        self.worker(broker, "--name", "other")
        process = self.start_producer(broker, "enqueue", "sleep", "-", "--output", "jsonl",
                                      stdin=-1)
        millrace_testing.feed(process, '{"ms": 2}\n' * 5000)
        wait_for(lambda: broker.states().get("done", 0) > 500)
        frozen.stop()
        wait_for(lambda: broker.value("SELECT count(*) FROM jobs WHERE state = 'leased'"
                                      " AND worker = 'frozen'") == 0, 10)
        frozen.cont()
        self.assertEqual(process.wait(60), 0)
        ids = [job for row in millrace_testing.Finished(0, process.out, "").rows()
               for job in row["ids"]]
        wait_for(lambda: set(broker.states()) == {"done"}, 60)
        audit.check(broker.db, ids, ended=True, final=("done",))


class BrokerFrozen(millrace_testing.Case):
    def test_no_worker_is_lost_to_a_broker_that_was_frozen(self):
        broker = self.broker()
        workers = [self.worker(broker, "--io-threads", "2") for _ in range(2)]
        ids = self.enqueue_many(broker, "sleep", [{"ms": FROZEN_SECONDS * 1000 + 3000}] * 2 +
                                [{"ms": 500}] * 6)
        started = "SELECT count(*) FROM jobs WHERE started_at IS NOT NULL"
        wait_for(lambda: broker.value(started) >= 2)
        broker.stop()
        let_pass(FROZEN_SECONDS)
        broker.cont()
        self.wait_for_states(broker, done=8)
        audit.check(broker.db, ids, ended=True, final=("done",))
        self.assertEqual(broker.query("SELECT sum(crashes), max(attempts) FROM jobs"), [(0, 1)])
        # What ran all the time was left where it was.
        self.assertEqual([broker.job(job)["deliveries"] for job in ids[:2]], [1, 1])
        self.assertTrue(all(worker.is_running() for worker in workers))

    def test_a_producer_waits_for_a_frozen_broker(self):
        broker = self.broker()
        self.worker(broker)
        broker.stop()
        process = self.start_producer(broker, "enqueue", "echo", "--wait")
        let_pass(1.5)
        broker.cont()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(broker.states(), {"done": 1})


if __name__ == "__main__":
    millrace_testing.main()
