#!/usr/bin/env python3
"""The life of a job: order, delay, retries, dead letters, timeout, cancel, redrive, pause."""

import datetime
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

UTC = datetime.timezone.utc


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


class Order(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def run_one_by_one(self):
        """Lets one thread run everything; the ids in the order of their ends."""
        self.worker(self.b, "--io-threads", "1", "--cpu-threads", "0")
        self.good(self.b, "queue", "resume", "default")
        wait_for(lambda: set(self.b.states()) == {"done"})
        return [job for (job,) in self.b.query("SELECT id FROM status ORDER BY finish_seq")]

    def test_more_urgent_jobs_run_first_and_equal_ones_in_the_order_of_their_ids(self):
        self.good(self.b, "queue", "pause", "default")
        least = self.enqueue(self.b, "echo", 1, "--priority", "255")
        first = self.enqueue(self.b, "echo", 2)
        second = self.enqueue(self.b, "echo", 3)
        most = self.enqueue(self.b, "echo", 4, "--priority", "0")
        self.assertEqual(self.run_one_by_one(), [most, first, second, least])

    def test_two_kinds_of_one_queue_share_the_order(self):
        self.good(self.b, "queue", "pause", "default")
        jobs = [self.enqueue(self.b, kind, payload, "--priority", str(priority))
                for kind, payload, priority in (("echo", 1, 30), ("sleep", {"ms": 1}, 20),
                                                ("echo", 1, 10), ("sleep", {"ms": 1}, 40))]
        self.assertEqual(self.run_one_by_one(), [jobs[2], jobs[1], jobs[0], jobs[3]])

    def test_a_backlog_beyond_memory_keeps_the_order(self):
        config = self.file("small.toml", "[limits]\nwindow_jobs_max = 10\n")
        self.b = self.broker("--config", config, db=self.folder / "small.db")
        self.good(self.b, "queue", "pause", "default")
        late = self.enqueue_many(self.b, "echo", range(300), "--priority", "200")
        early = self.enqueue_many(self.b, "echo", range(300), "--priority", "50")
        self.assertEqual(self.run_one_by_one(), early + late)


class Delay(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_a_delayed_job_waits_as_scheduled(self):
        job = self.enqueue(self.b, "echo", 1, "--delay", "1s")
        self.assertEqual(self.b.job(job)["state"], "scheduled")
        self.worker(self.b)
        row = self.wait_for_state(self.b, job, "done")
        self.assertGreaterEqual(moment(row["started_at"]) - moment(row["enqueued_at"]),
                                datetime.timedelta(seconds=0.999))

    def test_a_delayed_job_is_ready_in_time_without_any_worker(self):
        job = self.enqueue(self.b, "echo", 1, "--delay", "300ms")
        self.wait_for_state(self.b, job, "ready", seconds=5)

    def test_a_job_for_a_moment_runs_then(self):
        self.worker(self.b)
        when = datetime.datetime.now(UTC) + datetime.timedelta(seconds=1.2)
        zone = datetime.timezone(datetime.timedelta(hours=-3, minutes=-30))
        job = self.enqueue(self.b, "echo", 1, "--at",
                           when.astimezone(zone).isoformat(timespec="milliseconds"))
        self.assertEqual(self.b.job(job)["state"], "scheduled")
        row = self.wait_for_state(self.b, job, "done")
        late = (moment(row["started_at"]) - when).total_seconds()
        self.assertGreaterEqual(late, -0.002)
        self.assertLess(late, 2)

    def test_a_moment_that_has_passed_is_now(self):
        job = self.enqueue(self.b, "echo", 1, "--at", "2020-01-01T00:00:00Z")
        self.assertEqual(self.b.job(job)["state"], "ready")

    def test_a_scheduled_job_survives_a_restart_of_the_broker(self):
        job = self.enqueue(self.b, "echo", 1, "--delay", "1500ms")
        due = moment(self.b.job(job)["run_at"])
        self.b.signal(15)
        self.assertEqual(self.b.wait(), 0)
        broker = self.broker_again(self.b)
        self.worker(broker)
        row = self.wait_for_state(broker, job, "done")
        self.assertGreaterEqual(moment(row["started_at"]), due)

    def test_a_far_job_can_be_cancelled(self):
        job = self.enqueue(self.b, "echo", 1, "--delay", "30d")
        self.good(self.b, "job", "cancel", job)
        self.assertEqual(self.b.job(job)["state"], "cancelled")


class Retries(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.worker(self.b, "--name", "one")

    def runs(self, job):
        return self.b.query("SELECT attempt, outcome, error FROM attempts WHERE job = ? ORDER BY 1",
                            job)

    def test_a_job_that_fails_twice_is_done_at_the_third_try(self):
        job = self.enqueue(self.b, "fail", {"times": 2, "message": "no luck"})
        row = self.wait_for_state(self.b, job, "done", "dead")
        self.assertEqual((row["state"], row["attempts"], row["deliveries"], row["crashes"]),
                         ("done", 3, 3, 0))
        self.assertEqual(self.runs(job), [(1, "nack", "no luck"), (2, "nack", "no luck"),
                                          (3, "ack", None)])

    def test_retries_wait_longer_each_time(self):
        job = self.enqueue(self.b, "fail", {}, "--max-attempts", "3")
        self.wait_for_state(self.b, job, "scheduled", seconds=5)
        self.wait_for_state(self.b, job, "dead")
        starts = [moment(start) for (start,) in self.b.query(
            "SELECT started_at FROM attempts WHERE job = ? ORDER BY attempt", job)]
        gaps = [(b - a).total_seconds() for a, b in zip(starts, starts[1:])]
        self.assertTrue(0.45 <= gaps[0] <= 1.8, gaps)
        self.assertTrue(0.9 <= gaps[1] <= 2.8, gaps)

    def test_attempts_used_up_is_a_dead_letter(self):
        job = self.enqueue(self.b, "fail", {"message": "never"}, "--max-attempts", "2")
        row = self.wait_for_state(self.b, job, "dead")
        self.assertEqual((row["attempts"], row["error"]), (2, "never"))
        self.assertEqual([outcome for _, outcome, _ in self.runs(job)], ["nack", "nack"])

    def test_a_kind_that_no_worker_offers_does_not_hang(self):
        job = self.enqueue(self.b, "no.such.kind", 1, "--max-attempts", "1")
        row = self.wait_for_state(self.b, job, "dead")
        self.assertIn("unknown_kind", row["error"])
        self.assertIn("no.such.kind", row["error"])

    def test_a_dead_letter_is_made_ready_again_with_fresh_attempts(self):
        job = self.enqueue(self.b, "fail", {"times": 2}, "--max-attempts", "1")
        self.wait_for_state(self.b, job, "dead")
        done = self.good(self.b, "job", "redrive", job)
        self.assertIn("1 job redriven", done.err)
        wait_for(lambda: self.b.job(job)["attempts"] == 2 and self.b.job(job)["state"] == "dead")
        self.good(self.b, "job", "redrive", "--state", "dead", "--queue", "default")
        row = self.wait_for_state(self.b, job, "done")
        self.assertEqual((row["attempts"], row["error"]), (3, None))

    def test_redrive_by_filter_lists_first_when_asked_to(self):
        jobs = self.enqueue_many(self.b, "fail", [{}] * 3, "--max-attempts", "1")
        self.wait_for_states(self.b, dead=3)
        rows = self.good(self.b, "job", "redrive", "--kind", "fail", "--dry-run", "--output",
                         "jsonl").rows()
        self.assertEqual([row["job"] for row in rows], jobs)
        self.assertEqual(self.b.states(), {"dead": 3})

    def test_a_done_job_cannot_be_redriven(self):
        job = self.enqueue(self.b, "echo", 1)
        self.wait_for_state(self.b, job, "done")
        done = self.producer(self.b, "job", "redrive", job)
        self.assertEqual((done.code, done.out), (1, ""), done)
        self.assertIn(str(job), done.err)
        self.assertEqual(self.b.job(job)["state"], "done")


class Timeout(millrace_testing.Case):
    def test_a_run_that_takes_too_long_is_stopped_and_counts_as_an_attempt(self):
        broker = self.broker()
        self.worker(broker, "--io-threads", "1")
        job = self.enqueue(broker, "sleep", {"ms": 60000}, "--timeout", "300ms",
                           "--max-attempts", "2")
        row = self.wait_for_state(broker, job, "dead")
        self.assertEqual((row["attempts"], row["crashes"]), (2, 0))
        self.assertIn("timeout", row["error"])
        runs = broker.query("SELECT outcome, started_at, finished_at FROM attempts WHERE job = ?",
                            job)
        for outcome, started, finished in runs:
            self.assertEqual(outcome, "timeout")
            took = (moment(finished) - moment(started)).total_seconds()
            self.assertTrue(0.25 <= took <= 2.5, took)
        # The thread is free again.
        self.good(broker, "enqueue", "echo", "--wait")

    def test_a_run_within_its_timeout_is_left_alone(self):
        broker = self.broker()
        self.worker(broker)
        job = self.enqueue(broker, "sleep", {"ms": 300}, "--timeout", "20s")
        self.assertEqual(self.wait_for_state(broker, job, "done", "dead")["state"], "done")


class Cancel(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_a_waiting_job_is_cancelled_at_once(self):
        job = self.enqueue(self.b, "echo", 1)
        done = self.good(self.b, "job", "cancel", job, "--output", "jsonl")
        self.assertEqual(done.rows(), [{"job": job, "status": "ok"}])
        self.assertEqual(self.b.job(job)["state"], "cancelled")
        self.worker(self.b)
        self.good(self.b, "enqueue", "echo", "--wait")
        self.assertEqual(self.b.job(job)["deliveries"], 0)

    def test_a_running_job_is_stopped(self):
        self.worker(self.b, "--io-threads", "1")
        process = self.start_producer(self.b, "enqueue", "sleep", '{"ms": 60000}', "--wait",
                                      "--output", "jsonl")
        wait_for(lambda: self.b.states() == {"leased": 1})
        self.good(self.b, "job", "cancel", "1")
        self.assertEqual(process.wait(), 1)
        self.assertIn('"state":"cancelled"', process.out)
        # The one thread is free again.
        self.good(self.b, "enqueue", "echo", "--wait")

    def test_cancel_by_filter(self):
        self.enqueue_many(self.b, "echo", range(700), "--queue", "many")
        keep = self.enqueue(self.b, "echo", 1)
        rows = self.good(self.b, "job", "cancel", "--queue", "many", "--dry-run", "--output",
                         "jsonl").rows()
        self.assertEqual(len(rows), 700)
        done = self.good(self.b, "job", "cancel", "--queue", "many")
        self.assertIn("700 jobs cancelled", done.err)
        self.assertEqual(self.b.states(), {"cancelled": 700, "ready": 1})
        self.assertEqual(self.b.job(keep)["state"], "ready")

    def test_a_job_that_ended_cannot_be_cancelled(self):
        self.worker(self.b)
        job = self.enqueue(self.b, "echo", 1)
        self.wait_for_state(self.b, job, "done")
        done = self.producer(self.b, "job", "cancel", job)
        self.assertEqual(done.code, 1, done)
        self.assertEqual(self.b.job(job)["state"], "done")

    def test_several_ids_each_get_their_answer(self):
        jobs = self.enqueue_many(self.b, "echo", [1, 2])
        done = self.producer(self.b, "job", "cancel", *jobs, "99", "--output", "jsonl")
        self.assertEqual(done.code, 1, done)
        self.assertEqual([(row["job"], row["status"]) for row in done.rows()],
                         [(jobs[0], "ok"), (jobs[1], "ok"), (99, "not_found")])

    def test_a_cancelled_job_can_be_redriven(self):
        job = self.enqueue(self.b, "echo", 1)
        self.good(self.b, "job", "cancel", job)
        self.good(self.b, "job", "redrive", job)
        self.worker(self.b)
        self.wait_for_state(self.b, job, "done")


class Queues(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.b = self.broker()

    def test_a_paused_queue_gives_out_nothing_until_it_is_resumed(self):
        self.worker(self.b, "--queue", "default", "--queue", "other")
        done = self.good(self.b, "queue", "pause", "default")
        self.assertIn("paused", done.err)
        job = self.enqueue(self.b, "echo", 1)
        # Another queue of the same worker goes on, which shows that this one was passed over.
        self.good(self.b, "enqueue", "echo", "--queue", "other", "--wait")
        self.assertEqual(self.b.job(job)["state"], "ready")
        self.good(self.b, "queue", "resume", "default")
        self.wait_for_state(self.b, job, "done")

    def test_what_runs_when_a_queue_is_paused_runs_on(self):
        self.worker(self.b, "--io-threads", "1")
        first, second = self.enqueue_many(self.b, "sleep", [{"ms": 700}, {"ms": 1}])
        self.wait_for_state(self.b, first, "leased")
        self.good(self.b, "queue", "pause", "default")
        self.wait_for_state(self.b, first, "done")
        self.assertEqual(self.b.job(second)["state"], "ready")

    def test_a_pause_outlives_the_broker(self):
        self.good(self.b, "queue", "pause", "default")
        self.b.signal(15)
        self.b.wait()
        broker = self.broker_again(self.b)
        (row,) = self.good(broker, "queue", "ls", "--output", "jsonl").rows()
        self.assertTrue(row["paused"])
        self.assertIn("paused", self.good(broker, "queue", "ls").out)

    def test_purge_cancels_what_waits_and_leaves_what_runs(self):
        self.worker(self.b, "--io-threads", "1")
        running = self.enqueue(self.b, "sleep", {"ms": 1000})
        self.wait_for_state(self.b, running, "leased")
        waiting = self.enqueue_many(self.b, "echo", range(600))
        late = self.enqueue(self.b, "echo", 1, "--delay", "1h")
        done = self.good(self.b, "queue", "purge", "default")
        self.assertIn("601 waiting jobs", done.err)
        self.assertEqual({self.b.job(job)["state"] for job in [waiting[0], waiting[-1], late]},
                         {"cancelled"})
        self.wait_for_state(self.b, running, "done")

    def test_queues_keep_to_themselves(self):
        self.worker(self.b, "--queue", "mine")
        other = self.enqueue(self.b, "echo", 1, "--queue", "other")
        self.good(self.b, "enqueue", "echo", "--queue", "mine", "--wait")
        self.assertEqual(self.b.job(other)["state"], "ready")

    def test_a_full_queue_refuses_with_75(self):
        config = self.file("full.toml", "[limits]\nqueue_jobs_max = 5\n")
        broker = self.broker("--config", config, db=self.folder / "full.db")
        self.enqueue_many(broker, "echo", range(5))
        done = self.producer(broker, "enqueue", "echo", "--reconnect", "1s")
        self.assertEqual((done.code, done.out), (75, ""), done)
        self.assertIn("queue", done.err)
        self.assertEqual(broker.states(), {"ready": 5})
        # Another queue has room.
        self.good(broker, "enqueue", "echo", "--queue", "other")


if __name__ == "__main__":
    millrace_testing.main()
