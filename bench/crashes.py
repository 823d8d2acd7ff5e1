#!/usr/bin/env python3
"""A kind that crashes beside one that does not; bench/crashes.sh builds what it needs."""

import argparse
import json
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from programs import Failed, Server, run_main

ONE_IN = 10
NEIGHBOUR = {"n": 2_000_000}
HERE = pathlib.Path(__file__).resolve().parent
WITHIN = 300  # seconds


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def left_behind(folder):
    """Processes that were started from a file of this folder."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has just ended
    return found


class Bench:
    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.runs = 0

    def producer(self, endpoint, *words, payloads=None):
        text = None if payloads is None else "".join(json.dumps(one) + "\n" for one in payloads)
        done = subprocess.run([self.options.bin / "millrace-producer", "--broker", endpoint, *words],
                              input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")

    def run(self, one_in):
        self.runs += 1
        folder = self.folder / str(self.runs)
        folder.mkdir()
        folder.chmod(0o755)
        for script in (HERE / "unsteady_worker.py", HERE.parent / "examples/python/stdio_worker.py"):
            shutil.copy(script, folder)  # a worker of root runs them as somebody else
        broker = Server([self.options.bin / "millrace-broker", "--listen", f"ipc://{folder}/broker",
                         "--db", folder / "millrace.db"], folder / "broker.log", "stderr")
        with broker as server:
            self.producer(server.where, "enqueue", "unsteady", "-", "--crashes-max", "100",
                          payloads=range(self.options.jobs))
            self.producer(server.where, "enqueue", "sum", "-", payloads=[NEIGHBOUR] * self.options.jobs)
            opened = self.work(server.where, folder, one_in)
        return {**self.outcome(folder / "millrace.db"), "descriptors": opened}

    def work(self, endpoint, folder, one_in):
        """Runs a worker until all is done; its open descriptors after the first jobs, and at the end."""
        command = f"{sys.executable} -B {folder}/unsteady_worker.py {one_in}"
        with open(folder / "worker.log", "w") as log:
            worker = subprocess.Popen(
                [self.options.bin / "millrace-worker", "--broker", endpoint, "--until", "forever",
                 "--kind", f"unsteady={command}", "--executor", "unsteady=process:2",
                 "--log-level", "warn"], stderr=log)
        try:
            first = None
            deadline = time.monotonic() + WITHIN
            while (done := self.done(folder / "millrace.db")) < 2 * self.options.jobs:
                if worker.poll() is not None or time.monotonic() > deadline:
                    said = (folder / "worker.log").read_text().strip().splitlines()[-1:]
                    raise Failed(f"only {done} jobs are done; the worker's last word: {said}")
                if done > 0 and first is None:
                    first = descriptors(worker.pid)
                time.sleep(0.1)
            last = descriptors(worker.pid)
        finally:
            worker.terminate()
            worker.wait()
        if left := left_behind(folder / "unsteady_worker.py"):
            raise Failed(f"processes were left behind: {left}")
        return first if first is not None else last, last

    @staticmethod
    def done(database):
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
            return rows.execute("SELECT coalesce(sum(done), 0) FROM queues").fetchone()[0]

    def outcome(self, database):
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as rows:
            wrong, crashes = rows.execute(
                "SELECT sum(state <> 'done' OR attempts <> 1 OR result <> payload), sum(crashes) "
                "FROM jobs WHERE kind = 'unsteady'").fetchone()
            times = {kind: sorted(finished for finished, in rows.execute(
                "SELECT (julianday(finished_at) - 2440587.5) * 86400 FROM jobs WHERE kind = ?", [kind]))
                for kind in ("unsteady", "sum")}
        if wrong:
            raise Failed(f"{wrong} jobs of the kind that crashes ended wrongly: {database}")
        # While both had something to do.
        begin = max(each[0] for each in times.values())
        end = min(each[-1] for each in times.values())
        rate = {kind: sum(begin < one <= end for one in each) / (end - begin) if begin < end else 0
                for kind, each in times.items()}
        return {"crashes": crashes, "rate": rate}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if min(options.jobs, options.rounds) < 1:
        parser.error("numbers must be above 0")
    samples = {ONE_IN: [], 0: []}
    with tempfile.TemporaryDirectory(prefix="millrace-crashes-") as name:
        os.chmod(name, 0o755)
        bench = Bench(options, pathlib.Path(name))
        for number in range(options.rounds):
            for one_in in samples:
                print(f"crashes: round {number + 1}: "
                      + (f"one run in {one_in} crashes" if one_in else "none crashes"), file=sys.stderr)
                samples[one_in].append(bench.run(one_in))
    show(samples, options)


def show(samples, options):
    print(f"{options.jobs} jobs of each kind, all done with the right result; medians of {options.rounds}\n")
    print(f"{'':24}{'crashes':>9}{'its jobs/s':>12}{'neighbour/s':>13}{'descriptors':>14}")
    neighbour = {}
    for one_in, runs in samples.items():
        neighbour[one_in] = statistics.median(run["rate"]["sum"] for run in runs)
        print(f"{f'one run in {one_in} crashes' if one_in else 'none crashes':24}"
              f"{statistics.median(run['crashes'] for run in runs):9.0f}"
              f"{statistics.median(run['rate']['unsteady'] for run in runs):12.0f}"
              f"{neighbour[one_in]:13.0f}"
              f"{' -> '.join(map(str, runs[-1]['descriptors'])):>14}")
    if min(neighbour.values()) > 0:
        print(f"\nthe neighbour's rate, with crashes / without: {neighbour[ONE_IN] / neighbour[0]:.2f}")
    else:
        print("\nthe two kinds had no time together: more jobs are needed")


if __name__ == "__main__":
    run_main("crashes", main)
