#!/usr/bin/env python3
"""The programs of a release have no crash points: none of the names is in them."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import crash_stage  # noqa: E402
from millrace_testing import BIN  # noqa: E402


class CrashPoints(unittest.TestCase):
    def test_none_is_in_a_program(self):
        names = crash_stage.points_in_sources()
        self.assertGreater(len(names), 30)
        for program in ("millrace-broker", "millrace-worker", "millrace-producer"):
            content = (BIN / program).read_bytes()
            found = [name for name in (*names, "MILLRACE_CRASH_AT") if name.encode() in content]
            self.assertEqual(found, [], program)


if __name__ == "__main__":
    unittest.main(verbosity=2)
