#!/usr/bin/env python3
"""Runs what README.md tells people to type: the demo, and the three terminals by hand."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[2]
README = (SOURCE / "README.md").read_text(encoding="utf-8")
# Without a way out of this machine no public URL has a status, which is exit code 1.
MAY_FAIL = ("millrace-producer urls", "millrace-producer enqueue fail")


def block_after(heading: str) -> list[str]:
    """The lines of the first shell block after `heading`, comments and blank lines left out."""
    text = README[README.index(heading):]
    block = re.search(r"```sh\n(.*?)```", text, re.S).group(1)
    lines = (line.split("   #")[0].strip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


class ReadmeTest(millrace_testing.Case):
    def test_the_third_terminal_does_what_it_says(self):
        """Every command ends with 0, but for those that show failures."""
        broker = self.broker()
        self.worker(broker)
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(broker.db, os.path.join(folder, "millrace.db"))
            environment = dict(os.environ, MILLRACE_BROKER=broker.endpoint,
                               PATH=f"{millrace_testing.BIN}:{os.environ['PATH']}")
            for line in block_after("**Terminal 3**"):
                done = subprocess.run(["bash", "-c", line], cwd=folder, env=environment,
                                      capture_output=True, text=True, timeout=60, check=False)
                allowed = (0, 1) if line.startswith(MAY_FAIL) else (0,)
                self.assertIn(done.returncode, allowed, f"{line}\n{done.stdout}{done.stderr}")
                if line == "millrace-producer primes 1 1000000":
                    self.assertEqual(done.stdout.strip(), "78498")

    def test_the_demo_ends_as_expected(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(["./demo.sh", "--data", os.path.join(folder, "demo")], cwd=SOURCE,
                                  capture_output=True, text=True, timeout=600, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("demo: all as expected", done.stdout)
        self.assertIn("\n78498\n", done.stdout)


if __name__ == "__main__":
    millrace_testing.main()
