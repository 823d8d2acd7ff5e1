#!/usr/bin/env python3
"""A link that is cut and healed, between a broker in one network namespace and a worker and a
producer in another: both ways, one way, for a moment, again and again.

The namespaces are made here and go when the test is over. That takes root; without it the test is
skipped (exit code 77).
"""

import itertools
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
import oracle  # noqa: E402
import parallel  # noqa: E402
from millrace_testing import now, wait_for  # noqa: E402

SKIPPED = 77
NEAR, FAR = "10.91.0.1", "10.91.0.2"
# How soon after the healing a job at the far worker has run: what TCP waits before it tries again
# grows with the length of the cut.
BACK_SECONDS = 6.0
FEED_EVERY = 0.1
FEED_LINES = 20


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Network:
    """Two namespaces, each with a link to a bridge in a third."""

    _numbers = itertools.count(1)

    def __init__(self):
        name = f"millrace-{os.getpid()}-{next(self._numbers)}"
        self.hub, self.near, self.far = (f"{name}-{side}" for side in ("hub", "near", "far"))
        self._made = []
        try:
            self._make()
        except OSError:
            self.close()
            raise

    def _make(self):
        for namespace in (self.hub, self.near, self.far):
            ip("netns", "add", namespace)
            self._made.append(namespace)
        ip("-n", self.hub, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.hub, "link", "set", "bridge", "up")
        for port, namespace, address in (("near", self.near, NEAR), ("far", self.far, FAR)):
            ip("-n", self.hub, "link", "add", port, "type", "veth", "peer", "name", "uplink",
               "netns", namespace)
            ip("-n", self.hub, "link", "set", port, "master", "bridge", "up")
            ip("-n", namespace, "link", "set", "lo", "up")
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", "uplink")
            ip("-n", namespace, "link", "set", "uplink", "up")

    def close(self):
        while self._made:
            ip("netns", "delete", self._made.pop())

    def near_side(self):
        return ["ip", "netns", "exec", self.near]

    def far_side(self):
        return ["ip", "netns", "exec", self.far]

    # Nobody is told of a cut: cables stay plugged in, packets are gone.

    def cut_both(self):
        ip("-n", self.hub, "link", "set", "far", "nomaster")

    def heal_both(self):
        ip("-n", self.hub, "link", "set", "far", "master", "bridge")

    def cut_to_far(self):
        ip("-n", self.near, "route", "add", "blackhole", f"{FAR}/32")

    def heal_to_far(self):
        ip("-n", self.near, "route", "delete", "blackhole", f"{FAR}/32")

    def cut_to_near(self):
        ip("-n", self.far, "route", "add", "blackhole", f"{NEAR}/32")

    def heal_to_near(self):
        ip("-n", self.far, "route", "delete", "blackhole", f"{NEAR}/32")


def pass_time(seconds):
    """The length of a cut is what is tested, so here time itself is the event."""
    end = now() + seconds
    wait_for(lambda: now() >= end, seconds + 5)


class LinkCut(millrace_testing.Case):
    """`cuts` cuts of `seconds`; a job that runs meanwhile is charged at most `charged` times."""

    def __init__(self, title, direction, seconds, cuts, charged):
        super().__init__("play")
        self.title, self.direction = title, direction
        self.seconds, self.cuts, self.charged = seconds, cuts, charged

    def id(self):
        return self.title

    def setUp(self):
        # First, so that it is the last to go: clean-up goes backwards.
        self.network = Network()
        self.addCleanup(self.network.close)
        super().setUp()

    def play(self):
        self.begin()
        for _ in range(self.cuts):
            getattr(self.network, f"cut_{self.direction}")()
            pass_time(self.seconds)
            getattr(self.network, f"heal_{self.direction}")()
            if self.cuts > 1:
                pass_time(self.seconds)
        self.comes_back()
        self.ends()
        self.check()

    def begin(self):
        near, far = self.network.near_side(), self.network.far_side()
        self.b = self.broker(listen=f"tcp://{NEAR}:7411", prefix=near)
        self.near = self.worker(self.b, "--name", "near", prefix=near)
        self.far = self.worker(self.b, "--name", "far", "--queue", "default", "--queue", "far",
                               "--io-threads", "4", prefix=far)
        self.process = self.start_producer(self.b, "enqueue", "sleep", "-", "--wait", "--output",
                                           "jsonl", prefix=far, stdin=-1)
        self.fed = 0
        self.feeding = True
        self.feeder = threading.Thread(target=self.feed, daemon=True)
        self.feeder.start()
        self.running = self.enqueue(self.b, "sleep", {"ms": 4000}, "--queue", "far", prefix=near)
        wait_for(lambda: self.b.job(self.running)["started_at"])
        by_worker = "SELECT count(DISTINCT worker) FROM jobs WHERE state = 'done'"
        wait_for(lambda: self.b.value(by_worker) == 2)

    def feed(self):
        """Payloads for as long as it lasts, a producer that is cut off keeps them."""
        try:
            with self.process.popen.stdin as stream:
                while self.feeding:
                    numbers = range(self.fed, self.fed + FEED_LINES)
                    stream.write("".join(f'{{"ms": 5, "n": {n}}}\n' for n in numbers).encode())
                    stream.flush()
                    self.fed += FEED_LINES
                    time.sleep(FEED_EVERY)
        except OSError:
            pass  # it stopped reading, which shows in its exit code

    def comes_back(self):
        """Worker and producer are served again, soon."""
        healed_at = now()
        sent = self.fed
        self.probe = self.enqueue(self.b, "echo", 1, "--queue", "far",
                                  prefix=self.network.near_side())
        self.wait_for_state(self.b, self.probe, "done", seconds=BACK_SECONDS)
        worker_after = now() - healed_at
        wait_for(lambda: self.b.value("SELECT count(*) FROM jobs WHERE state = 'done' AND"
                                      " queue = 'default'") > sent, BACK_SECONDS - worker_after)
        print(f"{self.title}: after {worker_after:.1f} s the worker was back, after"
              f" {now() - healed_at:.1f} s the producer", file=sys.stderr)

    def ends(self):
        self.feeding = False
        self.feeder.join(10)
        self.assertEqual(self.process.wait(), 0)
        self.wait_for_state(self.b, self.running, "done")
        for queue in ("default", "far"):
            self.good(self.b, "close", queue, "--wait", prefix=self.network.near_side())
        self.assertEqual([self.near.wait(), self.far.wait()], [0, 0])

    def check(self):
        rows = millrace_testing.Finished(0, self.process.out, "").rows()
        ids = [row["job"] for row in rows]
        self.assertGreater(len(ids), 0)
        self.assertEqual((len(ids), len(set(ids))), (self.fed, self.fed))
        oracle.check(self.b.db, [*ids, self.running, self.probe], ended=True, final=("done",))
        self.assertEqual(self.b.value("SELECT count(*) FROM jobs"), self.fed + 2)
        self.assertEqual(self.b.value(
            "SELECT count(DISTINCT json_extract(payload, '$.n')) FROM jobs"), self.fed)
        # A crash is a run whose end was not heard: so often did a job run once more.
        self.assertLessEqual(self.b.value("SELECT max(crashes) FROM jobs"), self.charged)
        self.assertEqual(self.b.value("SELECT max(attempts) FROM jobs"), 1)


SCENES = (
    ("both ways, longer than a worker may be silent", "both", 5.0, 1, 1),
    ("only what the broker sends is lost", "to_far", 5.0, 1, 1),
    ("only what worker and producer send is lost", "to_near", 5.0, 1, 1),
    ("for a moment, which nobody is charged for", "both", 0.8, 1, 0),
    ("again and again", "both", 0.5, 5, 0),
)


def remove_leftovers():
    """Namespaces of a run of this test that was killed."""
    for name, pid in re.findall(r"(?m)^(millrace-(\d+)-\S+)", ip("netns", "list")):
        if not pathlib.Path(f"/proc/{pid}").exists():
            ip("netns", "delete", name)


def cannot_make_networks():
    if os.geteuid() != 0:
        return "making network namespaces takes root"
    name = f"millrace-{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "one", "type", "bridge")
            ip("-n", name, "link", "add", "two", "type", "veth", "peer", "name", "three")
        finally:
            ip("netns", "delete", name)
    except OSError as error:
        return f"no network namespaces here: {error}"
    return None


if __name__ == "__main__":
    reason = cannot_make_networks()
    if reason:
        print(f"SKIPPED: {reason}", file=sys.stderr)
        sys.exit(SKIPPED)
    remove_leftovers()
    problems = parallel.run_all([LinkCut(*scene) for scene in SCENES], len(SCENES))
    parallel.show(problems)
    sys.exit(1 if problems else 0)
