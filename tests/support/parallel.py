"""Test cases that mostly wait, run beside each other by threads.

A case is a unittest.TestCase with processes, files and ports of its own.
"""

import concurrent.futures
import sys
import time
import unittest


def _run_one(test):
    started = time.monotonic()
    result = unittest.TestResult()
    test.run(result)
    problems = result.failures + result.errors
    print(f"{'FAILED' if problems else 'ok':6}  {time.monotonic() - started:4.1f} s  {test.id()}",
          file=sys.stderr, flush=True)
    return [(test.id(), text) for _, text in problems]


def run_all(tests, threads):
    """What went wrong, as (title, text) of each problem; each test leaves a line on stderr."""
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return [problem for found in pool.map(_run_one, tests) for problem in found]


def show(problems):
    for title, text in problems:
        print(f"\n==== {title}\n{text}", file=sys.stderr)
