#!/usr/bin/env python3
"""Unique keys, expiry and retry policies, as the command line says them and shows them."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

KEY = ("--unique-key", "report")


class UniqueKeys(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def rows(self, *words, **keywords):
        return self.good(self.b, "enqueue", "echo", *words, "--output", "jsonl", **keywords).rows()

    def test_a_second_job_with_the_key_is_the_first_one(self):
        self.assertEqual(self.rows("1", *KEY), [{"batch": 1, "ids": [1]}])
        self.assertEqual(self.rows("2", *KEY), [{"batch": 0, "ids": [1]}])
        self.assertEqual(self.b.states(), {"ready": 1})
        done = self.good(self.b, "enqueue", "echo", "3", *KEY)
        self.assertEqual(done.out, "job 1 holds the key already\n")

    def test_another_queue_has_keys_of_its_own(self):
        self.rows("1", *KEY)
        self.assertEqual(self.rows("1", *KEY, "--queue", "other"), [{"batch": 2, "ids": [2]}])

    def test_all_who_ask_and_wait_get_the_one_result(self):
        askers = [self.start_producer(self.b, "enqueue", "echo", str(n), *KEY, "--wait", "--output",
                                      "jsonl") for n in range(3)]
        wait_for(lambda: self.good(self.b, "status", "--output", "jsonl").rows()[0]["producers"] == 4)
        wait_for(lambda: self.b.states() == {"ready": 1})
        self.worker(self.b)
        self.assertEqual([asker.wait() for asker in askers], [0, 0, 0])
        results = [millrace_testing.Finished(0, asker.out, "").rows() for asker in askers]
        self.assertEqual([len(rows) for rows in results], [1, 1, 1])
        self.assertEqual({(rows[0]["job"], str(rows[0]["result"])) for rows in results},
                         {(1, str(results[0][0]["result"]))})
        self.assertEqual(self.b.value("SELECT count(*) FROM attempts"), 1)

    def test_one_who_waits_for_a_job_that_fails_ends_with_1(self):
        self.enqueue(self.b, "fail", {"message": "no luck"}, "--max-attempts", "1", *KEY)
        process = self.start_producer(self.b, "enqueue", "fail", *KEY, "--wait", "--output", "jsonl")
        self.worker(self.b)
        self.assertEqual(process.wait(), 1)
        (row,) = millrace_testing.Finished(1, process.out, "").rows()
        self.assertEqual((row["job"], row["state"], row["error"]), (1, "dead", "no luck"))

    def test_lines_with_one_key_are_one_job_that_is_told_once(self):
        self.worker(self.b)
        done = self.good(self.b, "enqueue", "echo", "-", *KEY, "--wait", "--output", "jsonl",
                         stdin="1\n2\n3\n")
        self.assertEqual([(row["job"], row["result"]) for row in done.rows()], [(1, 1)])

    def test_ids_stand_in_the_order_of_the_lines(self):
        self.rows("0", *KEY)
        done = self.good(self.b, "enqueue", "echo", "-", *KEY, "--output", "jsonl", stdin="1\n2\n")
        self.assertEqual(done.rows(), [{"batch": 0, "ids": [1, 1]}])
        self.assertIn("2 there before", done.err)

    def test_a_refusal_is_75_names_the_holder_and_enqueues_nothing(self):
        self.rows("1", *KEY)
        done = self.producer(self.b, "enqueue", "echo", "2", *KEY, "--on-conflict", "reject",
                             seconds=10)
        self.assertEqual((done.code, done.out), (75, ""), done)
        self.assertIn("job 1", done.err)
        self.assertEqual(self.b.states(), {"ready": 1})

    def test_a_job_that_waits_can_be_replaced(self):
        self.rows("1", *KEY)
        self.assertEqual(self.rows("2", *KEY, "--on-conflict", "replace"),
                         [{"batch": 2, "ids": [2]}])
        self.assertEqual(self.b.states(), {"cancelled": 1, "ready": 1})
        self.assertIn("replaced", self.b.job(1)["error"])

    def test_a_job_that_runs_cannot_be_replaced(self):
        self.worker(self.b)
        job = self.enqueue(self.b, "sleep", {"ms": 60000}, *KEY)
        self.wait_for_state(self.b, job, "leased")
        done = self.producer(self.b, "enqueue", "sleep", '{"ms": 1}', *KEY, "--on-conflict",
                             "replace")
        self.assertEqual(done.code, 75, done)
        self.good(self.b, "job", "cancel", job)

    def test_the_key_is_free_when_its_scope_has_ended(self):
        self.worker(self.b)
        long = '{"ms": 60000}'
        first = self.enqueue(self.b, "sleep", {"ms": 60000}, *KEY, "--unique-scope", "queued")
        self.wait_for_state(self.b, first, "leased")
        (row,) = self.good(self.b, "enqueue", "sleep", long, *KEY, "--output", "jsonl").rows()
        second = row["ids"][0]
        self.assertNotEqual(second, first)
        self.wait_for_state(self.b, second, "leased")
        self.good(self.b, "job", "cancel", second)
        self.wait_for_state(self.b, second, "cancelled")
        (row,) = self.good(self.b, "enqueue", "sleep", long, *KEY, "--output", "jsonl").rows()
        self.assertNotIn(row["ids"][0], (first, second))
        self.good(self.b, "job", "cancel", "--kind", "sleep")

    def test_a_key_for_a_time_outlives_its_job(self):
        self.worker(self.b)
        words = (*KEY, "--unique-ttl", "1h")
        (row,) = self.rows("1", *words)
        self.wait_for_state(self.b, row["ids"][0], "done")
        self.assertEqual(self.rows("2", *words), [{"batch": 0, "ids": row["ids"]}])
        done = self.good(self.b, "enqueue", "echo", "2", *words, "--wait", "--output", "jsonl")
        self.assertEqual([result["result"] for result in done.rows()], [1])

    def test_jobs_are_found_by_their_key(self):
        self.rows("1", *KEY)
        self.rows("2", "--unique-key", "other")
        (row,) = self.good(self.b, "job", "ls", *KEY, "--output", "jsonl").rows()
        self.assertEqual((row["job"], row["unique_key"], row["unique_held"]), (1, "report", True))
        self.good(self.b, "job", "cancel", *KEY)
        self.assertEqual(self.b.job(1)["state"], "cancelled")
        self.assertEqual(self.b.job(2)["state"], "ready")


class Options(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def shown(self, job):
        return self.good(self.b, "job", "show", job, "--output", "jsonl").rows()[0]

    def test_what_is_not_said_is_the_default_and_stands_in_the_job(self):
        row = self.shown(self.enqueue(self.b, "echo"))
        self.assertEqual((row["max_attempts"], row["crashes_max"], row["retry"], row["expires_at"],
                          row["unique_key"], row["progress"]), (3, 3, None, None, None, None))

    def test_what_is_said_stands_in_the_job(self):
        job = self.enqueue(self.b, "echo", 1, "--max-attempts", "7", "--crashes-max", "2", "--retry",
                           "linear:5s cap:1m", "--expires-at", "2099-01-02T03:04:05Z")
        row = self.shown(job)
        self.assertEqual((row["max_attempts"], row["crashes_max"], row["retry"], row["expires_at"]),
                         (7, 2, "linear:5s cap:1m", "2099-01-02T03:04:05.000Z"))
        table = self.good(self.b, "job", "show", job).out
        for word in ("linear:5s cap:1m", "0 of 7", "0 of 2", "2099-01-02"):
            self.assertIn(word, table)

    def test_options_come_from_the_environment_too(self):
        job = self.enqueue(self.b, "echo", 1, environment={
            "MILLRACE_CRASHES_MAX": "9", "MILLRACE_RETRY": "1s,5s", "MILLRACE_UNIQUE_KEY": "k",
            "MILLRACE_MAX_ATTEMPTS": "4"})
        row = self.shown(job)
        self.assertEqual((row["crashes_max"], row["retry"], row["unique_key"], row["max_attempts"]),
                         (9, "1s,5s", "k", 4))

    def test_a_job_that_waits_too_long_expires(self):
        job = self.enqueue(self.b, "echo", 1, "--expires", "200ms")
        done = self.producer(self.b, "job", "wait", job, "--output", "jsonl")
        self.assertEqual(done.code, 1, done)
        self.assertEqual([row["state"] for row in done.rows()], ["expired"])

    def test_a_retry_policy_says_how_long_a_failed_job_waits(self):
        self.worker(self.b)
        done = self.good(self.b, "enqueue", "fail", '{"times": 3}', "--max-attempts", "4", "--retry",
                         "10ms jitter:0", "--wait", seconds=10)
        self.assertIn("done", done.out)
        job = self.enqueue(self.b, "fail", {}, "--retry", "1h")
        self.assertGreater(self.wait_for_state(self.b, job, "scheduled")["run_at"],
                           self.b.job(job)["enqueued_at"])

    def test_what_cannot_be_is_64_and_says_what_can(self):
        for words, text in ((["--retry", "sometimes:1s"], "linear:5s"),
                            (["--max-attempts", "0"], "from 1"),
                            (["--crashes-max", "0"], "from 1"),
                            (["--expires", "1h", "--expires-at", "2099-01-01"], "--expires-at"),
                            (["--unique-scope", "active"], "--unique-key"),
                            ([*KEY, "--unique-scope", "ttl"], "--unique-ttl"),
                            ([*KEY, "--unique-scope", "ever"], "queued, active, ttl"),
                            ([*KEY, "--on-conflict", "ignore"], "existing, reject, replace"),
                            (["--unique-key", "x" * 129], "128")):
            with self.subTest(words=words):
                done = self.producer(self.b, "enqueue", "echo", *words)
                self.assertEqual((done.code, done.out), (64, ""), done)
                self.assertIn(text, done.err)
        self.assertEqual(self.b.states(), {})


if __name__ == "__main__":
    millrace_testing.main()
