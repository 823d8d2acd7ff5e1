#!/usr/bin/env python3
"""A data folder of 64 MB that fills up, and gets space again while the broker runs.

It mounts a file system of its own, which takes root; without that it is skipped (exit code 77).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

SKIPPED = 77
KIB = 1024
LINE = json.dumps("x" * 60 * KIB) + "\n"


def mount(folder, *options):
    return subprocess.run(["mount", *options, "tmpfs", str(folder)], capture_output=True,
                          text=True, check=False)


class StorageFull(millrace_testing.Case):
    def setUp(self):
        self.disk = pathlib.Path(tempfile.mkdtemp(prefix="millrace-disk-"))
        self.addCleanup(self.disk.rmdir)
        mounted = mount(self.disk, "-t", "tmpfs", "-o", "size=64m,mode=0700")
        if mounted.returncode != 0:
            print(f"SKIPPED: cannot mount: {mounted.stderr.strip()}", file=sys.stderr)
            sys.exit(SKIPPED)
        self.addCleanup(lambda: subprocess.run(["umount", str(self.disk)], check=True))
        super().setUp()

    def resize(self, size):
        done = mount(self.disk, "-o", f"remount,size={size}")
        self.assertEqual(done.returncode, 0, done.stderr)

    def free(self):
        space = os.statvfs(self.disk)
        return space.f_bavail * space.f_frsize

    def fill(self, broker, lines=2000):
        """Enqueues jobs of 60 KiB until they are refused; the ids that were acknowledged."""
        process = self.start_producer(broker, "enqueue", "echo", "-", "--output", "jsonl",
                                      "--reconnect", "2s", stdin=-1)
        millrace_testing.feed(process, LINE * lines)
        self.assertEqual(process.wait(60), 74)
        self.assertRegex(process.err, r"free|space")
        self.assertIn("--min-free", process.err)
        return [job for row in millrace_testing.Finished(0, process.out, "").rows()
                for job in row["ids"]]

    def test_refused_in_time_and_accepted_again_without_a_restart(self):
        broker = self.broker("--min-free", "8MB", folder=self.disk)
        worker = self.worker(broker, "--io-threads", "2")
        # They run all the time: two sleep until the file system has long been full.
        running = self.enqueue_many(broker, "sleep", [{"ms": 6000}] * 2)
        wait_for(lambda: broker.value("SELECT count(*) FROM jobs WHERE started_at IS NOT NULL") == 2)
        ids = self.fill(broker)
        self.assertGreater(len(ids), 10)
        broker.wait_for_line("new jobs are refused")
        self.assertTrue(broker.is_running())
        client = mrp_client.Producer(broker.endpoint)
        self.addCleanup(client.vanish)
        with self.assertRaises(mrp_client.Refused) as refused:
            client.enqueue([{"kind": "echo", "payload": "1"}], seal=True)
        self.assertEqual(refused.exception.code, "storage_full")
        # Refused before the file system was full: what runs can still be recorded.
        self.assertGreater(self.free(), 1 << 20)
        status = self.good(broker, "status", "--output", "json").json()
        self.assertTrue(status[0]["storage_full"] if isinstance(status, list)
                        else status["storage_full"])
        for job in running:
            self.wait_for_state(broker, job, "done")
        audit.check(broker.db, [*running, *ids])

        self.resize("256m")
        broker.wait_for_line("there is space again", 30)
        more = self.enqueue_many(broker, "echo", ["again"] * 100)
        self.assertTrue(worker.is_running())
        wait_for(lambda: set(broker.states()) == {"done"}, 60)
        audit.check(broker.db, [*running, *ids, *more], ended=True, final=("done",))

    def test_somebody_else_fills_it_to_the_last_byte(self):
        self.resize("180m")  # enough for the broker to set ballast aside
        broker = self.broker("--min-free", "80MB", folder=self.disk)
        ballast = self.disk / "millrace.db.ballast"
        self.assertTrue(ballast.exists())
        self.worker(broker, "--io-threads", "2")
        running = self.enqueue_many(broker, "sleep", [{"ms": 4000}] * 2)
        waiting = self.enqueue_many(broker, "echo", list(range(500)), "--delay", "6s")
        wait_for(lambda: broker.value("SELECT count(*) FROM jobs WHERE started_at IS NOT NULL") == 2)
        hog = self.disk / "hog"
        with hog.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"\0" * 65536)
            except OSError:
                pass
        broker.wait_for_line("new jobs are refused")
        refused = self.producer(broker, "enqueue", "echo", "--reconnect", "2s")
        self.assertEqual(refused.code, 74, refused)
        for job in running:
            self.wait_for_state(broker, job, "done")
        self.assertTrue(broker.is_running())
        self.assertFalse(ballast.exists())
        # What became ready meanwhile is not handed out: space is kept for what runs.
        wait_for(lambda: broker.states() == {"done": 2, "ready": 500}, 20)
        audit.check(broker.db, [*running, *waiting])
        hog.unlink()
        broker.wait_for_line("there is space again", 30)
        more = self.enqueue_many(broker, "echo", ["again"] * 100)
        wait_for(lambda: set(broker.states()) == {"done"}, 60)
        audit.check(broker.db, [*running, *waiting, *more], ended=True, final=("done",))


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("SKIPPED: mounting a small file system takes root", file=sys.stderr)
        sys.exit(SKIPPED)
    millrace_testing.main()
