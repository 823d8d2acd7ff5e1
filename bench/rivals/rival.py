"""What the Python clients share, as rival.h is shared by those in C++: arguments, payloads, timing and
output. A client gives run() a function that makes a producer and one that works until it is ended.
"""

import argparse
import json
import os
import sys
import threading
import time

PAYLOAD_BYTES = 100
WARM_UP_JOBS = 100
IDLE_MAX = 2.0
FIRST_JOB_MAX = 15.0


def make_payload(number):
    return f"{time.monotonic_ns():019d} {number:09d} ".ljust(PAYLOAD_BYTES, "x")


def milliseconds_since_stamp(payload):
    return (time.monotonic_ns() - int(payload[:19])) / 1e6


def quantiles(values):
    if not values:
        sys.exit("no job was measured")
    values = sorted(values)
    at = {name: values[round((len(values) - 1) * q)]
          for name, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}
    return {"jobs": len(values), **at}


class Handled:
    """What the jobs of this process leave behind; the framework calls handle() for each."""

    jobs = 0
    last = None
    latencies = []

    @classmethod
    def handle(cls, payload):
        cls.latencies.append(milliseconds_since_stamp(payload))
        cls.jobs += 1
        cls.last = time.monotonic()


def leave_when_idle(options, begin):
    """Ends the process, as the frameworks' workers run until they are told to go."""
    while True:
        time.sleep(0.05)
        since, most = (Handled.last, IDLE_MAX) if Handled.jobs else (begin, FIRST_JOB_MAX)
        if time.monotonic() - since > most:
            break
    if options.mode == "latency":
        report = quantiles(Handled.latencies[WARM_UP_JOBS:])
    else:
        report = {"jobs": Handled.jobs, "begin": begin, "end": Handled.last or begin}
    print(json.dumps(report), flush=True)
    os._exit(0)


def work(options, run_worker):
    print("ready", flush=True)
    sys.stdin.readline()
    threading.Thread(target=leave_when_idle, args=(options, time.monotonic()), daemon=True).start()
    run_worker(options)


def enqueue_batches(options, enqueue):
    jobs, begin = 0, time.monotonic()
    while jobs < options.jobs and time.monotonic() - begin < options.seconds:
        count = min(options.batch, options.jobs - jobs)
        enqueue([make_payload(jobs + i) for i in range(count)])
        jobs += count
    return {"jobs": jobs, "begin": begin, "end": time.monotonic()}


def enqueue_singly(options, enqueue):
    acknowledged, begin = [], time.monotonic()
    while len(acknowledged) < options.jobs and time.monotonic() - begin < options.seconds:
        payload = make_payload(len(acknowledged))
        enqueue([payload])
        acknowledged.append(milliseconds_since_stamp(payload))
    return quantiles(acknowledged)


def enqueue_paced(options, enqueue):
    begin = due = time.monotonic()
    jobs = 0
    while jobs < options.jobs and time.monotonic() - begin < options.seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        enqueue([make_payload(jobs)])
        jobs += 1
        due += options.pace / 1e3
    return {"jobs": jobs, "begin": begin, "end": time.monotonic()}


def run(make_producer, run_worker):
    """The main() of a client; modes and options as in rival.h."""
    producers = {"enqueue": enqueue_batches, "single": enqueue_singly, "paced": enqueue_paced}
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=[*producers, "drain", "latency"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--setting", default="")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--pace", type=float, default=2, help="milliseconds between paced jobs")
    options = parser.parse_args()
    if options.mode in producers:
        report = producers[options.mode](options, make_producer(options))
        print(json.dumps(report))
    else:
        work(options, run_worker)
