#!/usr/bin/env python3
"""`millrace-producer compare`: the shape of what it says, never how fast; and that nothing stays behind."""

import json
import os
import pathlib
import shlex
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import BIN, Finished, wait_for  # noqa: E402

CHILD = pathlib.Path(__file__).resolve().parents[1] / "support" / "stdio_child.py"
KEYS = ("executor", "jobs", "seconds", "speedup", "jobs_per_s", "cpu_s", "memory_bytes", "overhead_us",
        "error")
WAYS = ["inline", "thread", "process", "loop"]


def command_lines():
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit():
                found.append(pathlib.Path("/proc", entry, "cmdline").read_bytes().decode("utf-8", "replace"))
        except OSError:
            pass
    return found


class Compare(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)
        self.scratch = self.folder / "tmp"
        self.scratch.mkdir()

    def tearDown(self):
        self.assertEqual(os.listdir(self.scratch), [], "its folder is gone")
        self.assertFalse([line for line in command_lines() if str(self.scratch) in line or str(CHILD) in line])

    def start_compare(self, *words):
        return self.start([BIN / "millrace-producer", "compare", *words],
                          environment={"TMPDIR": str(self.scratch)})

    def compare(self, *words):
        process = self.start_compare(*words)
        return Finished(process.wait(90), process.out, process.err)

    def rows(self, *words, code=0):
        done = self.compare(*words, "--output", "jsonl")
        self.assertEqual(done.code, code, done)
        rows = done.rows()
        self.assertEqual([row["executor"] for row in rows], WAYS)
        for row in rows:
            self.assert_keys(row, *KEYS)
        return {row["executor"]: row for row in rows}, done

    def assert_measured(self, row, jobs):
        self.assertEqual(row["jobs"], jobs)
        for key in ("seconds", "jobs_per_s", "cpu_s", "memory_bytes"):
            self.assertGreater(row[key], 0, (key, row))

    def assert_refused(self, row, words):
        self.assertIn(words, row["error"])
        for key in ("seconds", "speedup", "jobs_per_s", "cpu_s", "memory_bytes", "overhead_us"):
            self.assertIsNone(row[key], row)

    def program(self, payload):
        command = " ".join(map(shlex.quote, [sys.executable, "-B", str(CHILD)]))
        return ["nasty", json.dumps(payload), "--kind", f"nasty={command}"]

    def test_a_kind_that_can_run_everywhere_has_four_measured_rows(self):
        rows, done = self.rows("echo", '"a"', "[1, 2]", "--jobs", "50")
        for row in rows.values():
            self.assert_measured(row, 50)
            self.assertIsNone(row["error"])
        self.assertEqual(rows["inline"]["speedup"], 1)
        self.assertIn("put more work into each job", done.err)

    def test_a_payload_that_is_an_array_stays_one(self):
        rows, _ = self.rows("sum", '[{"n": 5}]', "--jobs", "2", code=1)
        self.assertIn("bad_payload", rows["inline"]["error"])

    def test_a_table_ends_with_one_line_of_advice(self):
        done = self.compare("sum", '{"n": 3000000}', "--jobs", "20", "--size", "2")
        self.assertEqual(done.code, 0, done)
        titles, *rows, advice = done.out.splitlines()
        self.assertRegex(titles, "WHERE +AT ONCE +TIME +SPEED-UP +JOBS/S +CPU +MEMORY +OVERHEAD/JOB")
        self.assertEqual([row.split()[0] for row in rows], ["inline", "threads", "processes", "loop"])
        self.assertEqual([row.split()[1] for row in rows], ["1", "2", "2", "-"])
        self.assertIn("cannot run on the loop", rows[3])
        self.assertRegex(advice, "^(threads|processes)")

    def test_json_is_one_array(self):
        done = self.compare("sleep", '{"ms": 1}', "--jobs", "10", "--output", "json")
        self.assertEqual([row["executor"] for row in done.json()], WAYS)

    def test_a_program_is_measured_in_processes_and_refused_elsewhere(self):
        rows, done = self.rows(*self.program({"do": "echo"}), "--jobs", "20")
        self.assert_measured(rows["process"], 20)
        self.assertIsNone(rows["process"]["speedup"])
        for way in ("inline", "thread", "loop"):
            self.assert_refused(rows[way], "a program")
        self.assertIn("processes: the only place", done.err)

    def test_jobs_that_fail_are_counted_and_told(self):
        rows, done = self.rows("fail", '{"message": "no luck"}', "--jobs", "10", code=1)
        for row in rows.values():
            self.assertEqual(row["error"], "10 of 10 jobs failed: no luck")
        self.assertIn("none: jobs failed everywhere", done.err)

    def test_a_program_that_crashes_fails_its_jobs_alone(self):
        rows, _ = self.rows(*self.program({"do": "segfault"}), "--jobs", "4", code=1)
        self.assertIn("4 of 4 jobs failed", rows["process"]["error"])
        self.assertIn("SEGV", rows["process"]["error"])

    def test_kinds_of_a_program_built_with_the_library_can_be_compared(self):
        rows, _ = self.rows("fan", "{}", "--jobs", "20", "--worker", str(BIN / "millrace-fan"))
        for way in ("inline", "thread", "process"):
            self.assert_measured(rows[way], 20)
        self.assert_refused(rows["loop"], "cannot run on the loop")

    def test_a_kind_that_ends_its_process_is_sent_to_processes(self):
        rows, done = self.rows("fan", '{"aborts": true}', "--jobs", "4", "--worker", str(BIN / "millrace-fan"), code=1)
        for way in ("inline", "thread"):
            self.assert_refused(rows[way], "signal 6 (ABRT)")
        self.assertIn("4 of 4 jobs failed", rows["process"]["error"])
        self.assertIn("processes: `fan` takes down the process", done.err)

    def test_what_cannot_be_compared_is_refused_at_once(self):
        for code, said, words in [
                (64, "it has echo, fail", ["nope"]),
                (64, "no kind name", ["No Name"]),
                (64, "--jobs 0", ["echo", "--jobs", "0"]),
                (64, "--size 5000", ["echo", "--size", "5000"]),
                (64, "--kind is for", ["x", "--kind", "x=true", "--worker", "true"]),
                (65, "no JSON value", ["echo", "{"]),
                (66, "/no/such/program", ["echo", "--worker", "/no/such/program"]),
        ]:
            with self.subTest(words=words):
                done = self.compare(*words)
                self.assertEqual((done.code, done.out), (code, ""), done)
                self.assertIn(said, done.err)

    def test_a_program_that_is_no_worker_is_told_so(self):
        done = self.compare("echo", "--worker", "/bin/true")
        self.assertEqual(done.code, 70, done)
        self.assertIn("/bin/true ended", done.err)

    def test_an_interrupt_leaves_nothing_behind(self):
        def child_runs():
            return [line for line in command_lines() if str(CHILD) in line and "--kind" not in line]

        def inline_runs():
            return [path for path in self.scratch.glob("*/inline.out") if "trial" in path.read_text()]

        for words, started in [
                (self.program({"do": "deaf"}), child_runs),
                (["sleep", '{"ms": 600000}'], inline_runs),
        ]:
            with self.subTest(words=words):
                process = self.start_compare(*words, "--jobs", "4")
                wait_for(started)
                process.signal(signal.SIGINT)
                self.assertEqual(process.wait(), 130, process.err)
                self.assertFalse([line for line in command_lines() if str(CHILD) in line])


if __name__ == "__main__":
    millrace_testing.main()
