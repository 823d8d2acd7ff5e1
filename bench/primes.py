#!/usr/bin/env python3
"""Counts primes by two workers and by libprimesieve alone; bench/primes.sh builds what it needs."""

import argparse
import contextlib
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from programs import Failed, Server, run_main

WORKERS = 2


def timed(words):
    """Seconds from start to end, and what it printed."""
    begin = time.monotonic()
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{words[0]} ended with {done.returncode}: {done.stderr}")
    return time.monotonic() - begin, done.stdout.strip()


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.runs = 0

    def alone(self):
        return timed([self.options.bin / "millrace-primes-alone", "1", str(self.options.to), str(WORKERS)])

    def primes(self, endpoint):
        return timed([self.options.bin / "millrace-producer", "--broker", endpoint, "primes", "1",
                      str(self.options.to)])

    @contextlib.contextmanager
    def workers(self, endpoint):
        words = [self.options.bin / "millrace-worker", "--broker", endpoint, "--cpu-threads", "1",
                 "--until", "forever", "--log-level", "warn"]
        processes = [subprocess.Popen(words) for _ in range(WORKERS)]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()

    def round(self):
        """Seconds by subject. The broker and the workers are started for the second one."""
        self.runs += 1
        folder = self.folder / str(self.runs)
        folder.mkdir()
        alone, count = self.alone()
        begin = time.monotonic()
        broker = Server([self.options.bin / "millrace-broker", "--listen", f"ipc://{folder}/broker",
                         "--db", folder / "millrace.db"], folder / "log", "stderr")
        with broker as server, self.workers(server.where):
            _, started_count = self.primes(server.where)
            started = time.monotonic() - begin
            running, running_count = self.primes(server.where)
        if not count == started_count == running_count:
            raise Failed(f"the counts differ: {count}, {started_count}, {running_count}")
        return {"alone": alone, "started": started, "running": running}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--to", type=int, default=10_000_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if min(options.to, options.rounds) < 1:
        parser.error("numbers must be above 0")
    with tempfile.TemporaryDirectory(prefix="millrace-primes-") as name:
        bench = Bench(options, pathlib.Path(name))
        rounds = []
        for number in range(options.rounds):
            print(f"primes: round {number + 1}", file=sys.stderr)
            rounds.append(bench.round())
    print(f"primes from 1 to {options.to}; medians of {options.rounds}, ratios within each round\n")
    print(f"{'':52}{'seconds':>9}{'ratio':>7}")
    for key, text in (("alone", "libprimesieve alone, two threads"),
                      ("running", "millrace, broker and two workers running"),
                      ("started", "millrace, broker, two workers and producer started")):
        seconds = statistics.median(each[key] for each in rounds)
        ratio = statistics.median(each[key] / each["alone"] for each in rounds)
        print(f"{text:52}{seconds:9.2f}{ratio:7.2f}")


if __name__ == "__main__":
    run_main("primes", main)
