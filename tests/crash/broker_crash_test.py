#!/usr/bin/env python3
"""kill -9 of the broker: peers go on by themselves, and what it promised is in the file once."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402


class BrokerKilled(millrace_testing.Case):
    JOBS = 20_000

    def kill_and_restart(self, broker):
        broker.kill()
        return self.broker_again(broker)

    def ended(self, broker):
        return broker.value("SELECT coalesce(sum(done + dead), 0) FROM queues")

    def enqueue_with_kills(self, moments, workers=3):
        """Enqueues while workers run; the broker dies each time so many jobs have ended."""
        broker = self.broker()
        crew = [self.worker(broker, "--name", name) for name in "abc"[:workers]]
        process = self.start_producer(broker, "enqueue", "echo", "-", "--output", "jsonl", stdin=-1)
        millrace_testing.feed(process, "".join(f"{n}\n" for n in range(self.JOBS)))
        for moment in moments:
            wait_for(lambda: self.ended(broker) >= moment, 30)
            broker = self.kill_and_restart(broker)
        self.assertEqual(process.wait(60), 0)
        ids = [job for row in millrace_testing.Finished(0, process.out, "").rows()
               for job in row["ids"]]
        self.assertEqual(len(ids), self.JOBS)
        self.good(broker, "close", "default")
        self.assertEqual([worker.wait(60) for worker in crew], [0] * workers)
        audit.check(broker.db, ids, ended=True, final=("done",))
        # Nothing more than what was acknowledged: a resent request was not enqueued again.
        self.assertEqual(broker.value("SELECT count(*) FROM jobs"), self.JOBS)
        payloads = dict(broker.query("SELECT id, payload FROM jobs"))
        self.assertEqual([payloads[job] for job in ids], [str(n) for n in range(self.JOBS)])
        self.assertEqual(broker.value("SELECT sum(crashes) FROM jobs"), 0)
        # Workers keep what they have when the broker dies, so hardly anything runs again. What was
        # given out by a commit but never sent counts as two deliveries and one run.
        again = broker.value("SELECT count(*) FROM jobs WHERE deliveries > 1")
        ran = sum(int(worker.wait_for_line(r"ran (\d+) jobs").group(1)) for worker in crew)
        print(f"of {self.JOBS} jobs {again} were given out again, {ran - self.JOBS} ran again",
              file=sys.stderr)
        self.assertLess(ran, self.JOBS * 1.05)
        return broker

    def test_in_the_middle_of_twenty_thousand_jobs(self):
        self.enqueue_with_kills([self.JOBS // 4])

    def test_several_times_at_random_moments(self):
        random = millrace_testing.seeded_random()
        self.enqueue_with_kills(sorted(random.randrange(self.JOBS * 9 // 10) for _ in range(4)), 2)

    def test_a_watch_goes_on_without_gap_or_repeat(self):
        broker = self.broker()
        self.worker(broker)
        process = self.start_producer(broker, "enqueue", "echo", "-", "--wait", "--output", "jsonl",
                                      stdin=-1)
        millrace_testing.feed(process, "".join(f"{n}\n" for n in range(self.JOBS)))
        for count in (1000, 8000):
            process.wait_for_line('"job"', out=True, count=count)
            broker = self.kill_and_restart(broker)
        self.assertEqual(process.wait(60), 0)
        rows = millrace_testing.Finished(0, process.out, "").rows()
        self.assertEqual(len(rows), self.JOBS)
        self.assertEqual(len({row["job"] for row in rows}), self.JOBS)
        self.assertEqual(sorted(row["result"] for row in rows), list(range(self.JOBS)))
        audit.check(broker.db, [row["job"] for row in rows], ended=True, final=("done",))

    def test_a_count_of_primes_goes_on(self):
        broker = self.broker()
        for _ in range(2):
            self.worker(broker)
        process = self.start_producer(broker, "primes", 1, 10**9, "--chunk", 50000)
        wait_for(lambda: self.ended(broker) > 2000)
        broker = self.kill_and_restart(broker)
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.out, "50847534\n")
        audit.check(broker.db, range(1, 20001), ended=True, final=("done",))

    def test_a_running_job_is_not_run_again(self):
        broker = self.broker()
        self.worker(broker, "--name", "one")
        job = self.enqueue(broker, "sleep", {"ms": 4000})
        self.wait_for_state(broker, job, "leased")
        broker = self.kill_and_restart(broker)
        self.worker(broker, "--name", "two")
        row = self.wait_for_state(broker, job, "done")
        self.assertEqual((row["worker"], row["attempts"], row["crashes"], row["deliveries"]),
                         ("one", 1, 0, 1))
        audit.check(broker.db, [job], ended=True, final=("done",))

    def test_a_result_that_came_while_it_was_gone_is_taken(self):
        broker = self.broker()
        worker = self.worker(broker)
        job = self.enqueue(broker, "sleep", {"ms": 500})
        self.wait_for_state(broker, job, "leased")
        broker.kill()
        worker.wait_for_line("lost the broker", 10)  # 3 s: the run has ended by then
        broker = self.broker_again(broker)
        row = self.wait_for_state(broker, job, "done")
        self.assertEqual((row["attempts"], row["deliveries"]), (1, 1))

    def test_worker_and_broker_both_dead_is_repaired_too(self):
        broker = self.broker()
        worker = self.worker(broker)
        job = self.enqueue(broker, "sleep", {"ms": 1500})
        wait_for(lambda: broker.job(job)["started_at"])
        worker.kill()
        broker = self.kill_and_restart(broker)
        self.worker(broker, "--name", "other")
        # Nobody resumes the lease, so it is taken back when the time for that is over.
        row = self.wait_for_state(broker, job, "done", seconds=20)
        self.assertEqual(row["worker"], "other")
        audit.check(broker.db, [job], ended=True, final=("done",))

    def test_a_close_and_its_drain_survive(self):
        broker = self.broker()
        workers = [self.worker(broker) for _ in range(2)]
        ids = self.enqueue_many(broker, "sleep", [{"ms": 40}] * 200)
        closer = self.start_producer(broker, "close", "default", "--wait")
        closer.wait_for_line("closed")
        wait_for(lambda: self.ended(broker) > 50)
        broker = self.kill_and_restart(broker)
        self.assertEqual(closer.wait(), 0)
        self.assertEqual([worker.wait() for worker in workers], [0, 0])
        audit.check(broker.db, ids, ended=True, final=("done",))
        self.assertEqual(broker.query("SELECT state, generation FROM queues"), [("drained", 1)])

    def test_a_producer_gives_up_when_the_broker_stays_away_and_says_how_to_go_on(self):
        broker = self.broker()
        process = self.start_producer(broker, "enqueue", "echo", "--wait", "--reconnect", "2s")
        wait_for(lambda: broker.states() == {"ready": 1})
        broker.kill()
        self.assertEqual(process.wait(15), 69)
        resume = process.wait_for_line(r"millrace-producer (.*results 1 --from 0)$")
        again = self.broker_again(broker)
        self.worker(again)
        done = self.good("tcp://127.0.0.1:1", *resume.group(1).split(), "--output", "jsonl")
        self.assertEqual(len(done.rows()), 1)


if __name__ == "__main__":
    millrace_testing.main()
