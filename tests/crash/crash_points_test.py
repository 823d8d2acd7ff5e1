#!/usr/bin/env python3
"""kill -9 of the broker, a worker or a producer at each named point, for the states that a job has.

    tests/crash/crash_points_test.py [WORD...]    only scenes whose titles hold all the words

Runs with the programs of the preset `sim`. A name in the sources that no scene visits is an error.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import crash_scenes_broker  # noqa: E402,F401
import crash_scenes_peers  # noqa: E402,F401
import crash_stage  # noqa: E402

if __name__ == "__main__":
    crash_stage.main()
