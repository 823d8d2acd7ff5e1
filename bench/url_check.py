#!/usr/bin/env python3
"""Measures url.check against a site that answers after a while; bench/url_check.sh builds what it needs."""

import argparse
import collections
import json
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from programs import Failed, Server, run, run_main

PYTHON_THREADS = 64


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.site = None
        self.runs = 0

    def path(self, name):
        return self.folder / name

    def figures(self, ended, seconds=None):
        seconds = seconds or ended.seconds
        return {"rate": self.options.urls / seconds, "seconds": seconds,
                "cpu_us": ended.cpu / self.options.urls * 1e6, "megabytes": ended.megabytes}

    def millrace(self, *worker_options):
        """All jobs are there before the worker starts; the time is from its start to the last result."""
        self.runs += 1
        db = self.path(f"{self.runs}.db")
        broker = [self.options.bin / "millrace-broker", "--listen", f"ipc://{self.path('broker')}",
                  "--db", db, "--log-level", "warn"]
        with Server(broker, self.path("broker.log"), "stderr") as server, \
                open(self.path("worker.log"), "w") as log:
            with open(self.path("jobs"), "w") as jobs:
                jobs.write((json.dumps({"url": self.site}) + "\n") * self.options.urls)
            with open(self.path("jobs")) as jobs:
                subprocess.run([self.options.bin / "millrace-producer", "--broker", server.where,
                                "enqueue", "url.check", "-"], stdin=jobs, stdout=log, check=True)
            begin, before = time.time(), server.cpu()
            ended = run([self.options.bin / "millrace-worker", "--broker", server.where, "--until",
                         "empty", "--cpu-threads", "0", *worker_options], log)
            broker_cpu = (server.cpu() - before) / self.options.urls * 1e6
        with sqlite3.connect(f"file:{db}?mode=ro", uri=True) as rows:
            done, = rows.execute("SELECT count(*) FROM jobs WHERE state = 'done' "
                                 "AND attempts = 1").fetchone()
            last, = rows.execute("SELECT max(finished_at) FROM status").fetchone()
        if done != self.options.urls:
            raise Failed(f"{done} of {self.options.urls} checks were done")
        return {**self.figures(ended, last / 1000 - begin), "broker_cpu_us": broker_cpu}

    def loop(self, size):
        return self.millrace("--loop-size", str(size))

    def threads(self, count):
        return self.millrace("--io-threads", str(count))

    def curl(self, count):
        with open(self.path("urls"), "w") as urls:
            urls.write(f'url = "{self.site}"\noutput = "/dev/null"\n' * self.options.urls)
        with open(self.path("curl.log"), "w") as log:
            return self.figures(run(["curl", "--silent", "--parallel", "--parallel-max", str(count),
                                     "--config", self.path("urls")], log))

    def python(self, count):
        host, port = self.site.removeprefix("http://").rstrip("/").split(":")
        script = pathlib.Path(__file__).with_name("url_check_threads.py")
        with open(self.path("python.log"), "w") as log:
            return self.figures(run([sys.executable, script, host, port, str(self.options.urls),
                                     str(count)], log))


def measure(bench):
    subjects = (
        ("loop, 256 in flight", lambda: bench.loop(256), 256),
        ("curl --parallel-max 256", lambda: bench.curl(256), 256),
        ("loop, 512 in flight", lambda: bench.loop(512), 512),
        ("loop, 64 in flight", lambda: bench.loop(PYTHON_THREADS), PYTHON_THREADS),
        ("threads, 256", lambda: bench.threads(256), 256),
        ("threads, 64", lambda: bench.threads(PYTHON_THREADS), PYTHON_THREADS),
        ("Python threads, 64", lambda: bench.python(PYTHON_THREADS), PYTHON_THREADS),
    )
    samples = collections.defaultdict(list)
    for number in range(bench.options.rounds):
        for name, subject, _ in subjects:
            print(f"url_check: round {number + 1}: {name}", file=sys.stderr)
            samples[name].append(subject())
    rows = []
    for name, _, in_flight in subjects:
        row = {key: statistics.median(sample[key] for sample in samples[name])
               for key in samples[name][0]}
        rows.append({"subject": name, "in_flight": in_flight,
                     "ideal": in_flight * 1000 / bench.options.delay, **row})
    return rows


def show(rows, options):
    print(f"{options.urls} checks, the site answers after {options.delay} ms; "
          f"medians of {options.rounds}\n")
    print(f"{'':26}{'checks/s':>10}{'of ideal':>10}{'seconds':>9}{'CPU us/check':>14}{'max RSS MB':>12}"
          f"{'broker CPU':>12}")
    for row in rows:
        print(f"{row['subject']:26}{row['rate']:10.0f}{row['rate'] / row['ideal']:10.0%}"
              f"{row['seconds']:9.2f}{row['cpu_us']:14.0f}{row['megabytes']:12.1f}"
              + (f"{row['broker_cpu_us']:12.0f}" if "broker_cpu_us" in row else ""))
    by = {row["subject"]: row for row in rows}
    ratio = by["loop, 256 in flight"]["rate"] / by["curl --parallel-max 256"]["rate"]
    print(f"\nloop / curl with 256 in flight: {ratio:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--urls", type=int, default=20_000)
    parser.add_argument("--delay", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if min(options.urls, options.delay, options.rounds) < 1:
        parser.error("numbers must be above 0")
    with tempfile.TemporaryDirectory(prefix="millrace-url-check-") as name:
        bench = Bench(options, pathlib.Path(name))
        site = [options.bin / "millrace-url-site", str(options.delay)]
        with Server(site, bench.path("site.log"), "stdout") as server:
            bench.site = f"http://127.0.0.1:{server.where}/"
            rows = measure(bench)
    show(rows, options)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    run_main("url_check", main)
