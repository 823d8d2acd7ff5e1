#!/usr/bin/env python3
"""Replay: ended jobs run again as new ones that name their origin."""

import datetime
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402


class Replay(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.w = self.worker(self.b)
        # Ids 1 to 3 are done, 4 and 5 dead, 6 done in another queue, 7 cancelled.
        self.enqueue_many(self.b, "echo", ["a", "b", "c"])
        self.enqueue_many(self.b, "fail", [{"message": "x"}, {"message": "y"}],
                          "--max-attempts", "1")
        self.worker(self.b, "--queue", "mail")
        self.enqueue(self.b, "echo", "d", "--queue", "mail")
        self.good(self.b, "job", "cancel", self.enqueue(self.b, "echo", "e", "--delay", "1h"))
        self.wait_for_states(self.b, done=4, dead=2, cancelled=1)

    def replay(self, *words):
        """Replays; the origin of each new job by its id."""
        rows = self.good(self.b, "replay", *words, "--output", "jsonl").rows()
        pairs = {}
        for row in rows:
            self.assertEqual(len(row["ids"]), len(row["replay_of"]))
            pairs.update(zip(row["ids"], row["replay_of"]))
        stored = dict(self.b.query("SELECT id, replay_of FROM jobs WHERE replay_of IS NOT NULL"))
        self.assertEqual({job: stored[job] for job in pairs}, pairs)
        return pairs

    def test_a_dry_run_lists_and_changes_nothing(self):
        rows = self.good(self.b, "replay", "--state", "dead", "--dry-run", "--output",
                         "jsonl").rows()
        self.assertEqual([row["job"] for row in rows], [4, 5])
        done = self.good(self.b, "replay", "--state", "dead", "--dry-run")
        self.assertEqual(len(done.out.splitlines()), 2)
        self.assertIn("2 jobs would be replayed", done.err)
        self.assertEqual(self.b.states(), {"done": 4, "dead": 2, "cancelled": 1})

    def test_by_state(self):
        self.assertEqual(self.replay("--state", "dead"), {8: 4, 9: 5})
        self.wait_for_states(self.b, done=4, dead=4, cancelled=1)
        self.assertEqual(list(self.replay("--state", "cancelled").values()), [7])

    def test_by_id(self):
        self.assertEqual(self.replay("--id", "2", "--id", "6"), {8: 2, 9: 6})
        self.assertEqual(list(self.replay("--id", "1,3").values()), [1, 3])

    def test_by_batch(self):
        self.assertEqual(list(self.replay("--batch", "1").values()), [1, 2, 3])

    def test_by_kind_and_queue_together(self):
        self.assertEqual(list(self.replay("--kind", "echo", "--queue", "mail").values()), [6])
        self.assertEqual(self.b.job(8)["queue"], "mail")

    def test_by_time(self):
        future = (datetime.datetime.now(datetime.timezone.utc) +
                  datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        done = self.good(self.b, "replay", "--since", future)
        self.assertIn("nothing to replay", done.err)
        self.assertEqual(len(self.replay("--until", future)), 7)

    def test_the_copy_is_the_same_work_with_a_history_of_its_own(self):
        self.assertEqual(self.replay("--id", "1"), {8: 1})
        copy = self.wait_for_state(self.b, 8, "done")
        origin = self.b.job(1)
        for column in ("queue", "kind", "priority", "payload", "result"):
            self.assertEqual(copy[column], origin[column])
        self.assertEqual((copy["attempts"], copy["deliveries"], copy["replay_of"], copy["batch"]),
                         (1, 1, 1, 8))
        self.assertIsNone(origin["replay_of"])

    def test_a_replayed_job_can_be_replayed_and_names_the_one_it_copies(self):
        self.replay("--id", "1")
        self.wait_for_state(self.b, 8, "done")
        self.assertEqual(self.replay("--id", "8"), {9: 8})

    def test_waiting_gives_the_results(self):
        done = self.producer(self.b, "replay", "--id", "1,4", "--wait", "--output", "jsonl")
        self.assertEqual(done.code, 1, done)
        self.assertEqual({row["job"]: row["state"] for row in done.rows()}, {8: "done", 9: "dead"})
        self.assertEqual(self.good(self.b, "replay", "--id", "1", "--wait", "--output",
                                   "json").json()[0]["result"], "a")

    def test_open_jobs_and_unknown_ids_are_left_out(self):
        self.good(self.b, "queue", "pause", "default")
        waiting = self.enqueue(self.b, "echo", "w")
        self.assertEqual(self.replay("--id", f"{waiting},999"), {})
        self.assertEqual(list(self.replay("--id", f"{waiting},999,1").values()), [1])

    def test_many_jobs_are_one_batch(self):
        ids = self.enqueue_many(self.b, "echo", range(1700), "--queue", "mail")
        wait_for(lambda: self.b.value("SELECT done FROM queues WHERE queue = 'mail'") == 1701)
        pairs = self.replay("--batch", ids[0])
        self.assertEqual(list(pairs.values()), ids)
        batches = {batch for (batch,) in self.b.query(
            "SELECT DISTINCT batch FROM jobs WHERE replay_of IS NOT NULL")}
        self.assertEqual(batches, {min(pairs)})
        done = self.good(self.b, "results", min(pairs), "--output", "jsonl")
        self.assertEqual(len(done.rows()), 1700)

    def test_a_closed_queue_takes_no_replay(self):
        self.good(self.b, "queue", "pause", "default")
        self.enqueue(self.b, "echo", "keeps it from draining")
        self.good(self.b, "close", "default")
        done = self.producer(self.b, "replay", "--id", "1")
        self.assertEqual((done.code, done.out), (75, ""), done)
        self.assertIn("closed", done.err)


class Verify(millrace_testing.Case):
    """Replays that are compared with what they repeat."""

    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.w = self.worker(self.b)

    def verify(self, code, *words):
        done = self.producer(self.b, "replay", *words, "--verify", "--output", "jsonl")
        self.assertEqual(done.code, code, done)
        return done.rows()

    def test_the_same_ends_are_0_and_no_row(self):
        self.enqueue_many(self.b, "echo", range(3))
        self.enqueue(self.b, "fail", {"message": "no luck"}, "--max-attempts", "1")
        self.wait_for_states(self.b, done=3, dead=1)
        self.assertEqual(self.verify(0, "--until", "2099-01-01"), [])
        done = self.good(self.b, "replay", "--batch", "1", "--verify")
        self.assertEqual(done.out, "")
        self.assertRegex(done.err, r"3 jobs replayed as batch \d+ · 3 as before · 0 not")

    def test_another_end_is_a_row_and_1(self):
        # A job that fails at its first try only is dead with one try and done with two.
        first = self.enqueue(self.b, "fail", {"times": 1, "message": "refused: once"},
                             "--max-attempts", "1")
        self.good(self.b, "enqueue", "echo", "1")
        self.wait_for_states(self.b, done=1, dead=1)
        self.good(self.b, "job", "cancel", self.enqueue(self.b, "echo", 2, "--delay", "1h"))
        self.assertEqual(self.verify(0, "--id", first), [])
        (row,) = self.verify(1, "--state", "cancelled")
        self.assertEqual(list(row), ["job", "replay_of", "state", "state_was", "result",
                                     "result_was", "error", "error_was"])
        self.assertEqual((row["replay_of"], row["state"], row["state_was"], row["result"],
                          row["result_was"]), (3, "done", "cancelled", 2, None))
        table = self.producer(self.b, "replay", "--id", "3", "--verify")
        self.assertEqual(table.code, 1)
        self.assertRegex(table.out, r"\Ajob \d+ replays 3: done 2 \| was cancelled")

    def test_many_are_compared_in_pages(self):
        ids = self.enqueue_many(self.b, "echo", range(1700))
        wait_for(lambda: self.b.states() == {"done": 1700})
        done = self.good(self.b, "replay", "--batch", ids[0], "--verify", seconds=60)
        self.assertIn("1,700 as before", done.err)

    def test_a_kind_that_is_not_replayable_needs_force(self):
        self.enqueue(self.b, "echo", 1)
        self.wait_for_states(self.b, done=1)
        self.good(self.b, "kind", "set", "echo", "--not-replayable")
        done = self.producer(self.b, "replay", "--id", "1")
        self.assertEqual((done.code, done.out), (77, ""), done)
        self.assertIn("`echo`", done.err)
        self.assertIn("--force", done.err)
        self.assertEqual(self.b.states(), {"done": 1})
        self.assertEqual(self.verify(0, "--id", "1", "--force"), [])
        self.assertEqual(self.b.states(), {"done": 2})


class Results(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_a_cursor_resumes_without_gap_or_repeat(self):
        self.worker(self.b)
        ids = self.enqueue_many(self.b, "echo", range(2500))
        rows = self.good(self.b, "results", ids[0], "--output", "jsonl").rows()
        self.assertEqual(sorted(row["job"] for row in rows), ids)
        cursors = [row["cursor"] for row in rows]
        self.assertEqual(cursors, sorted(set(cursors)))
        for place in (0, 1, 1233, 2498, 2499):
            rest = self.good(self.b, "results", ids[0], "--from", cursors[place], "--output",
                             "jsonl").rows()
            self.assertEqual(rest, rows[place + 1:])

    def test_a_watch_that_was_interrupted_goes_on_while_jobs_run(self):
        self.worker(self.b, "--io-threads", "2")
        process = self.start_producer(self.b, "enqueue", "sleep", "-", "--wait", "--output",
                                      "jsonl", stdin=-1)
        millrace_testing.feed(process, '{"ms": 50}\n' * 60)
        process.wait_for_line(r'"job"', out=True, count=10)
        process.signal(2)
        self.assertEqual(process.wait(), 130)
        resume = process.wait_for_line(r"millrace-producer (.*results .*)$").group(1).split()
        first = [row["job"] for row in millrace_testing.Finished(0, process.out, "").rows()]
        rest = [row["job"] for row in
                self.good("tcp://127.0.0.1:1", *resume, "--output", "jsonl").rows()]
        self.assertEqual(sorted(first + rest), list(range(1, 61)))

    def test_results_of_an_open_batch_wait_for_its_end(self):
        job = self.enqueue(self.b, "echo", 1)
        process = self.start_producer(self.b, "results", job, "--output", "jsonl")

        def producers():
            return self.good(self.b, "status", "--output", "jsonl").rows()[0]["producers"]

        wait_for(lambda: producers() == 2)  # the one that watches and the one that asks
        self.worker(self.b)
        self.assertEqual(process.wait(), 0)
        self.assertEqual(len(process.out_lines), 1)

    def test_two_watchers_see_the_same(self):
        ids = self.enqueue_many(self.b, "echo", range(100))
        watchers = [self.start_producer(self.b, "results", ids[0], "--output", "jsonl")
                    for _ in range(2)]
        self.worker(self.b)
        self.assertEqual([w.wait() for w in watchers], [0, 0])
        self.assertEqual(watchers[0].out, watchers[1].out)
        self.assertEqual(len(watchers[0].out_lines), 100)

    def test_a_batch_whose_jobs_were_cancelled_ends(self):
        process = self.start_producer(self.b, "enqueue", "echo", "-", "--wait", stdin=-1)
        millrace_testing.feed(process, "1\n2\n")
        wait_for(lambda: self.b.states() == {"ready": 2})
        self.good(self.b, "queue", "purge", "default")
        self.assertEqual(process.wait(), 1)


if __name__ == "__main__":
    millrace_testing.main()
