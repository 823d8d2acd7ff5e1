#!/usr/bin/env python3
"""Commands for those who operate queues: batches, workers, kinds, purge, backup."""

import pathlib
import sqlite3
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

KIND_KEYS = ("kind", "max_attempts", "crashes_max", "timeout_ms", "retry", "not_replayable",
             "by_operator")


class Case(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def rows(self, *words):
        return self.good(self.b, *words, "--output", "jsonl").rows()


class Jobs(Case):
    def test_ids_are_named_in_two_ways(self):
        ids = [self.enqueue(self.b, "echo") for _ in range(4)]
        rows = self.rows("job", "cancel", ids[0], "--id", f"{ids[1]},{ids[2]}")
        self.assertEqual(rows, [{"job": job, "status": "ok"} for job in [ids[1], ids[2], ids[0]]])
        self.assertEqual(self.b.states(), {"cancelled": 3, "ready": 1})

    def test_a_dry_run_lists_what_would_be_and_changes_nothing(self):
        self.enqueue(self.b, "echo", "a")
        ended = self.enqueue(self.b, "echo", "b")
        self.good(self.b, "job", "cancel", ended)
        rows = self.rows("job", "cancel", "--queue", "default", "--dry-run")
        self.assertEqual([row["job"] for row in rows], [1])
        self.assertIn("1 job would be cancelled",
                      self.good(self.b, "job", "cancel", 1, ended, "--dry-run").err)
        self.assertEqual(self.b.states(), {"cancelled": 1, "ready": 1})

    def test_a_purge_can_be_of_a_kind_and_of_a_state(self):
        self.enqueue(self.b, "echo")
        self.enqueue(self.b, "sleep", {"ms": 1})
        late = self.enqueue(self.b, "sleep", {"ms": 1}, "--delay", "1h")
        rows = self.rows("queue", "purge", "default", "--kind", "sleep", "--dry-run")
        self.assertEqual([row["job"] for row in rows], [2, 3])
        self.assertEqual(self.b.states(), {"ready": 2, "scheduled": 1})
        self.assertEqual(self.rows("queue", "purge", "default", "--kind", "sleep", "--state",
                                   "scheduled"), [{"queue": "default", "cancelled": 1}])
        self.assertEqual(self.b.job(late)["state"], "cancelled")
        self.assertEqual(self.rows("queue", "purge", "default"),
                         [{"queue": "default", "cancelled": 2}])

    def test_only_jobs_that_wait_are_purged(self):
        done = self.producer(self.b, "queue", "purge", "default", "--state", "dead")
        self.assertEqual((done.code, done.out), (64, ""), done)
        self.assertIn("blocked, scheduled or ready", done.err)


class Batches(Case):
    def test_a_batch_is_cancelled_alone(self):
        ids = self.enqueue_many(self.b, "echo", range(3))
        other = self.enqueue(self.b, "echo")
        rows = self.rows("batch", "cancel", ids[0], "--dry-run")
        self.assertEqual([row["job"] for row in rows], ids)
        self.assertEqual(self.b.states(), {"ready": 4})
        self.assertEqual(self.rows("batch", "cancel", ids[0]),
                         [{"job": job, "status": "ok"} for job in ids])
        self.assertEqual(self.b.states(), {"ready": 1, "cancelled": 3})
        self.assertEqual(self.b.job(other)["state"], "ready")

    def test_the_dead_jobs_of_a_batch_are_redriven(self):
        self.worker(self.b)
        ids = self.enqueue_many(self.b, "fail", [{"times": 1}, {"times": 1}], "--max-attempts", "1")
        alone = self.enqueue(self.b, "fail", {}, "--max-attempts", "1")
        self.wait_for_states(self.b, dead=3)
        rows = self.rows("batch", "redrive", ids[0], "--dry-run")
        self.assertEqual([row["job"] for row in rows], ids)
        self.assertEqual(len(self.rows("batch", "redrive", ids[0])), 2)
        wait_for(lambda: self.b.value("SELECT sum(deliveries) FROM jobs") == 5)
        self.assertEqual(self.b.job(alone)["deliveries"], 1)

    def test_one_that_does_not_exist_is_1(self):
        for verb in ("cancel", "redrive"):
            done = self.producer(self.b, "batch", verb, "77")
            self.assertEqual((done.code, done.out), (1, ""), done)
            self.assertIn("77", done.err)


class Workers(Case):
    def setUp(self):
        super().setUp()
        self.mail = self.worker(self.b, "--name", "mail", "--queue", "mail", "--until", "forever")
        self.web = self.worker(self.b, "--name", "web", "--queue", "web", "--until", "forever")

    def test_one_is_shown_by_id_and_by_name(self):
        rows = {row["name"]: row for row in self.rows("worker", "ls")}
        (by_name,) = self.rows("worker", "show", "mail")
        (by_id,) = self.rows("worker", "show", rows["mail"]["worker"])
        self.assertEqual((by_name["worker"], by_name["queues"]), (by_id["worker"], ["mail"]))
        self.assertIn("mail", self.good(self.b, "worker", "show", "mail").out)
        done = self.producer(self.b, "worker", "show", "nobody")
        self.assertEqual((done.code, done.out), (1, ""), done)
        self.assertIn("nobody", done.err)

    def test_one_is_sent_home_and_leaves_with_0(self):
        (row,) = self.rows("worker", "stop", "mail")
        self.assert_keys(row, "worker", "name", "status")
        self.assertEqual((row["name"], row["status"]), ("mail", "ok"))
        self.assertEqual(self.mail.wait(), 0)
        self.assertTrue(self.web.is_running())
        self.assertEqual([row["name"] for row in self.rows("worker", "ls")], ["web"])

    def test_what_runs_is_finished(self):
        job = self.enqueue(self.b, "sleep", {"ms": 1500}, "--queue", "mail")
        self.wait_for_state(self.b, job, "leased")
        self.good(self.b, "worker", "stop", "mail")
        self.assertEqual(self.mail.wait(), 0)
        row = self.b.job(job)
        self.assertEqual((row["state"], row["deliveries"]), ("done", 1))

    def test_by_queue_and_all_and_only_to_look(self):
        rows = self.rows("worker", "stop", "--all", "--dry-run")
        self.assertEqual({row["name"] for row in rows}, {"mail", "web"})
        self.assertEqual([row["name"] for row in self.rows("worker", "stop", "--queue", "web")],
                         ["web"])
        self.assertEqual(self.web.wait(), 0)
        self.assertTrue(self.mail.is_running())
        self.good(self.b, "worker", "stop", "--all")
        self.assertEqual(self.mail.wait(), 0)

    def test_none_named_is_64_and_one_that_is_not_there_is_1(self):
        self.assertEqual(self.producer(self.b, "worker", "stop").code, 64)
        done = self.producer(self.b, "worker", "stop", "mail", "nobody")
        self.assertEqual(done.code, 1, done)
        self.assertTrue(self.mail.is_running())


class Kinds(Case):
    def test_what_holds_for_a_kind_holds_for_jobs_that_do_not_say_otherwise(self):
        before = self.enqueue(self.b, "mail")
        (row,) = self.rows("kind", "set", "mail", "--max-attempts", "9", "--crashes-max", "2",
                           "--timeout", "5s", "--retry", "linear:5s", "--not-replayable")
        self.assert_keys(row, *KIND_KEYS)
        self.assertEqual(row, {"kind": "mail", "max_attempts": 9, "crashes_max": 2,
                               "timeout_ms": 5000, "retry": "linear:5s", "not_replayable": True,
                               "by_operator": True})
        after = self.enqueue(self.b, "mail")
        other = self.enqueue(self.b, "mail", None, "--max-attempts", "4", "--retry", "1s")

        def said(job):
            (shown,) = self.rows("job", "show", job)
            return [shown[key] for key in ("max_attempts", "crashes_max", "timeout_ms", "retry")]

        self.assertEqual(said(before), [3, 3, 0, None])
        self.assertEqual(said(after), [9, 2, 5000, "linear:5s"])
        self.assertEqual(said(other), [4, 2, 5000, "1s"])

    def test_what_is_not_named_stays(self):
        self.good(self.b, "kind", "set", "mail", "--max-attempts", "9", "--not-replayable")
        (row,) = self.rows("kind", "set", "mail", "--retry", "1s,5s")
        self.assertEqual((row["max_attempts"], row["retry"], row["not_replayable"]),
                         (9, "1s,5s", True))
        (row,) = self.rows("kind", "set", "mail", "--replayable")
        self.assertEqual((row["max_attempts"], row["not_replayable"]), (9, False))
        self.assertEqual([one for one in self.rows("kind", "ls") if one["kind"] == "mail"], [row])
        self.assertIn("mail", self.good(self.b, "kind", "ls").out)

    def test_a_reset_forgets(self):
        self.good(self.b, "kind", "set", "mail", "--max-attempts", "9")
        (row,) = self.rows("kind", "reset", "mail")
        self.assertEqual((row["max_attempts"], row["by_operator"]), (None, False))
        self.assertEqual([one for one in self.rows("kind", "ls") if one["kind"] == "mail"], [])
        (shown,) = self.rows("job", "show", self.enqueue(self.b, "mail"))
        self.assertEqual(shown["max_attempts"], 3)

    def test_what_cannot_be_is_64(self):
        for words in (["mail"], ["mail", "--max-attempts", "0"], ["mail", "--retry", "often"],
                      ["Mail", "--max-attempts", "1"],
                      ["mail", "--replayable", "--not-replayable"]):
            with self.subTest(words=words):
                done = self.producer(self.b, "kind", "set", *words)
                self.assertEqual((done.code, done.out), (64, ""), done)

    def test_url_check_says_its_own_delays(self):
        self.worker(self.b)
        kinds = {row["kind"]: row for row in self.rows("kind", "ls")}
        self.assertEqual((kinds["url.check"]["retry"], kinds["url.check"]["by_operator"]),
                         ("200ms jitter:0", False))


class Backups(Case):
    def count(self, path):
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM jobs").fetchone()[0]
        finally:
            connection.close()

    def test_a_copy_of_everything_is_made_where_the_command_runs(self):
        self.enqueue_many(self.b, "echo", range(50))
        (row,) = self.rows("backup", "copy.db")
        self.assert_keys(row, "path", "bytes", "jobs")
        copy = self.folder / "copy.db"
        self.assertEqual(row, {"path": str(copy), "bytes": copy.stat().st_size, "jobs": 50})
        self.assertEqual(self.count(copy), 50)

    def test_people_are_told_where_it_is(self):
        self.enqueue(self.b, "echo")
        done = self.good(self.b, "backup", self.folder / "copy.db")
        self.assertEqual(done.out, "")
        self.assertIn(f"{self.folder}/copy.db: 1 job", done.err)

    def test_a_file_is_not_written_over(self):
        path = self.file("mine.txt", "keep")
        done = self.producer(self.b, "backup", path)
        self.assertNotEqual(done.code, 0)
        self.assertIn("mine.txt", done.err)
        self.assertEqual(path.read_text(), "keep")

    def test_a_broker_with_a_folder_for_backups_takes_a_name(self):
        folder = self.folder / "backups"
        folder.mkdir()
        broker = self.broker("--backup-dir", folder, db=self.folder / "other.db")
        self.enqueue(broker, "echo")
        self.good(broker, "backup", "copy.db")
        self.assertEqual(self.count(folder / "copy.db"), 1)
        done = self.producer(broker, "backup", self.folder / "elsewhere.db")
        self.assertEqual(done.code, 64, done)
        self.assertIn("--backup-dir", done.err)


if __name__ == "__main__":
    millrace_testing.main()
