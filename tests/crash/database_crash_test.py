#!/usr/bin/env python3
"""A database file that goes away or is replaced under the broker that serves it."""

import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
from millrace_testing import BIN  # noqa: E402


class Database(millrace_testing.Case):
    audited = False

    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.ids = self.enqueue_many(self.b, "echo", range(50))

    def assert_ends_with_74(self):
        self.assertEqual(self.b.wait(10), 74)
        self.assertIn(str(self.b.db), self.b.err)

    def test_a_file_that_is_deleted_ends_the_broker(self):
        self.b.db.unlink()
        self.assert_ends_with_74()

    def test_a_file_that_is_moved_away_ends_the_broker_and_keeps_its_jobs(self):
        moved = self.folder / "moved.db"
        for suffix in ("-wal", "-shm", ""):
            path = pathlib.Path(f"{self.b.db}{suffix}")
            if path.exists():
                os.rename(path, f"{moved}{suffix}")
        self.assert_ends_with_74()
        audit.check(moved, self.ids)

    def test_a_file_that_is_replaced_ends_the_broker_and_is_not_touched(self):
        other = self.folder / "copy.db"
        shutil.copy(self.b.db, other)
        before = other.read_bytes()
        os.replace(other, self.b.db)
        self.assert_ends_with_74()
        self.assertEqual(self.b.db.read_bytes(), before)

    def test_a_producer_is_not_told_of_jobs_that_went_with_the_file(self):
        self.b.db.unlink()
        done = self.producer(self.b, "enqueue", "echo", "-", "--output", "jsonl", "--reconnect",
                             "1s", stdin="1\n" * 10)
        # Up to a second may pass before the loss is seen; what is refused is refused aloud.
        self.assertIn(done.code, (0, 69, 74), done)
        self.assert_ends_with_74()

    def test_a_second_broker_is_sent_away_and_the_first_is_unaffected(self):
        self.worker(self.b)
        process = self.start_producer(self.b, "enqueue", "sleep", "-", "--wait", "--output",
                                      "jsonl", stdin=-1)
        millrace_testing.feed(process, '{"ms": 10}\n' * 100)
        codes = []
        while process.is_running():
            second = self.start([BIN / "millrace-broker", "--listen", "tcp://127.0.0.1:*", "--db",
                                 self.b.db])
            codes.append(second.wait())
        self.assertEqual(process.wait(), 0)
        self.assertEqual(len(process.out_lines), 100)
        self.assertEqual(set(codes), {75})
        audit.check(self.b.db, self.ids, ended=True, final=("done",))

    def test_nobody_gets_in_by_another_name(self):
        link = self.folder / "link.db"
        link.symlink_to(self.b.db)
        hard = self.folder / "hard.db"
        os.link(self.b.db, hard)
        for path, code in ((link, 75), (hard, 74)):
            done = self.run_broker("--listen", "tcp://127.0.0.1:*", "--db", path)
            self.assertEqual(done.code, code, done)
        self.assertFalse(pathlib.Path(f"{hard}-wal").exists())
        more = self.enqueue_many(self.b, "echo", range(10))
        self.worker(self.b, "--until", "empty")
        self.wait_for_states(self.b, done=60)
        audit.check(self.b.db, self.ids + more, ended=True, final=("done",))

    def test_a_killed_broker_leaves_a_file_that_anybody_can_read(self):
        self.b.kill()
        audit.check(self.b.db, self.ids)
        self.assertEqual(self.b.states(), {"ready": 50})


if __name__ == "__main__":
    millrace_testing.main()
