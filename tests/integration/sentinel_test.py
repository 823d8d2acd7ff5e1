#!/usr/bin/env python3
"""The sentinel: a closed queue drains, its workers leave, the next enqueue opens a generation."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

ADVICE = ("queue `default` is drained (generation 1): enqueue first, or `millrace-producer open "
          "default`, or start with `--until forever`")


class Sentinel(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def queue(self, name="default"):
        (row,) = self.good(self.b, "queue", "show", name, "--output", "jsonl").rows()
        return row

    def test_three_workers_finish_three_hundred_jobs_and_leave(self):
        self.enqueue_many(self.b, "sleep", [{"ms": 20}] * 200)
        self.enqueue_many(self.b, "fail", [{"times": 1}] * 40)
        self.enqueue_many(self.b, "fail", [{}] * 20, "--max-attempts", "2")
        self.enqueue_many(self.b, "echo", range(40), "--delay", "2500ms")
        workers = [self.worker(self.b, "--name", name) for name in "abc"]
        closer = self.start_producer(self.b, "close", "default", "--wait", "--output", "jsonl")
        wait_for(lambda: self.queue()["state"] == "closed")
        self.assertEqual([w.wait() for w in workers], [0, 0, 0])
        self.assertEqual(closer.wait(), 0)
        self.assertIn('"state":"drained"', closer.out)
        self.assertEqual(self.b.states(), {"done": 280, "dead": 20})
        for worker in workers:
            self.assertRegex(worker.err_lines[-1], r"queue `default` is drained \(generation 1\)")
        shares = dict(self.b.query("SELECT worker, count(*) FROM attempts GROUP BY 1"))
        self.assertEqual(set(shares), set("abc"))

        # A fourth one has nothing to wait for.
        fourth = self.worker(self.b)
        self.assertEqual(fourth.wait(5), 0)
        self.assertIn(ADVICE, fourth.err)

        # The next enqueue opens the next generation, in which workers stay.
        self.enqueue(self.b, "echo", 1)
        self.assertEqual((self.queue()["state"], self.queue()["generation"]), ("open", 2))
        fifth = self.worker(self.b)
        self.wait_for_states(self.b, done=281, dead=20)
        self.assertTrue(fifth.is_running())
        self.good(self.b, "close", "default", "--wait")
        self.assertEqual(fifth.wait(), 0)
        self.assertIn("generation 2", fifth.err_lines[-1])

    def test_nobody_leaves_before_the_last_job_has_ended(self):
        workers = [self.worker(self.b, "--io-threads", "1") for _ in range(2)]
        job = self.enqueue(self.b, "sleep", {"ms": 1200})
        self.wait_for_state(self.b, job, "leased")
        self.good(self.b, "close", "default")
        while self.b.job(job)["state"] == "leased":
            # Looked at before the state: both can change in between.
            running = [w.is_running() for w in workers]
            if self.b.job(job)["state"] == "leased":
                self.assertEqual(running, [True, True])
        self.assertEqual([w.wait() for w in workers], [0, 0])

    def test_a_closed_queue_refuses_new_jobs_with_75(self):
        job = self.enqueue(self.b, "echo", 1)
        done = self.good(self.b, "close", "default")
        self.assertIn("1 job open", done.err)
        for words in (["enqueue", "echo"], ["primes", "1", "10"]):
            done = self.producer(self.b, *words)
            self.assertEqual((done.code, done.out), (75, ""), done)
            self.assertIn("closed", done.err)
            self.assertIn("default", done.err)
        self.assertEqual(self.b.states(), {"ready": 1})
        self.worker(self.b)
        self.wait_for_state(self.b, job, "done")

    def test_retries_of_a_closed_queue_run(self):
        job = self.enqueue(self.b, "fail", {"times": 1})
        self.good(self.b, "close", "default")
        worker = self.worker(self.b)
        self.assertEqual(worker.wait(), 0)
        self.assertEqual(self.b.job(job)["state"], "done")

    def test_a_queue_that_was_closed_by_mistake_can_be_opened(self):
        self.enqueue(self.b, "echo", 1)
        self.good(self.b, "close", "default")
        self.good(self.b, "open", "default")
        self.assertEqual((self.queue()["state"], self.queue()["generation"]), ("open", 1))
        self.enqueue(self.b, "echo", 2)

    def test_closing_twice_changes_nothing(self):
        self.enqueue(self.b, "echo", 1)
        self.good(self.b, "close", "default")
        self.good(self.b, "close", "default")
        self.assertEqual((self.queue()["state"], self.queue()["generation"]), ("closed", 1))
        self.good(self.b, "open", "default")
        self.assertEqual(self.queue()["generation"], 1)

    def test_opening_a_drained_queue_keeps_workers(self):
        self.good(self.b, "close", "default", "--wait")
        self.good(self.b, "open", "default")
        self.assertEqual((self.queue()["state"], self.queue()["generation"]), ("open", 2))
        worker = self.worker(self.b)
        wait_for(lambda: self.queue()["workers"] == 1)
        self.good(self.b, "enqueue", "echo", "--wait")
        self.assertTrue(worker.is_running())

    def test_a_paused_queue_does_not_drain_and_says_so(self):
        self.enqueue(self.b, "echo", 1)
        self.good(self.b, "queue", "pause", "default")
        done = self.good(self.b, "close", "default")
        self.assertIn("paused", done.err)
        self.assertIn("paused", self.good(self.b, "status").out)
        worker = self.worker(self.b)
        self.good(self.b, "queue", "purge", "default")
        self.assertEqual(self.queue()["state"], "closed")
        self.good(self.b, "queue", "resume", "default")
        self.assertEqual(worker.wait(), 0)

    def test_a_worker_of_two_queues_leaves_when_both_are_drained(self):
        worker = self.worker(self.b, "--queue", "a", "--queue", "b")
        self.good(self.b, "close", "a", "--wait")
        self.good(self.b, "enqueue", "echo", "--queue", "b", "--wait")
        self.assertTrue(worker.is_running())
        self.good(self.b, "close", "b", "--wait")
        self.assertEqual(worker.wait(), 0)

    def test_a_close_that_waits_can_be_interrupted(self):
        self.enqueue(self.b, "echo", 1)
        process = self.start_producer(self.b, "close", "default", "--wait")
        process.wait_for_line("1 job open")
        process.signal(2)
        self.assertEqual(process.wait(), 130)
        self.assertIn("close default --wait", process.err)
        self.assertEqual(self.queue()["state"], "closed")

    def test_a_drained_queue_stays_drained_over_a_restart_of_the_broker(self):
        self.good(self.b, "close", "default", "--wait")
        self.b.signal(15)
        self.b.wait()
        again = self.broker_again(self.b)
        worker = self.worker(again)
        self.assertEqual(worker.wait(5), 0)
        self.assertIn(ADVICE, worker.err)

    def test_a_close_outlives_the_broker_and_its_waiter(self):
        job = self.enqueue(self.b, "sleep", {"ms": 100})
        closer = self.start_producer(self.b, "close", "default", "--wait")
        closer.wait_for_line("1 job open")
        self.b.signal(15)
        self.b.wait()
        again = self.broker_again(self.b)
        worker = self.worker(again)
        self.assertEqual(closer.wait(), 0)
        self.assertEqual(worker.wait(), 0)
        self.assertEqual(again.job(job)["state"], "done")


class Until(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_burst_mode_leaves_when_nothing_is_ready(self):
        self.enqueue_many(self.b, "echo", range(50))
        late = self.enqueue(self.b, "echo", 1, "--delay", "1h")
        worker = self.worker(self.b, "--until", "empty")
        self.assertEqual(worker.wait(10), 0)
        self.assertEqual(self.b.states(), {"done": 50, "scheduled": 1})
        self.assertEqual(self.b.job(late)["state"], "scheduled")
        self.assertIn("empty", worker.err_lines[-1])

    def test_burst_mode_on_nothing_leaves_at_once(self):
        worker = self.worker(self.b, "--until", "empty")
        self.assertEqual(worker.wait(5), 0)

    def test_forever_stays_at_a_drained_queue(self):
        worker = self.worker(self.b, "--until", "forever")
        other = self.worker(self.b)
        self.good(self.b, "close", "default", "--wait")
        self.assertEqual(other.wait(), 0)
        self.good(self.b, "enqueue", "echo", "--wait")
        self.assertTrue(worker.is_running())


if __name__ == "__main__":
    millrace_testing.main()
