#!/usr/bin/env python3
"""millrace-audit as a program: what it reads, says and returns. The rules have tests of their own in
tests/contract/file_check_test.cpp."""

import json
import pathlib
import shutil
import signal
import sqlite3
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
from millrace_testing import BIN, Finished, feed  # noqa: E402


class Audit(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.worker(self.b)
        done = self.good(self.b, "enqueue", "echo", "-", "--output", "jsonl", stdin="1\n2\n3\n")
        self.rows = done.out
        self.late = self.enqueue(self.b, "echo", 4, "--delay", "1h")
        self.wait_for_states(self.b, done=3, scheduled=1)

    def audit(self, *words, stdin=None):
        process = self.start([BIN / "millrace-audit", *words], stdin=-1 if stdin else None)
        if stdin:
            feed(process, stdin)
        return Finished(process.wait(), process.out, process.err)

    def expect(self, code, *words, **keywords):
        done = self.audit(*words, **keywords)
        self.assertEqual(done.code, code, done)
        return done

    def test_ids_come_one_a_line_or_as_rows_from_a_file_or_stdin(self):
        text = self.rows + f"\n  \n{self.late}\r\n"
        for done in (self.expect(0, self.b.db, self.file("acked", text)),
                     self.expect(0, self.b.db, "-", stdin=text)):
            self.assertEqual((done.out, done.err), ("4 jobs, 4 acknowledged, 0 violations\n", ""))
        self.assertEqual(self.expect(0, self.b.db).out, "4 jobs, 0 acknowledged, 0 violations\n")
        self.assertEqual(self.expect(0, self.b.db, self.file("none", "")).out,
                         "4 jobs, 0 acknowledged, 0 violations\n")

    def test_what_was_promised_and_is_not_there_is_a_violation(self):
        done = self.expect(1, self.b.db, "-", stdin="1\n2\n70\n80\n")
        self.assertEqual(done.out.splitlines(), [
            "lost: job 70 was acknowledged and is not there",
            "lost: job 80 was acknowledged and is not there",
            "4 jobs, 4 acknowledged, 2 violations"])
        # Those that retention may have removed are no loss.
        done = self.expect(1, self.b.db, "-", "--pruned-before", "80", stdin="1\n2\n70\n80\n")
        self.assertIn("1 violations", done.out)
        self.expect(0, self.b.db, "-", "--pruned-before", "81", stdin="1\n2\n70\n80\n")

    def test_an_id_for_two_askers_is_a_violation(self):
        done = self.expect(1, self.b.db, "-", stdin="1\n2\n1\n")
        self.assertEqual(done.out, "twice: id 1 was acknowledged twice\n"
                                   "4 jobs, 2 acknowledged, 1 violations\n")

    def test_all_must_have_ended_only_when_asked(self):
        done = self.expect(1, self.b.db, "--all-ended")
        self.assertEqual(done.out, f"open: job {self.late} is scheduled\n"
                                   "4 jobs, 0 acknowledged, 1 violations\n")
        self.expect(0, self.b.db, "-", "--final", "done", stdin="1\n2\n3\n")
        self.expect(0, self.b.db, "-", "--final", "done,scheduled", stdin=f"1\n{self.late}\n")
        done = self.expect(1, self.b.db, "-", "--final", "dead", "--final", "done",
                           stdin=f"{self.late}\n")
        self.assertIn(f"final: job {self.late} is scheduled, not dead or done\n", done.out)

    def test_json(self):
        done = self.expect(1, self.b.db, "-", "--json", stdin="1\n70\n")
        self.assertEqual(json.loads(done.out), {
            "jobs": 4, "acknowledged": 2,
            "violations": [{"rule": "lost", "text": "job 70 was acknowledged and is not there"}]})

    def test_a_copy_with_its_log_is_read_as_the_file_it_was(self):
        copy = self.folder / "copy.db"
        for suffix in ("", "-wal"):
            shutil.copy(f"{self.b.db}{suffix}", f"{copy}{suffix}")
        self.assertEqual(self.expect(0, copy).out, "4 jobs, 0 acknowledged, 0 violations\n")

    def test_what_the_file_says_against_itself_is_a_violation(self):
        self.b.signal(signal.SIGTERM)
        self.b.wait()
        connection = sqlite3.connect(self.b.db)
        connection.execute("UPDATE status SET finish_seq = 1 WHERE state = 4")
        connection.execute("UPDATE status SET finished_at = 1 WHERE id = 2")
        connection.commit()
        connection.close()
        done = self.expect(1, self.b.db)
        self.assertRegex(done.out, "(?m)^cursor: jobs 1 and 2 both ended at cursor 1$")
        self.assertRegex(done.out, "(?m)^time: job 2 ")
        self.assertNotIn("time: ", self.expect(1, self.b.db, "--clock-set").out)
        with self.assertRaises(AssertionError) as raised:
            audit.check(self.b.db, [1, 9])
        self.assertIn("cursor 1", str(raised.exception))
        self.assertIn("job 9 was acknowledged", str(raised.exception))

    def test_bad_inputs(self):
        self.expect(64)
        self.expect(64, self.b.db, "--no-such-option")
        self.expect(64, self.b.db, "--final", "finished")
        self.expect(66, self.folder / "none.db")
        self.expect(66, self.b.db, self.folder / "none")
        self.expect(66, self.b.db, self.folder)
        self.expect(78, self.file("notes.db", "notes\n" * 100))
        for line in ("x", "-1", "0", "1 2", "1.5", '{"ids": [0]}', '{"ids": "1"}', '{"batch": 1}',
                     "[1]", "99999999999999999999"):
            with self.subTest(line=line):
                done = self.expect(65, self.b.db, "-", stdin=f"1\n{line}\n")
                self.assertIn("line 2", done.err)
                self.assertEqual(done.out, "")


if __name__ == "__main__":
    millrace_testing.main()
