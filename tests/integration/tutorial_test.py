#!/usr/bin/env python3
"""Runs every example script and looks at what it prints, and that it leaves nothing behind."""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import BIN, ENVIRONMENT  # noqa: E402

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


class Tutorial(millrace_testing.Case):
    def run_example(self, name):
        os.chmod(self.folder, 0o755)
        scratch = self.folder / "tmp"
        scratch.mkdir(mode=0o755)
        environment = {**ENVIRONMENT, "MILLRACE_BIN_DIR": str(BIN), "TMPDIR": str(scratch)}
        # LC_ALL of a reader whose numbers have a comma must not matter either.
        done = subprocess.run([EXAMPLES / name], env=environment, cwd=self.folder, text=True, timeout=120,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertEqual(os.listdir(scratch), [], "its folder is gone")
        return done.stdout

    def seconds(self, text, what):
        return float(re.search(rf"(?m)^{re.escape(what)}: ([0-9.]+) s$", text).group(1))

    def test_every_script_has_a_test_and_a_line_in_the_table(self):
        scripts = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.sh")}
        scripts.remove("tutorial/common.sh")
        tests = pathlib.Path(__file__).read_text(encoding="utf-8")
        table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
        for script in scripts:
            self.assertIn(f'run_example("{script}")', tests)
            self.assertIn(f"({script})", table)

    def test_three_waits_take_as_long_as_one(self):
        text = self.run_example("tutorial/01_three_waits.sh")
        self.assertLess(self.seconds(text, "three waits at once"), 3.5)
        self.assertGreater(self.seconds(text, "three waits one after the other"), 5.9)

    def test_updates_are_lost_without_a_lock(self):
        text = self.run_example("tutorial/02_lost_update.sh")
        _, without, with_lock, sanitizer = text.split("\n== ")
        self.assertGreater(int(re.search(r"(\d+) lost", without).group(1)), 0)
        self.assertIn("1000000 of 1000000, 0 lost", with_lock)
        self.assertIn("WARNING: ThreadSanitizer: data race", sanitizer)
        self.assertIn("wrong: a data race\nright: nothing to report\n", sanitizer)

    def test_a_sum_is_compared(self):
        text = self.run_example("tutorial/03_sum.sh")
        for word in ("inline", "threads", "processes", "loop"):
            self.assertRegex(text, rf"(?m)^{word} ")

    def test_a_pool_of_processes_gives_results_as_they_come(self):
        text = self.run_example("tutorial/04_process_pool.sh")
        self.assertEqual(sorted(map(int, re.findall(r'"square":(\d+)', text))),
                         [n * n for n in range(1, 13)])
        self.assertIn("computed by 2 processes", text)

    def test_a_sentinel_sends_every_consumer_home(self):
        text = self.run_example("tutorial/05_sentinel.sh")
        ran = re.findall(r"(?m)^consumer-\d: exit code 0; ran (\d+) jobs? \(0 failed\)$", text)
        self.assertEqual((len(ran), sum(map(int, ran))), (2, 20), text)

    def test_urls_are_checked(self):
        text = self.run_example("tutorial/06_check_urls.sh")
        self.assertRegex(text, r"(?m)^ 404 .*/404$")
        self.assertRegex(text, r"(?m)^   - .*  refused$")
        self.assertIn("9 urls · 6 with a status · 3 without", text)

    def test_primes_are_printed_as_they_are_found(self):
        text = self.run_example("tutorial/07_primes.sh")
        self.assertTrue(text.endswith("9592 primes\n"), text)

    def test_pictures_are_resized(self):
        text = self.run_example("python/resize.sh")
        for count in (1, 2):
            self.assertGreater(self.seconds(text, f"100 pictures with {count} process(es)"), 0)

    def test_a_model_is_loaded_once_in_each_process(self):
        text = self.run_example("python/inference.sh")
        self.assertRegex(text, "40 batches done")
        batches = re.findall(r"process \d+: (\d+) batches, model loaded 1 time\(s\)", text)
        self.assertEqual(sum(map(int, batches)), 40, text)


if __name__ == "__main__":
    millrace_testing.main()
