#!/usr/bin/env python3
"""A worker's life: waiting for its broker, stopping with grace, leaving at once, its pools."""

import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import now, wait_for  # noqa: E402


class Waiting(millrace_testing.Case):
    def test_a_worker_waits_for_a_broker_that_comes_later(self):
        endpoint = f"tcp://127.0.0.1:{millrace_testing.free_port()}"
        worker = self.worker(endpoint, connected=False)
        worker.wait_for_line(f"waiting for the broker at {endpoint}", 5)
        broker = self.broker(listen=endpoint)
        started = now()
        worker.wait_for_line("connected to the broker", 10)
        self.assertLess(now() - started, 5)
        self.good(broker, "enqueue", "echo", "--wait")
        self.assertEqual(len([line for line in worker.err_lines if "waiting" in line]), 1)

    def test_a_worker_that_waits_leaves_on_a_signal(self):
        worker = self.worker("tcp://127.0.0.1:1", connected=False)
        worker.wait_for_line("waiting for the broker")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(5), 0)

    def test_a_worker_goes_on_at_a_broker_that_was_stopped_and_started(self):
        broker = self.broker()
        worker = self.worker(broker)
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        worker.wait_for_line("lost the broker", 10)
        again = self.broker_again(broker)
        worker.wait_for_line("connected again", 10)
        self.good(again, "enqueue", "echo", "--wait")


class Stopping(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_an_idle_worker_stops_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            worker = self.worker(self.b)
            worker.signal(number)
            self.assertEqual(worker.wait(5), 0)
        wait_for(lambda: self.good(self.b, "worker", "ls", "--output", "json").json() == [], 5)

    def test_what_runs_is_finished_within_the_grace_and_what_waits_is_given_back(self):
        worker = self.worker(self.b, "--io-threads", "1")
        running = self.enqueue(self.b, "sleep", {"ms": 1500})
        waiting = self.enqueue(self.b, "echo", 1)
        self.wait_for_state(self.b, running, "leased")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(10), 0)
        row = self.b.job(running)
        self.assertEqual((row["state"], row["attempts"], row["crashes"]), ("done", 1, 0))
        row = self.b.job(waiting)
        self.assertEqual((row["state"], row["attempts"], row["crashes"]), ("ready", 0, 0))

    def test_what_outlasts_the_grace_is_given_back_uncharged(self):
        worker = self.worker(self.b, "--grace", "500ms")
        job = self.enqueue(self.b, "sleep", {"ms": 60000})
        self.wait_for_state(self.b, job, "leased")
        started = now()
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(10), 0)
        self.assertTrue(0.4 < now() - started < 5)
        row = self.wait_for_state(self.b, job, "ready", seconds=5)
        self.assertEqual((row["attempts"], row["crashes"]), (0, 0))

    def test_a_job_that_computes_can_be_stopped_too(self):
        worker = self.worker(self.b, "--grace", "200ms")
        job = self.enqueue(self.b, "sum", {"n": 4294967296})
        self.wait_for_state(self.b, job, "leased")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(10), 0)
        self.wait_for_state(self.b, job, "ready", "done", seconds=5)

    def test_a_second_signal_ends_it_at_once(self):
        for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            worker = self.worker(self.b)
            job = self.enqueue(self.b, "sleep", {"ms": 60000})
            self.wait_for_state(self.b, job, "leased")
            worker.signal(number)
            worker.wait_for_line("stopping")
            worker.signal(number)
            self.assertEqual(worker.wait(3), code)
            self.good(self.b, "job", "cancel", job)

    def test_a_stopping_worker_takes_no_new_jobs(self):
        worker = self.worker(self.b)
        first = self.enqueue(self.b, "sleep", {"ms": 1000})
        self.wait_for_state(self.b, first, "leased")
        worker.signal(signal.SIGTERM)
        worker.wait_for_line("stopping")
        second = self.enqueue(self.b, "echo", 1)
        self.assertEqual(worker.wait(10), 0)
        row = self.b.job(second)
        self.assertEqual((row["state"], row["attempts"]), ("ready", 0))


class Pools(millrace_testing.Case):
    def test_a_worker_without_cpu_threads_leaves_those_kinds_to_others(self):
        broker = self.broker()
        self.worker(broker, "--cpu-threads", "0", "--name", "io")
        self.worker(broker, "--io-threads", "0", "--name", "cpu")
        wait_for(lambda: len(self.good(broker, "worker", "ls", "--output", "json").json()) == 2)
        rows = self.good(broker, "enqueue", "sum", '{"n": 10}', "--wait", "--output",
                         "jsonl").rows()
        self.assertEqual(rows[0]["result"], {"sum": 45})
        self.good(broker, "enqueue", "echo", "--wait")
        self.assertEqual(broker.query("SELECT kind, worker FROM jobs ORDER BY id"),
                         [("sum", "cpu"), ("echo", "io")])

    def test_jobs_are_spread_over_workers(self):
        broker = self.broker()
        for name in "ab":
            self.worker(broker, "--name", name, "--io-threads", "3")
        wait_for(lambda: len(self.good(broker, "worker", "ls", "--output", "json").json()) == 2)
        self.enqueue_many(broker, "sleep", [{"ms": 500}] * 4)
        self.wait_for_states(broker, done=4)
        self.assertEqual(broker.query("SELECT worker, count(*) FROM jobs GROUP BY 1"),
                         [("a", 2), ("b", 2)])

    def test_the_list_shows_what_a_worker_is(self):
        broker = self.broker()
        worker = self.worker(broker, "--name", "w1", "--queue", "a,b", "--io-threads", "7",
                             "--cpu-threads", "3", "--until", "forever")
        (row,) = self.good(broker, "worker", "ls", "--output", "jsonl").rows()
        self.assertEqual((row["name"], row["pid"], row["queues"], row["pools"], row["until"]),
                         ("w1", worker.pid, ["a", "b"], {"cpu": 3, "io": 7}, "forever"))
        table = self.good(broker, "worker", "ls").out
        self.assertIn("w1", table)
        self.assertIn(str(worker.pid), table)

    def test_built_in_kinds_give_their_results(self):
        broker = self.broker()
        self.worker(broker)
        for kind, payload, result in (("echo", '{"b":[1,null]}', {"b": [1, None]}),
                                      ("echo", None, None), ("sum", '{"n":1000}', {"sum": 499500}),
                                      ("sum", '{"n":0}', {"sum": 0}),
                                      ("primes", '{"from":1,"to":10}', {"count": 4}),
                                      ("primes", '{"from":1,"to":10,"list":true}',
                                       {"count": 4, "primes": [2, 3, 5, 7]})):
            with self.subTest(kind=kind, payload=payload):
                words = [kind] if payload is None else [kind, payload]
                (row,) = self.good(broker, "enqueue", *words, "--wait", "--output", "jsonl").rows()
                self.assertEqual(row["result"], result)
        (row,) = self.good(broker, "enqueue", "sleep", '{"ms":20}', "--wait", "--output",
                           "jsonl").rows()
        self.assertGreaterEqual(row["result"]["slept_ms"], 20)


if __name__ == "__main__":
    millrace_testing.main()
