#!/usr/bin/env python3
"""A disk that reports an error once: the broker ends with 74 and acknowledges nothing after it.

strace makes the Nth call fail. Where tracing is not permitted it is skipped (exit code 77).
"""

import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import BIN, wait_for  # noqa: E402

SKIPPED = 77
STORAGE_FAILED = 74
CALLS = "fdatasync,fsync,pwrite64"
# The start of a broker on a new file syncs fewer times than this.
FEWEST = 40
# Any 3,000 short jobs take more.
MOST = 60


class SyncFails(millrace_testing.Case):
    JOBS = 3000

    def traced(self, call, when):
        """Words that run a program in which the `when`th `call` fails with EIO, once.

        With -D the program is our child and strace is not between us.
        """
        self.log = self.folder / "strace.log"
        return ["strace", "-D", "-f", "-ttt", "-o", self.log, "-e", f"trace={CALLS}",
                "-e", "signal=none", "-e", f"inject={call}:error=EIO:when={when}"]

    def failed_at(self):
        """When the injected call failed, in seconds since 1970, and what was called after it."""
        wait_for(lambda: "(INJECTED)" in self.log.read_text(encoding="utf-8"), 5, "strace's log")
        lines = self.log.read_text(encoding="utf-8").splitlines()
        (index,) = [n for n, line in enumerate(lines) if "(INJECTED)" in line]
        return float(re.match(r"\d+ +(\d+\.\d+)", lines[index]).group(1)), lines[index + 1:]

    def assert_nothing_after(self, answered):
        failed_at, later = self.failed_at()
        self.assertGreater(len(answered), 0)
        self.assertEqual([one for when, one in answered if when >= failed_at], [])
        # Linux forgets that a page was not written: a second sync would report success.
        self.assertEqual([line for line in later if re.search(r"\b(fdatasync|fsync)\(", line)], [])

    def assert_ends(self, broker):
        self.assertEqual(broker.wait(), STORAGE_FAILED)
        self.assertIn("storage_failed", broker.err)

    def enqueue_until_silence(self, broker):
        """One request at a time; (time, id) of each answer. The broker must end in between."""
        client = mrp_client.Producer(broker.endpoint)
        self.addCleanup(client.vanish)
        answered = []
        while broker.is_running():
            correlation = client.request(mrp_client.ENQUEUE, {
                "request": client.request_id(), "seal": True,
                "jobs": [{"kind": "echo", "payload": "1"}]})
            client.wait(lambda: correlation in client._answers or not broker.is_running())
            if correlation in client._answers:
                kind, body = client._answers.pop(correlation)
                self.assertEqual(kind, mrp_client.ENQUEUED)
                answered.append((time.time(), body["first"]))
        client.pump(0.3)  # what it sent with its last breath
        self.assertNotIn(correlation, client._answers)
        return client, answered

    def test_no_enqueue_is_acknowledged_after_it(self):
        random = millrace_testing.seeded_random()
        for call, least in (("fdatasync", FEWEST), ("pwrite64", 300)):
            when = random.randrange(least, 2 * least)
            with self.subTest(call=call, when=when):
                broker = self.broker(prefix=self.traced(call, when), db=self.folder / f"{call}.db")
                client, answered = self.enqueue_until_silence(broker)
                self.assert_ends(broker)
                self.assert_nothing_after(answered)
                again = self.broker_again(broker)
                # The request without an answer is sent again by itself, and answered now.
                client.wait(lambda: not client._unanswered, 10, "the last answer")
                ((_, body),) = client._answers.values()
                ids = [job for _, job in answered] + [body["first"]]
                self.worker(again, "--until", "empty")
                self.wait_for_states(again, done=len(ids))
                audit.check(again.db, ids, ended=True, final=("done",))

    def test_no_outcome_is_acknowledged_after_it(self):
        random = millrace_testing.seeded_random()
        broker = self.broker(prefix=self.traced("fdatasync", random.randrange(FEWEST, MOST)))
        ids = self.enqueue_many(broker, "echo", range(100))
        worker = mrp_client.Worker(broker.endpoint, {"echo": "io"}, {"io": 1})
        self.addCleanup(worker.vanish)
        answered = []
        while broker.is_running():
            worker.wait(lambda: worker.waiting() or not broker.is_running())
            for item in worker.waiting()[:1]:
                worker.begin([item])
                correlation = worker.settle(mrp_client.ACK, [
                    {"lease": item["lease"], "job": item["job"], "result": "1"}])
                worker.wait(lambda: correlation not in worker._unanswered or
                            not broker.is_running())
                if correlation not in worker._unanswered:
                    answered.append((time.time(), item["job"]))
        self.assert_ends(broker)
        self.assert_nothing_after(answered)
        again = self.broker_again(broker)
        done = {job for (job,) in again.query("SELECT id FROM jobs WHERE state = 'done'")}
        self.assertLessEqual({job for _, job in answered}, done)
        # It takes up what it holds; else the broker would wait for it for a while.
        sessions = len(worker.resumed)
        worker.wait(lambda: len(worker.resumed) > sessions and not worker._unanswered)
        worker.close()
        self.worker(again)
        self.wait_for_states(again, done=len(ids))
        audit.check(again.db, ids, ended=True, final=("done",))
        self.assertEqual(again.query("SELECT sum(crashes), max(attempts) FROM jobs"), [(0, 1)])

    def test_programs_go_on_when_it_is_started_again(self):
        random = millrace_testing.seeded_random()
        broker = self.broker(prefix=self.traced("fdatasync", random.randrange(FEWEST, MOST)))
        # On threads: the event loop would do them all in a few commits.
        crew = [self.worker(broker, "--io-threads", "6") for _ in range(2)]
        producer = self.start_producer(broker, "enqueue", "sleep", "-", "--output", "jsonl",
                                       stdin=-1)
        millrace_testing.feed(producer, '{"ms": 1}\n' * self.JOBS)
        self.assert_ends(broker)
        again = self.broker_again(broker)
        self.assertEqual(producer.wait(), 0)
        ids = [job for row in millrace_testing.Finished(0, producer.out, "").rows()
               for job in row["ids"]]
        self.assertEqual(len(ids), self.JOBS)
        self.good(again, "close", "default", "--wait")
        self.assertEqual([worker.wait() for worker in crew], [0, 0])
        audit.check(again.db, ids, ended=True, final=("done",))
        self.assertEqual(again.value("SELECT count(*) FROM jobs"), self.JOBS)
        self.assertEqual(again.value("SELECT sum(crashes) FROM jobs"), 0)

    def test_it_does_not_start_over_it(self):
        broker = self.broker()
        ids = self.enqueue_many(broker, "echo", range(20))
        broker.kill()
        # It starts when there are fewer calls than that.
        for when in range(1, 10):
            starting = self.start([*self.traced("fdatasync", when), BIN / "millrace-broker",
                                   "--listen", "tcp://127.0.0.1:*", "--db", broker.db])
            wait_for(lambda: not starting.is_running() or "ready tcp" in starting.err)
            if starting.is_running():
                break
            self.assert_ends(starting)
            self.assertNotIn("ready tcp", starting.err)
        starting.kill()
        self.assertGreater(when, 1)
        again = self.broker_again(broker)
        self.assertEqual(again.states(), {"ready": 20})
        audit.check(again.db, ids)


def can_trace():
    try:
        done = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True,
                              check=False)
    except FileNotFoundError:
        return "strace is not installed"
    return None if done.returncode == 0 else f"ptrace is not permitted: {done.stderr.strip()}"


if __name__ == "__main__":
    reason = can_trace()
    if reason:
        print(f"SKIPPED: {reason}", file=sys.stderr)
        sys.exit(SKIPPED)
    millrace_testing.main()
