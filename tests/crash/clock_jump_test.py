#!/usr/bin/env python3
"""The wall clock jumps by a day, forwards and backwards, under a broker and a worker that run.

Nothing that waits or runs may notice: leases, timeouts, delays, expiries and back-offs go by the
monotonic clock. Only `--at`, `--expires-at` and what is stored follow the wall clock. libfaketime
moves it; without that library the test is skipped (exit code 77).
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import now, wait_for  # noqa: E402

SKIPPED = 77
DAY = 86400
WAIT = 4.0       # seconds that a delay, a back-off and a timeout take
LATE = 2.5       # how much later than that is still in time
LIBRARY = next(pathlib.Path("/usr/lib").glob("**/libfaketimeMT.so.1"), None)


class Clock:
    """A wall clock of its own for the programs that get its environment."""

    def __init__(self, path):
        self._path = path
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1"}

    def set(self, seconds):
        """The wall clock is from now on so far from the true one."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        os.replace(new, self._path)


class Scene:
    """A broker and two workers with one clock, and a job for each thing that takes its time."""

    def __init__(self, case, folder, jump):
        folder.mkdir()
        self.case, self.jump = case, jump
        self.clock = Clock(folder / "clock")
        self.b = case.broker(folder=folder, environment=self.clock.environment)
        self.worker = case.worker(self.b, "--io-threads", "4", environment=self.clock.environment)
        self.manual = mrp_client.Worker(self.b.endpoint, {"echo": "io"}, {"io": 1},
                                        queues=["manual"])
        case.addCleanup(self.manual.vanish)
        self.due = {}       # name -> (when, what has come to pass then)
        self.seen = {}      # name -> when it came to pass
        self.ids = []

    def begin(self):
        case, b = self.case, self.b
        self.running = self.enqueue("sleep", {"ms": int(WAIT * 1000)})
        self.expect("the end of a run", lambda: b.job(self.running)["state"] == "done")
        timed = self.enqueue("sleep", {"ms": 60_000}, "--timeout", f"{WAIT:.0f}s",
                             "--max-attempts", "1")
        self.expect("a timeout", lambda: b.job(timed)["state"] == "dead")
        delayed = self.enqueue("echo", 1, "--delay", f"{WAIT:.0f}s")
        self.expect("a delay", lambda: b.job(delayed)["state"] == "done")
        expiring = self.enqueue("echo", 1, "--queue", "nobody", "--expires", f"{WAIT:.0f}s")
        self.expect("an expiry", lambda: b.job(expiring)["state"] == "expired")
        self.enqueue("echo", 2, "--queue", "manual")
        (item,) = self.manual.take(1)
        self.manual.nack(item, error="again", delay_ms=int(WAIT * 1000))
        self.expect("a back-off", self.manual.waiting)
        started = "SELECT count(*) FROM jobs WHERE started_at IS NOT NULL AND state = 'leased'"
        wait_for(lambda: b.value(started) == 2)
        case.assertEqual(self.came_to_pass(), [])

    def enqueue(self, *words):
        job = self.case.enqueue(self.b, *words)
        self.ids.append(job)
        return job

    def expect(self, name, happened):
        self.due[name] = (now() + WAIT, happened)

    def came_to_pass(self):
        """Names of what has come to pass since the last look."""
        self.manual.pump()
        news = [name for name, (_, happened) in self.due.items()
                if name not in self.seen and happened()]
        for name in news:
            self.seen[name] = now()
        return news

    def is_over(self):
        self.came_to_pass()
        return len(self.seen) == len(self.due)

    def lateness(self):
        return {name: round(self.seen[name] - when, 2) for name, (when, _) in self.due.items()}


class ClockJumps(millrace_testing.Case):
    clock_set = True

    def assert_runs_end_after_their_start(self, scene):
        self.assertEqual(scene.b.query("SELECT * FROM attempts WHERE finished_at < started_at"), [])

    def scenes(self):
        return [Scene(self, self.folder / name, jump)
                for name, jump in (("forwards", DAY), ("backwards", -DAY))]

    def test_nothing_expires_and_nothing_waits_longer(self):
        scenes = self.scenes()
        for scene in scenes:
            scene.begin()
            scene.clock.set(scene.jump)
        for scene in scenes:
            self.assert_wall_clock(scene)
            # Heartbeats go on: what comes now runs at once.
            fresh = scene.enqueue("echo", "new")
            self.wait_for_state(scene.b, fresh, "done", seconds=2)
        wait_for(lambda: all([scene.is_over() for scene in scenes]), WAIT + 4 * LATE)
        for scene in scenes:
            self.assert_in_time(scene)

    def assert_wall_clock(self, scene):
        """The jump is real: the broker stores the new time."""
        job = scene.enqueue("echo", "now")
        stored = scene.b.value("SELECT enqueued_at FROM job WHERE id = ?", job) / 1000
        self.assertLess(abs(stored - (time.time() + scene.jump)), 60)

    def assert_in_time(self, scene):
        late = scene.lateness()
        print(f"{scene.jump:+d} s: seconds late: {late}", file=sys.stderr)
        for name, seconds in late.items():
            # The first of them began to wait a little before its time was noted.
            self.assertGreater(seconds, -0.5, name)
            self.assertLess(seconds, LATE, name)
        self.assertTrue(scene.worker.is_running())
        self.assertNotIn("lost the broker", scene.worker.err)
        row = scene.b.job(scene.running)
        self.assertEqual((row["attempts"], row["crashes"], row["deliveries"]), (1, 0, 1))
        self.assertEqual(scene.b.value("SELECT sum(crashes) FROM jobs"), 0)
        (again,) = scene.manual.waiting()
        scene.manual.ack(again, result="1")
        audit.check(scene.b.db, scene.ids, ended=True, final=("done", "dead", "expired"),
                    clock_set=True)
        self.assert_runs_end_after_their_start(scene)

    def test_a_jump_while_the_broker_is_away_costs_no_lease(self):
        scenes = self.scenes()
        for scene in scenes:
            scene.running = scene.enqueue("sleep", {"ms": 3000})
        for scene in scenes:
            wait_for(lambda: scene.b.job(scene.running)["started_at"])
            before = scene.b
            before.kill()
            scene.clock.set(scene.jump)
            scene.b = self.broker_again(before, environment=scene.clock.environment)
        for scene in scenes:
            row = self.wait_for_state(scene.b, scene.running, "done")
            self.assertEqual((row["attempts"], row["crashes"], row["deliveries"]), (1, 0, 1))
            audit.check(scene.b.db, scene.ids, ended=True, final=("done",), clock_set=True)
            self.assert_runs_end_after_their_start(scene)

    def test_a_request_that_is_sent_again_after_it_is_known(self):
        for scene in self.scenes():
            client = mrp_client.Producer(scene.b.endpoint)
            self.addCleanup(client.vanish)
            request = client.request_id()
            jobs = [{"kind": "echo", "payload": "1"}]
            first = client.enqueue(jobs, request=request, seal=True)["first"]
            scene.clock.set(scene.jump)
            self.assertEqual(client.enqueue(jobs, request=request, seal=True)["first"], first)
            self.wait_for_state(scene.b, first, "done")
            audit.check(scene.b.db, [first], ended=True, final=("done",), clock_set=True)
            self.assert_runs_end_after_their_start(scene)


if __name__ == "__main__":
    if LIBRARY is None:
        print("SKIPPED: libfaketime is not installed", file=sys.stderr)
        sys.exit(SKIPPED)
    millrace_testing.main()
