"""Real brokers, workers and producers for tests, each with a folder of its own.

    class Sleep(millrace_testing.Case):
        def test_a_job_runs(self):
            broker = self.broker()
            self.worker(broker)
            done = self.producer(broker, "enqueue", "sleep", '{"ms": 1}', "--wait")
            self.assertEqual(done.code, 0)

A Case ends only processes that it started, by their ids. When a test is over, each broker that
still runs must stop on SIGTERM with exit code 0, and its file must pass the audit. When a test
fails, the last lines that each of its processes wrote to stderr are printed.

Programs come from the folder MILLRACE_BIN_DIR. Nothing here waits for a fixed time: wait_for()
looks for an event until a deadline.
"""

import json
import os
import pathlib
import queue
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import audit

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MILLRACE_BIN_DIR", REPOSITORY / "build/release/bin"))

# Deadlines for what should take far less; only a failing test ever waits this long.
START_SECONDS = 20
PATIENCE_SECONDS = 30
TAIL_LINES = 40

# A zone far from UTC: a time that is not UTC cannot hide.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "TZ": "Asia/Kolkata",
    **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")},
}


def now():
    return time.monotonic()


def wait_for(predicate, seconds=PATIENCE_SECONDS, what=None):
    """Asks until `predicate` gives something true, and returns that."""
    end = now() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if now() > end:
            raise AssertionError(f"not within {seconds} s: {what or predicate}; last: {value!r}")
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seeded_random():
    """A source of randomness whose seed is printed; MILLRACE_TEST_SEED replays it."""
    seed = int(os.environ.get("MILLRACE_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}", file=sys.stderr, flush=True)
    return random.Random(seed)


class Process:
    """A program that runs, with both its outputs read by threads, line by line."""

    def __init__(self, words, cwd, environment=None, stdin=None, stdout=None, stderr=None):
        words = [str(word) for word in words]
        self.name = " ".join([pathlib.Path(words[0]).name, *words[1:]])
        self.out_lines = []
        self.err_lines = []
        self._changed = threading.Condition()
        self.popen = subprocess.Popen(
            words, cwd=cwd, env={**ENVIRONMENT, **(environment or {})},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout or subprocess.PIPE, stderr=stderr or subprocess.PIPE)
        self.pid = self.popen.pid
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.popen.stdout, self.out_lines),
                                  (self.popen.stderr, self.err_lines)) if stream is not None]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines):
        with stream:
            for line in stream:
                with self._changed:
                    lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    @property
    def out(self):
        with self._changed:
            return "".join(line + "\n" for line in self.out_lines)

    @property
    def err(self):
        with self._changed:
            return "".join(line + "\n" for line in self.err_lines)

    def wait_for_line(self, pattern, seconds=PATIENCE_SECONDS, out=False, count=1):
        """The match in the `count`th line that holds `pattern`; fails when the program ends."""
        lines = self.out_lines if out else self.err_lines
        end = now() + seconds
        with self._changed:
            while True:
                matches = [m for m in (re.search(pattern, line) for line in lines) if m]
                if len(matches) >= count:
                    return matches[count - 1]
                over = not any(reader.is_alive() for reader in self._readers)
                if over or now() > end:
                    raise AssertionError(f"{self.name}: no `{pattern}` in {lines[-TAIL_LINES:]}")
                self._changed.wait(0.05)

    def is_running(self):
        return self.popen.poll() is None

    def wait(self, seconds=PATIENCE_SECONDS):
        """The exit code, once the program has ended and its outputs are read to the end."""
        try:
            code = self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds} s") from None
        for reader in self._readers:
            reader.join(seconds)
        return code

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """kill -9, and gone when this returns."""
        if self.is_running():
            self.popen.kill()
        self.popen.wait()

    def stop(self):
        """Frozen, and the kernel says so, when this returns."""
        self.signal(signal.SIGSTOP)
        wait_for(lambda: self.status("State").startswith("T"), what=f"{self.name} stopped")

    def cont(self):
        self.signal(signal.SIGCONT)

    def status(self, field):
        """A field of /proc/PID/status."""
        text = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        return re.search(rf"(?m)^{field}:\s*(.*)$", text).group(1)

    def tail(self):
        with self._changed:
            lines = self.err_lines[-TAIL_LINES:]
        code = self.popen.poll()
        ending = "runs" if code is None else f"exit code {code}"
        return "\n".join([f"---- {self.name} (pid {self.pid}, {ending})", *lines])


class Finished:
    """What a program that has ended left behind."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    def __repr__(self):
        return f"exit code {self.code}\nstdout: {self.out[-2000:]}\nstderr: {self.err[-2000:]}"

    def json(self):
        return json.loads(self.out)

    def rows(self):
        """The rows of --output jsonl."""
        return [json.loads(line) for line in self.out.splitlines()]


class Broker(Process):
    """A broker that serves: its endpoint is known when this returns.

    `prefix`: words of a program that runs it, as its parent or in its place.
    """

    def __init__(self, folder, *options, listen="tcp://127.0.0.1:*", db=None, prefix=(),
                 **keywords):
        self.folder = pathlib.Path(folder)
        self.db = pathlib.Path(db or self.folder / "millrace.db")
        self.options = options
        super().__init__([*prefix, BIN / "millrace-broker", "--listen", listen, "--db", self.db,
                          *options], folder, **keywords)
        self.endpoint = self.wait_for_line(r"^ready (\S+)$", START_SECONDS).group(1)

    def query(self, sql, *parameters):
        """Rows of a question asked read-only, as any person may while the broker runs."""
        connection = sqlite3.connect(f"{self.db.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def value(self, sql, *parameters):
        return self.query(sql, *parameters)[0][0]

    def states(self):
        return dict(self.query("SELECT state, count(*) FROM jobs GROUP BY state"))

    def job(self, job_id):
        """A row of the view `jobs` as a dictionary."""
        connection = sqlite3.connect(f"{self.db.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            cursor = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,))
            names = [column[0] for column in cursor.description]
            row = cursor.fetchone()
            return dict(zip(names, row)) if row else None
        finally:
            connection.close()


class Site(Process):
    """The small web site of examples/site, whose pages answer in known ways."""

    def __init__(self, folder, *options):
        self.list = pathlib.Path(folder) / "urls.txt"
        super().__init__([sys.executable, "-B", REPOSITORY / "examples/site/site.py",
                          "--urls", self.list, *options], folder)
        ports = self.wait_for_line(r"^listening (\d+) refused (\d+) reset (\d+)$", out=True)
        self.url, self.refused, self.reset = (f"http://127.0.0.1:{p}" for p in ports.groups())


class Case(unittest.TestCase):
    maxDiff = None
    # Whether the file of each broker is checked when the test is over.
    audited = True
    # Whether the wall clock of the brokers is set while they run, so that their times prove nothing.
    clock_set = False

    def run(self, result=None):
        self._processes = []
        bad = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > bad:
            print(f"\n==== {self.id()}", file=sys.stderr)
            for process in self._processes:
                print(process.tail(), file=sys.stderr)
            sys.stderr.flush()

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.addCleanup(self._end_processes)

    def _end_processes(self):
        brokers = [p for p in self._processes if isinstance(p, Broker)]
        # Brokers first: what still runs at a worker is of no interest any more.
        for process in [p for p in self._processes if p not in brokers]:
            if process.is_running():
                process.kill()
        for broker in brokers:
            if not broker.is_running():
                continue
            broker.cont()
            broker.signal(signal.SIGTERM)
            try:
                code = broker.popen.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
            broker.kill()
            self.assertEqual(code, 0, f"{broker.name} at SIGTERM")
            if self.audited:
                audit.check(broker.db, clock_set=self.clock_set)

    def start(self, words, **keywords):
        """Any program."""
        process = Process(words, keywords.pop("cwd", self.folder), **keywords)
        self._processes.append(process)
        return process

    def broker(self, *options, **keywords):
        broker = Broker(keywords.pop("folder", self.folder), *options, **keywords)
        self._processes.append(broker)
        return broker

    def broker_again(self, before, **keywords):
        """A broker with the endpoint and the file of one that has ended."""
        return self.broker(*before.options, listen=before.endpoint, db=before.db,
                           folder=before.folder, **keywords)

    def run_broker(self, *options, seconds=PATIENCE_SECONDS, **keywords):
        """A broker that is expected to end by itself."""
        process = self.start([BIN / "millrace-broker", *options], **keywords)
        return Finished(process.wait(seconds), process.out, process.err)

    def worker(self, broker, *options, connected=True, **keywords):
        """A worker; it has a session at the broker when this returns."""
        endpoint = broker.endpoint if isinstance(broker, Broker) else broker
        prefix = keywords.pop("prefix", ())
        worker = self.start([*prefix, BIN / "millrace-worker", "--broker", endpoint, *options],
                            **keywords)
        if connected:
            worker.wait_for_line("connected to the broker", START_SECONDS)
        return worker

    def start_producer(self, broker, *words, **keywords):
        endpoint = broker.endpoint if isinstance(broker, Broker) else broker
        environment = {"MILLRACE_BROKER": endpoint, **keywords.pop("environment", {})}
        prefix = keywords.pop("prefix", ())
        return self.start([*prefix, BIN / "millrace-producer", *words], environment=environment,
                          **keywords)

    def producer(self, broker, *words, stdin=None, seconds=PATIENCE_SECONDS, **keywords):
        """Runs a command of the producer to its end. `stdin` is text."""
        if stdin is None:
            process = self.start_producer(broker, *words, **keywords)
        else:
            process = self.start_producer(broker, *words, stdin=subprocess.PIPE, **keywords)
            feed(process, stdin)
        return Finished(process.wait(seconds), process.out, process.err)

    def good(self, broker, *words, **keywords):
        """As producer(), and it must end with 0."""
        done = self.producer(broker, *words, **keywords)
        self.assertEqual(done.code, 0, done)
        return done

    def enqueue(self, broker, kind, payload=None, *options, **keywords):
        """Enqueues one job and returns its id."""
        text = [] if payload is None else [json.dumps(payload)]
        done = self.good(broker, "enqueue", kind, *text, "--output", "jsonl", *options, **keywords)
        (job,) = done.rows()[0]["ids"]
        return job

    def enqueue_many(self, broker, kind, payloads, *options, **keywords):
        """Enqueues a job for each payload and returns the ids."""
        text = "".join(json.dumps(payload) + "\n" for payload in payloads)
        done = self.good(broker, "enqueue", kind, "-", "--output", "jsonl", *options, stdin=text,
                         **keywords)
        return [job for row in done.rows() for job in row["ids"]]

    def wait_for_state(self, broker, job, *states, seconds=PATIENCE_SECONDS):
        """Waits until a job is in one of `states`; its row."""
        def row():
            found = broker.job(job)
            return found if found and found["state"] in states else None
        return wait_for(row, seconds, f"job {job} is {' or '.join(states)}")

    def wait_for_states(self, broker, seconds=PATIENCE_SECONDS, **counts):
        """Waits until so many jobs are in each of the states named, and in no other state."""
        wait_for(lambda: broker.states() == counts, seconds, f"states {counts}")

    def site(self, *options):
        site = Site(self.folder, *options)
        self._processes.append(site)
        return site

    def file(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def assert_keys(self, row, *names):
        self.assertEqual(list(row), list(names))


def feed(process, text):
    """Writes to a program's stdin beside whoever waits for it."""
    def write():
        try:
            with process.popen.stdin as stream:
                stream.write(text if isinstance(text, bytes) else text.encode())
        except OSError:
            pass  # it stopped reading, which shows in its exit code
    threading.Thread(target=write, daemon=True).start()


def main():
    unittest.main(verbosity=2)
