#!/usr/bin/env python3
"""Measures rival job queues on this machine; bench/rivals/run.sh builds what it needs and calls it."""

import argparse
import collections
import json
import pathlib
import signal
import statistics
import subprocess
import sys

import servers
from subjects import PACE, SUBJECTS

HERE = pathlib.Path(__file__).resolve().parent
WORKLOADS = ("W1", "W1s", "W2", "W3")
BATCHES = (100, 1000)
WORKERS = 2
WARM_UP_JOBS = 100
PACED_JOBS_MIN = 100
CLIENT_SECONDS_MAX = 600


class Size:
    """How much is done: whole, or quick. `seconds` bounds each run of a producer."""

    def __init__(self, quick):
        self.rounds = 1 if quick else 3
        self.divisor = 10 if quick else 1
        self.single = 300 if quick else 2_000
        self.paced = 300 if quick else 2_000
        self.seconds = 2.0 if quick else 6.0


class Samples:
    """Values of all rounds by (workload, subject, metric), in the order in which they came."""

    def __init__(self, workloads):
        self.workloads = workloads
        self.values = collections.defaultdict(list)
        self.units = {}

    def add(self, workload, subject, metric, value, unit):
        if workload in self.workloads:
            self.values[workload, subject.name, metric].append(value)
            self.units[metric] = unit

    def rows(self):
        return [
            {"workload": workload, "subject": subject, "metric": metric,
             "value": round(statistics.median(values), 4), "unit": self.units[metric]}
            for (workload, subject, metric), values in self.values.items()
        ]


class Client:
    """A client process of a subject; the last line that it prints is its report."""

    def __init__(self, subject, server, build, mode, **options):
        words = [*subject.command(build), mode, "--port", server.port]
        if subject.setting:
            words += ["--setting", subject.setting]
        for name, value in options.items():
            words += ["--" + name, value]
        self.process = subprocess.Popen(
            [str(w) for w in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait_until_ready(self):
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("a worker did not become ready")

    def start(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def report(self):
        output, _ = self.process.communicate(timeout=CLIENT_SECONDS_MAX)
        if self.process.returncode != 0:
            raise RuntimeError(f"a client ended with {self.process.returncode}")
        return json.loads(output.splitlines()[-1])


class Stage:
    """A subject with its server running."""

    def __init__(self, subject, server, build, size, samples):
        self.subject = subject
        self.server = server
        self.build = build
        self.size = size
        self.samples = samples

    def client(self, mode, **options):
        return Client(self.subject, self.server, self.build, mode, **options)

    def add(self, workload, metric, value, unit):
        self.samples.add(workload, self.subject, metric, value, unit)

    def produce(self, mode, jobs, **options):
        with self.client(mode, jobs=jobs, seconds=self.size.seconds, **options) as producer:
            return producer.report()

    def drain(self, workers, batch):
        """Jobs that were drained, and seconds from the start of all workers to the last ack."""
        clients = [self.client("drain", batch=batch) for _ in range(workers)]
        try:
            for client in clients:
                client.wait_until_ready()
            for client in clients:
                client.start()
            reports = [client.report() for client in clients]
        finally:
            for client in clients:
                client.end()
        seconds = max(r["end"] for r in reports) - min(r["begin"] for r in reports)
        return sum(r["jobs"] for r in reports), seconds

    def measure_backlog(self, batch):
        """W1 and W2: the jobs that W2 drains are those that W1 enqueued."""
        cpu = self.server.cpu_seconds()
        enqueued = self.produce("enqueue", self.subject.jobs // self.size.divisor, batch=batch)
        jobs, enqueue_seconds = enqueued["jobs"], enqueued["end"] - enqueued["begin"]
        drained, drain_seconds = self.drain(WORKERS, batch)
        cpu = self.server.cpu_seconds() - cpu
        if drained != jobs:
            raise RuntimeError(f"{jobs} jobs were enqueued, {drained} drained")
        self.add("W1", f"enqueue.batch{batch}", jobs / enqueue_seconds, "jobs/s")
        self.add("W2", f"drain.batch{batch}", jobs / drain_seconds, "jobs/s")
        self.add("W2", f"total.batch{batch}", jobs / (enqueue_seconds + drain_seconds), "jobs/s")
        # Where the time was up before all jobs were enqueued, the figures are those of fewer.
        self.add("W2", f"jobs.batch{batch}", jobs, "jobs")
        if batch == BATCHES[-1]:
            self.add("W2", "server.cpu", cpu * 1e6 / jobs, "us/job")

    def measure_single(self):
        report = self.produce("single", self.size.single)
        self.drain(1, BATCHES[0])
        for metric in ("p50", "p99"):
            self.add("W1s", f"enqueue.{metric}", report[metric], "ms")

    def measure_latency(self):
        pace = self.subject.pace
        # As many jobs at a slower pace would take long.
        jobs = WARM_UP_JOBS + max(PACED_JOBS_MIN, self.size.paced * PACE // pace)
        with self.client("latency", jobs=jobs, batch=BATCHES[0]) as worker:
            worker.wait_until_ready()
            worker.start()
            with self.client("paced", jobs=jobs, pace=pace) as producer:
                producer.report()
            report = worker.report()
        for metric in ("p50", "p99", "p99.9"):
            self.add("W3", f"latency.{metric}", report[metric], "ms")

    def measure_round(self):
        if {"W1", "W2"} & self.samples.workloads:
            for batch in BATCHES:
                self.measure_backlog(batch)
        if "W1s" in self.samples.workloads:
            self.measure_single()
        if "W3" in self.samples.workloads:
            self.measure_latency()


def print_table(rows):
    metrics = list(dict.fromkeys(r["metric"] for r in rows))
    subjects = list(dict.fromkeys(r["subject"] for r in rows))
    units = {r["metric"]: r["unit"] for r in rows}
    values = {(r["subject"], r["metric"]): r["value"] for r in rows}
    # One block a workload fits a screen.
    for workload in WORKLOADS:
        columns = [m for m in metrics if any(r["metric"] == m and r["workload"] == workload for r in rows)]
        if not columns:
            continue
        print(f"\n{workload:<24}" + "".join(f"{m:>18}" for m in columns))
        print(f"{'':<24}" + "".join(f"{units[m]:>18}" for m in columns))
        for subject in subjects:
            cells = [values.get((subject, m)) for m in columns]
            if any(c is not None for c in cells):
                print(f"{subject:<24}" + "".join(f"{'-' if c is None else cell(c):>18}" for c in cells))


def cell(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3f}"


def names(text):
    return [name for name in text.split(",") if name]


def selected(wanted):
    """Subjects by name, or by how their names begin (redis, celery)."""
    chosen = [s for s in SUBJECTS
              if not wanted or any(s.name == w or s.name.startswith(w + "-") for w in wanted)]
    for name in wanted:
        if not any(s.name == name or s.name.startswith(name + "-") for s in SUBJECTS):
            print(f"rivals: no rival {name}; there are: {' '.join(s.name for s in SUBJECTS)}",
                  file=sys.stderr)
            sys.exit(64)
    return chosen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--only", type=names, default=[])
    parser.add_argument("--workloads", type=names, default=list(WORKLOADS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--check", action="store_true", help="only look at the arguments")
    options = parser.parse_args()
    subjects = selected(options.only)
    if unknown := set(options.workloads) - set(WORKLOADS):
        print(f"rivals: no workload {' '.join(sorted(unknown))}; there are: {' '.join(WORKLOADS)}",
              file=sys.stderr)
        sys.exit(64)
    if options.check:
        return
    # So that the servers are ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    size = Size(options.quick)
    samples = Samples(set(options.workloads))
    failed = []
    for subject in subjects:
        if missing := subject.missing(options.build):
            print(f"rivals: {subject.name} is LEFT OUT: {missing}", file=sys.stderr)
            continue
        print(f"rivals: {subject.name}", file=sys.stderr)
        try:
            with getattr(servers, subject.server)() as server:
                stage = Stage(subject, server, options.build, size, samples)
                for _ in range(size.rounds):
                    stage.measure_round()
        except (RuntimeError, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            print(f"rivals: {subject.name} FAILED: {error}", file=sys.stderr)
            failed.append(subject.name)
    rows = samples.rows()
    print_table(rows)
    if options.json:
        lines = ",\n".join(json.dumps(row) for row in rows)
        options.json.write_text(f"[\n{lines}\n]\n")
    if failed:
        print(f"\nFAILED: {' '.join(failed)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
