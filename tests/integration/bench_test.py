#!/usr/bin/env python3
"""The benchmark runs every workload, and its JSON is what scripts expect. Never how fast anything is."""

import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from millrace_testing import BIN  # noqa: E402

PROGRAM = BIN / "millrace-bench"
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "bench"
KEYS = {"workload", "subject", "metric", "value", "unit"}
WORKLOADS = {"limits", "W1", "W1s", "W2", "W3", "W4", "W5", "W6", "W7"}
SECONDS = 200


class Bench(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-bench-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def bench(self, *words):
        return subprocess.run([str(PROGRAM), *map(str, words)], capture_output=True, text=True,
                              timeout=SECONDS, check=False)

    def figures(self, *words):
        path = self.folder / "figures.json"
        done = self.bench("--json", path, "--rounds", "1", "--scale", "0.001", *words)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        rows = json.loads(path.read_text(encoding="utf-8"))
        for row in rows:
            self.assertEqual(set(row), KEYS)
            self.assertTrue(math.isfinite(row["value"]), row)
        names = [(row["workload"], row["subject"], row["metric"]) for row in rows]
        self.assertEqual(len(set(names)), len(names), "each figure stands there once")
        return set(names), done.stdout

    def test_every_workload_gives_figures_beside_its_limits(self):
        names, table = self.figures("--backlog", "200000,400000")

        self.assertEqual({workload for workload, _, _ in names}, WORKLOADS)
        self.assertEqual({subject for _, subject, _ in names}, {"millrace", "limit"})
        self.assertLessEqual(
            {("W1", "millrace", "enqueue.batch100"), ("W1", "millrace", "enqueue.batch1000"),
             ("W1", "limit", "sqlite.insert"), ("W1s", "millrace", "enqueue.p99"),
             ("W1s", "limit", "sqlite.commit.p99"), ("W2", "millrace", "total.batch1000"),
             ("W2", "millrace", "broker.cpu"), ("W2", "limit", "sqlite.cpu"), ("W3", "millrace", "latency.p99.9"),
             ("W4", "millrace", "200.enqueue.ratio"), ("W4", "millrace", "400.restart"),
             ("W5", "millrace", "enqueue.stall"), ("W6", "millrace", "delay-1s.cost"),
             ("W7", "millrace", "command.p50"), ("limits", "limit", "zeromq.echo"),
             ("limits", "limit", "zeromq.echo.cpu")}, names)
        for workload in WORKLOADS:
            self.assertIn(f"\n{workload}  ", table)

    def test_figures_of_others_stand_beside(self):
        rivals = self.folder / "rivals.json"
        row = {"workload": "W7", "subject": "other", "unit": "ms"}
        rivals.write_text(json.dumps([{**row, "metric": "command.p50", "value": 4711},
                                      {**row, "metric": "of.its.own", "value": 4712},
                                      {**row, "subject": "limit", "metric": "old", "value": 1}]),
                          encoding="utf-8")

        names, table = self.figures("--only", "w7", "--rivals", rivals)

        self.assertEqual({workload for workload, _, _ in names}, {"W7"})
        self.assertLessEqual({("W7", "other", "command.p50"), ("W7", "other", "of.its.own"),
                              ("W7", "millrace", "command.p50")}, names)
        self.assertNotIn(("W7", "limit", "old"), names)
        self.assertIn("4711", table)
        self.assertIn("4712", table)

    def test_wrong_options_and_files_are_named(self):
        for words in (["--only", "W9"], ["--rounds", "0"], ["--rivals", self.folder / "none"], ["x"]):
            self.assertEqual(self.bench(*words).returncode, 64, words)
        broken = self.folder / "broken.json"
        broken.write_text("{}]", encoding="utf-8")
        done = self.bench("--only", "W7", "--scale", "0.001", "--rounds", "1", "--rivals", broken)
        self.assertEqual(done.returncode, 70)
        self.assertIn("broken.json", done.stderr)


class Scripts(unittest.TestCase):
    """Each in small: that it measures all its subjects and that these end as they should."""

    def run_script(self, name, *words):
        done = subprocess.run([sys.executable, "-B", str(SCRIPTS / name), "--bin", str(BIN), "--rounds", "1",
                               *words], capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_primes_are_counted_alone_and_by_workers(self):
        table = self.run_script("primes.py", "--to", "30000000")
        for subject in ("libprimesieve alone", "two workers running", "producer started"):
            self.assertRegex(table, rf"{subject}.* \d+\.\d\d +\d+\.\d\d")

    def test_a_kind_that_crashes_leaves_its_neighbour_alone(self):
        table = self.run_script("crashes.py", "--jobs", "40")
        for subject in ("one run in 10 crashes", "none crashes"):
            self.assertRegex(table, rf"{subject} +\d+ +\d+ +\d+ +\d+ -> \d+")

    def test_urls_are_checked_by_all_subjects(self):
        table = self.run_script("url_check.py", "--urls", "300", "--delay", "5")
        for subject in ("loop, 512 in flight", "curl --parallel-max 256", "threads, 64", "Python threads, 64"):
            self.assertRegex(table, rf"{subject} +\d+ +\d+%")


if __name__ == "__main__":
    unittest.main()
