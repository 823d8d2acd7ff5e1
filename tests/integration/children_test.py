#!/usr/bin/env python3
"""Jobs that running jobs enqueue: the batch, the queue and the restart of a broker they see."""

import json
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import BIN, wait_for  # noqa: E402


class Children(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def fan(self, broker=None, pool="io"):
        worker = self.start([BIN / "millrace-fan", (broker or self.b).endpoint, pool])
        worker.wait_for_line("connected to the broker")
        return worker

    def test_a_run_on_the_event_loop_may_enqueue(self):
        self.fan()
        rows = self.good(self.b, "enqueue", "tick", "--wait", "--output", "jsonl").rows()
        ended = {row["kind"]: row for row in rows}  # in either order
        self.assertEqual(set(ended), {"tick", "fan"})
        self.assertEqual(ended["tick"]["result"]["ids"], [ended["fan"]["job"]])

    def test_a_process_of_the_own_program_that_aborts_is_a_crash_of_its_job_alone(self):
        worker = self.fan(pool="process")
        job = self.enqueue(self.b, "fan", {"aborts": True}, "--crashes-max", "1")
        self.assertIn("SIGABRT", self.wait_for_state(self.b, job, "dead")["error"])
        job = self.enqueue(self.b, "fan", {})
        self.wait_for_state(self.b, job, "done")
        self.assertTrue(worker.is_running())

    def test_a_child_process_may_enqueue(self):
        self.fan(pool="process")
        self.check_wait()

    def test_wait_streams_the_children_too(self):
        self.fan()
        self.check_wait()

    def check_wait(self):
        rows = self.good(self.b, "enqueue", "fan", json.dumps({"children": 3, "depth": 2}),
                         "--wait", "--output", "jsonl").rows()
        self.assertEqual(len(rows), 1 + 3 + 9)
        self.assertEqual({row["state"] for row in rows}, {"done"})
        told = {job for row in rows for job in row["result"]["ids"]}
        self.assertEqual(told | {1}, {row["job"] for row in rows})
        self.assertEqual(self.b.value("SELECT count(DISTINCT batch) FROM jobs"), 1)
        self.assertEqual(self.b.query("SELECT total, done, sealed FROM batches"), [(13, 13, 1)])

    def test_a_closed_queue_drains_after_the_children(self):
        self.enqueue_many(self.b, "fan", [{"children": 2, "depth": 3}] * 4)
        self.good(self.b, "close", "default")
        self.good(self.b, "close", "other")
        worker = self.fan()
        self.assertEqual(worker.wait(), 0)
        self.assertIn("is drained", worker.err)
        self.assertEqual(self.b.states(), {"done": 4 * 15})

    def test_another_closed_queue_refuses_them(self):
        self.enqueue(self.b, "echo", 1, "--queue", "other", "--delay", "1h")
        self.good(self.b, "close", "other")
        self.fan()
        done = self.producer(self.b, "enqueue", "fan", json.dumps({"depth": 1, "queue": "other"}),
                             "--wait", "--max-attempts", "1", "--output", "jsonl")
        (row,) = done.rows()
        self.assertEqual(row["state"], "dead")
        self.assertTrue(row["error"].startswith("queue_closed: queue `other` is closed"), row)

    def test_more_than_a_message_holds(self):
        self.fan()
        rows = self.good(self.b, "enqueue", "fan", json.dumps({"children": 2500, "depth": 1}),
                         "--wait", "--output", "jsonl").rows()
        self.assertEqual(len(rows), 2501)
        (parent,) = [row for row in rows if row["job"] == 1]
        self.assertEqual(parent["result"]["ids"], list(range(2, 2502)))

    def test_a_second_try_with_keys_enqueues_nothing_twice(self):
        self.good(self.b, "queue", "pause", "other")
        payload = {"children": 3, "depth": 1, "queue": "other", "key": "page-", "fails": True}
        parent = self.enqueue(self.b, "fan", payload)
        self.fan()
        self.wait_for_state(self.b, parent, "done")
        self.assertEqual(self.b.job(parent)["attempts"], 2)
        self.assertEqual(self.b.states(), {"done": 1, "ready": 3})
        self.good(self.b, "queue", "resume", "other")
        self.wait_for_states(self.b, done=4)

    def test_a_broker_that_restarts_meanwhile(self):
        self.enqueue_many(self.b, "fan", [{"children": 3, "depth": 4}] * 10)
        self.fan()
        for _ in range(3):
            wait_for(lambda: self.b.value("SELECT count(*) FROM jobs") > 0)
            self.b.signal(signal.SIGKILL)
            self.b.wait()
            self.b = self.broker_again(self.b)
        wait_for(lambda: self.b.states() == {"done": 10 * 121}, 60, "all children are done")
        self.assertEqual(self.b.value("SELECT max(attempts + crashes) FROM jobs"), 1)


if __name__ == "__main__":
    millrace_testing.main()
