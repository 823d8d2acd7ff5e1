#!/usr/bin/env python3
"""How long things take: jobs that wait run side by side, jobs that compute use every CPU thread.

Bounds are generous and nothing else should run beside; what is compared is compared in one run.
"""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import now  # noqa: E402


LOOP = "for i in range(10_000_000): pass"


def two_loops_against_one():
    """How much longer two busy processes take than one on this machine at this moment."""
    def elapsed(count):
        started = now()
        loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
        for loop in loops:
            loop.wait()
        return now() - started
    return elapsed(2) / elapsed(1)


class Timing(millrace_testing.Case):
    def timed(self, *words, **keywords):
        started = now()
        self.good(self.b, *words, **keywords)
        return now() - started

    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_three_sleeps_of_two_seconds_take_about_two_on_default_pools(self):
        self.worker(self.b)
        elapsed = self.timed("enqueue", "sleep", "-", "--wait", stdin='{"ms": 2000}\n' * 3)
        self.assertGreater(elapsed, 1.9)
        self.assertLess(elapsed, 3.5)

    def test_a_hundred_sleeps_of_one_second_take_about_two_on_fifty_threads(self):
        self.worker(self.b, "--io-threads", "50")
        elapsed = self.timed("enqueue", "sleep", "-", "--wait", stdin='{"ms": 1000}\n' * 100)
        self.assertGreater(elapsed, 1.9)
        self.assertLess(elapsed, 3.5)

    def test_two_sums_on_two_threads_take_about_the_time_of_one(self):
        self.worker(self.b, "--cpu-threads", "2")

        def runs(count):
            """Start and end of each of `count` sums enqueued together, in milliseconds."""
            rows = self.good(self.b, "enqueue", "sum", "-", "--wait", "--output", "jsonl",
                             stdin='{"n": 1000000000}\n' * count).rows()
            ids = [row["job"] for row in rows]
            return self.b.query("SELECT started_at, finished_at FROM status WHERE id BETWEEN ? AND ?",
                                min(ids), max(ids))

        def span(times):
            return max(end for _, end in times) - min(start for start, _ in times)

        ratios, machine = [], []
        for _ in range(4):
            alone = span(runs(1))
            together = runs(2)
            # Side by side, whatever else these CPUs have to do.
            overlap = min(end for _, end in together) - max(start for start, _ in together)
            self.assertGreater(overlap, 0.5 * span(together))
            ratios.append(span(together) / alone)
            if ratios[-1] < 1.5:
                return
            machine.append(two_loops_against_one())
        # Where other programs keep a CPU busy, two loops of any program take longer than one.
        self.assertGreater(min(machine), 1.25, f"two sums against one: {ratios}")

    def test_jobs_that_wait_do_not_stand_in_the_way_of_jobs_that_compute(self):
        self.worker(self.b, "--io-threads", "1", "--cpu-threads", "1")
        process = self.start_producer(self.b, "enqueue", "sleep", "-", "--wait", stdin=-1)
        millrace_testing.feed(process, '{"ms": 1500}\n' * 2)
        millrace_testing.wait_for(lambda: self.b.states().get("leased"))
        elapsed = self.timed("enqueue", "sum", '{"n": 10}', "--wait")
        self.assertLess(elapsed, 1.0)
        self.assertTrue(process.is_running())
        self.assertEqual(process.wait(), 0)

    def test_a_job_alone_is_answered_at_once(self):
        self.worker(self.b)
        best = min(self.timed("enqueue", "echo", "--wait") for _ in range(5))
        self.assertLess(best, 0.5)

    def test_ten_thousand_small_jobs_take_seconds(self):
        self.worker(self.b)
        elapsed = self.timed("enqueue", "echo", "-", "--wait", stdin="1\n" * 10_000, seconds=60)
        self.assertLess(elapsed, 20)

    def test_a_delayed_job_is_not_early_and_hardly_late(self):
        self.worker(self.b)
        job = self.enqueue(self.b, "echo", 1, "--delay", "1500ms", "--wait")
        waited = self.b.value("SELECT started_at - enqueued_at FROM status JOIN job"
                              " USING (id) WHERE id = ?", job)
        self.assertGreaterEqual(waited, 1499)
        self.assertLess(waited, 2500)

    def enqueue(self, broker, kind, payload=None, *options, **keywords):
        if "--wait" not in options:
            return super().enqueue(broker, kind, payload, *options, **keywords)
        done = self.good(broker, "enqueue", kind, str(payload), *options, "--output", "jsonl")
        return done.rows()[0]["job"]


if __name__ == "__main__":
    millrace_testing.main()
