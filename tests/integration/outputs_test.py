#!/usr/bin/env python3
"""What runs leave behind, and waiting for single jobs: `job output`, `job logs`, `job wait`."""

import json
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

OUTPUT = 29
ROW_KEYS = ("job", "cursor", "attempt", "type", "data", "at")
RESULT_KEYS = ("job", "kind", "state", "result", "error", "attempts", "cursor")


class Runner:
    """A worker that runs one job, alive beside the test by a thread of its own."""

    def __init__(self, endpoint):
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.worker = mrp_client.Worker(endpoint, kinds={"parts": "io"}, pools={"io": 1})
        (self.run,) = self.worker.take(1)
        self.worker.begin([self.run])
        self.n = 0
        self.thread = threading.Thread(target=self.pump)
        self.thread.start()

    def pump(self):
        while not self.over.is_set():
            with self.lock:
                self.worker.pump(0.02)

    def tell(self, kind, data):
        """The status of one output."""
        self.n += 1
        item = {"lease": self.run["lease"], "job": self.run["job"], "n": self.n, "type": kind,
                "data": data, "at": 1_700_000_000_000 + self.n}
        with self.lock:
            return self.worker.ask(OUTPUT, {"items": [item]})["statuses"][0]

    def end(self):
        with self.lock:
            return self.worker.ack(self.run, result='"all"')

    def close(self):
        self.over.set()
        self.thread.join()
        self.worker.close()


class Outputs(millrace_testing.Case):
    """One job that runs at a worker whose handler is this test."""

    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.job = self.enqueue(self.b, "parts")
        self.runner = Runner(self.b.endpoint)
        self.addCleanup(self.runner.close)

    def tell(self, kind, data):
        self.assertEqual(self.runner.tell(kind, data), "ok")

    def rows(self, *words):
        return self.good(self.b, "job", *words, "--output", "jsonl").rows()

    def end(self):
        self.assertEqual(self.runner.end(), "ok")

    def test_rows_of_every_type(self):
        self.tell("log", "first line")
        self.tell("log", "42")
        self.tell("progress", '{"done": 1, "total": 4, "text": "copying"}')
        self.tell("chunk", b"\x00\xff")
        self.tell("chunk", "[1, 2]")
        self.tell("chunk", "plain")
        rows = self.rows("output", self.job)
        for row in rows:
            self.assert_keys(row, *ROW_KEYS)
        self.assertEqual([(row["type"], row["data"]) for row in rows],
                         [("log", "first line"), ("log", "42"),
                          ("progress", {"done": 1, "total": 4, "text": "copying"}),
                          ("chunk", {"base64": "AP8="}), ("chunk", [1, 2]), ("chunk", "plain")])
        self.assertEqual({(row["job"], row["attempt"]) for row in rows}, {(self.job, 1)})
        self.assertEqual(rows[0]["at"], "2023-11-14T22:13:20.001Z")
        array = self.good(self.b, "job", "output", self.job, "--output", "json").json()
        self.assertEqual(array, rows)
        table = self.good(self.b, "job", "output", self.job).out.splitlines()
        self.assertEqual(len(table), 6)
        self.assertIn("1 of 4 (25 %) copying", table[2])

    def test_a_cursor_goes_on_without_gap_or_repeat(self):
        for n in range(5):
            self.tell("log", f"line {n}")
        rows = self.rows("output", self.job)
        for place in range(5):
            self.assertEqual(self.rows("output", self.job, "--from", rows[place]["cursor"]),
                             rows[place + 1:])

    def test_types_are_chosen(self):
        self.tell("log", "a line")
        self.tell("progress", '{"done": 1}')
        self.tell("chunk", "part")
        types = [row["type"] for row in self.rows("output", self.job, "--type", "progress,chunk")]
        self.assertEqual(types, ["progress", "chunk"])
        self.assertEqual([row["data"] for row in self.rows("logs", self.job)], ["a line"])

    def test_logs_are_plain_lines(self):
        self.tell("log", "a line")
        self.tell("progress", '{"done": 1}')
        self.tell("log", "with\x1b[31m colour")
        done = self.good(self.b, "job", "logs", self.job)
        self.assertEqual(done.out, "a line\nwith[31m colour\n")

    def test_who_follows_sees_each_row_and_the_end(self):
        self.tell("log", "before")
        process = self.start_producer(self.b, "job", "logs", self.job, "--follow")
        process.wait_for_line("before", out=True)
        self.tell("log", "while it runs")
        process.wait_for_line("while it runs", out=True)
        self.assertTrue(process.is_running())
        self.tell("log", "last")
        self.end()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(process.out_lines, ["before", "while it runs", "last"])

    def test_who_was_interrupted_is_told_how_to_go_on(self):
        self.tell("log", "one")
        process = self.start_producer(self.b, "job", "logs", self.job, "--follow")
        process.wait_for_line("one", out=True)
        process.signal(2)
        self.assertEqual(process.wait(), 130)
        words = process.wait_for_line(r"millrace-producer (.*)$").group(1).split()
        self.tell("log", "two")
        self.end()
        self.assertEqual(self.good("tcp://127.0.0.1:1", *words).out, "two\n")

    def test_the_newest_progress_is_shown(self):
        self.tell("progress", '{"done": 1, "total": 4}')
        self.tell("progress", '{"done": 2, "total": 4}')
        self.assertEqual(self.rows("show", self.job)[0]["progress"], {"done": 2, "total": 4})
        self.assertIn("2 of 4 (50 %)", self.good(self.b, "job", "show", self.job).out)

    def test_a_job_that_left_nothing_is_no_row_and_one_that_is_not_there_is_1(self):
        self.assertEqual(self.rows("output", self.job), [])
        done = self.producer(self.b, "job", "output", "77")
        self.assertEqual((done.code, done.out), (1, ""), done)
        self.assertIn("77", done.err)


class Waiting(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_jobs_of_many_batches_are_awaited_together(self):
        ids = [self.enqueue(self.b, "echo", n) for n in range(3)]
        process = self.start_producer(self.b, "job", "wait", *ids, "--output", "jsonl")
        self.worker(self.b)
        self.assertEqual(process.wait(), 0)
        rows = [json.loads(line) for line in process.out_lines]
        for row in rows:
            self.assert_keys(row, *RESULT_KEYS)
        self.assertEqual({row["job"]: row["result"] for row in rows}, dict(zip(ids, range(3))))

    def test_one_that_ended_long_ago_is_told_at_once(self):
        self.worker(self.b)
        job = self.enqueue(self.b, "echo", "x")
        self.wait_for_state(self.b, job, "done")
        self.assertIn(' "x"', self.good(self.b, "job", "wait", job).out.replace("echo  ", "echo "))

    def test_a_failure_and_a_job_that_is_not_there_are_1(self):
        self.worker(self.b)
        dead = self.enqueue(self.b, "fail", {"message": "no"}, "--max-attempts", "1")
        good = self.enqueue(self.b, "echo", 1)
        done = self.producer(self.b, "job", "wait", dead, good, "--output", "jsonl")
        self.assertEqual(done.code, 1, done)
        self.assertEqual({row["job"]: row["state"] for row in done.rows()},
                         {dead: "dead", good: "done"})
        done = self.producer(self.b, "job", "wait", good, 77, "--output", "jsonl")
        self.assertEqual((done.code, len(done.rows())), (1, 1), done)
        self.assertIn("77", done.err)

    def test_who_waits_goes_on_after_a_restart_of_the_broker(self):
        job = self.enqueue(self.b, "echo", 1)
        process = self.start_producer(self.b, "job", "wait", job, "--output", "jsonl")
        wait_for(lambda: self.good(self.b, "status", "--output", "jsonl").rows()[0]["producers"] == 2)
        self.b.kill()
        broker = self.broker_again(self.b)
        self.worker(broker)
        self.assertEqual(process.wait(), 0)
        self.assertEqual(len(process.out_lines), 1)

    def test_many_jobs_are_awaited(self):
        ids = self.enqueue_many(self.b, "echo", range(2500))
        process = self.start_producer(self.b, "job", "wait", *ids, "--output", "jsonl")
        self.worker(self.b)
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(sorted(json.loads(line)["job"] for line in process.out_lines), ids)


if __name__ == "__main__":
    millrace_testing.main()
