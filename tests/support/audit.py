"""The accounting oracle for tests in Python: millrace-audit, as one function."""

import os
import pathlib
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(
    os.environ.get("MILLRACE_BIN_DIR", REPOSITORY / "build/release/bin")) / "millrace-audit"
SECONDS = 120


def check(path, acknowledged=None, ended=False, final=(), clock_set=False):
    """Checks the file at `path`; raises AssertionError that names each violation.

    acknowledged: ids that producers were given; each must be in the file once.
    ended: no job may be open, leased ones included.
    final: states one of which each acknowledged job must have reached.
    clock_set: the wall clock was set meanwhile, so that times prove nothing.
    """
    words = [str(PROGRAM), str(path)]
    if acknowledged is not None:
        words.append("-")
    if ended:
        words.append("--all-ended")
    if clock_set:
        words.append("--clock-set")
    for state in final:
        words += ["--final", state]
    lines = "".join(f"{job}\n" for job in acknowledged or ())
    done = subprocess.run(words, input=lines, capture_output=True, text=True, timeout=SECONDS,
                          check=False)
    if done.returncode:
        raise AssertionError(f"audit of {path} (exit code {done.returncode}):\n{done.stdout[-4000:]}"
                             f"{done.stderr}")
