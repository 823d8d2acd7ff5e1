"""The one question of every crash test: is what was acknowledged there, once, and in order?

The rules are those of audit.py. Where the program millrace-audit is built beside the others, it is
asked too, about the file and a list of the acknowledged ids.
"""

import pathlib
import subprocess
import tempfile

import audit
import millrace_testing


def check(db, acknowledged=None, ended=False, final=()):
    """As audit.check(); AssertionError says what is wrong."""
    known = None if acknowledged is None else list(acknowledged)
    audit.check(db, known, ended=ended, final=final)
    program = millrace_testing.BIN / "millrace-audit"
    if known is None or not program.exists():
        return
    with tempfile.TemporaryDirectory(prefix="millrace-oracle-") as folder:
        ids = pathlib.Path(folder) / "acknowledged"
        ids.write_text("".join(f"{job}\n" for job in known), encoding="ascii")
        done = subprocess.run([program, db, ids], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"millrace-audit {db}: {done.stdout}{done.stderr}")
