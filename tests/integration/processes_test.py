#!/usr/bin/env python3
"""Jobs in child processes: programs of any language, crashes, limits, and that nothing stays behind."""

import json
import os
import pathlib
import shlex
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

CHILD = pathlib.Path(__file__).resolve().parents[1] / "support" / "stdio_child.py"


def processes():
    """pid → (parent, command line) of everything alive."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text(encoding="utf-8", errors="replace")
            words = pathlib.Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state not in "ZX":
            found[int(entry)] = (int(parent), words.strip())
    return found


def descendants(root):
    family, all_of_them = {root}, processes()
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in all_of_them.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return family - {root}


class Processes(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        # Readable for the user that children become when these tests run as root.
        os.chmod(self.folder, 0o755)
        self.b = self.broker()

    def program(self, name="nasty", *options, size=1, arguments=()):
        """A worker with kind `name`, run by the test's child program."""
        command = " ".join(map(shlex.quote, [sys.executable, "-B", str(CHILD), *arguments]))
        return self.worker(self.b, "--until", "forever", "--kind", f"{name}={command}",
                           "--executor", f"{name}=process:{size}", *options)

    def ended(self, payload, *options, state="dead", kind="nasty"):
        job = self.enqueue(self.b, kind, payload, "--max-attempts", "1", "--retry", "10ms",
                           "--crashes-max", "1", *options)
        return self.wait_for_state(self.b, job, state)

    def attempts(self, job):
        return self.b.query("SELECT outcome, error FROM attempts WHERE job = ? ORDER BY attempt", job)

    # ---- what should be ------------------------------------------------------------------------

    def test_a_program_runs_jobs_and_stays_warm(self):
        self.program()
        first = self.ended({"do": "pid"}, state="done")["result"]
        second = self.ended({"do": "pid"}, state="done")["result"]
        self.assertEqual(first, second)
        self.assertEqual(json.loads(self.ended({"a": 1}, state="done")["result"]), {"a": 1})

    def test_it_may_tell_progress_lines_and_parts(self):
        self.program()
        job = self.enqueue(self.b, "nasty", {"do": "output"})
        self.wait_for_state(self.b, job, "done")
        rows = self.good(self.b, "job", "output", str(job), "--output", "json").json()
        self.assertEqual(sorted(row["type"] for row in rows), ["chunk", "log", "progress"])

    def test_it_may_enqueue_further_jobs(self):
        self.program()
        done = self.ended({"do": "enqueue", "count": 3}, state="done")
        ids = json.loads(done["result"])["ids"]
        self.assertEqual(len(ids), 3)
        for job in ids:
            self.assertEqual(self.wait_for_state(self.b, job, "done")["batch"], done["batch"])

    def test_nothing_is_inherited_but_three_descriptors(self):
        self.program("nasty", "--child-files", "77")
        who = json.loads(self.ended({"do": "who"}, state="done")["result"])
        self.assertEqual(who["fds"], [0, 1, 2])
        self.assertEqual(who["more"], 0)
        self.assertTrue(who["sid"])
        self.assertEqual(who["files"], 77)
        self.assertEqual(who["core"], 0)
        if os.getuid() == 0:
            self.assertNotEqual(who["uid"], 0, "children of root are somebody else")

    def test_a_child_is_replaced_after_so_many_jobs(self):
        self.program("nasty", "--jobs-per-child", "2")
        pids = [self.ended({"do": "pid"}, state="done")["result"] for _ in range(4)]
        self.assertEqual(pids[0], pids[1])
        self.assertEqual(pids[2], pids[3])
        self.assertNotEqual(pids[0], pids[2])

    def test_a_child_is_replaced_when_it_has_grown(self):
        self.program("nasty", "--child-memory-growth", "32MiB")
        first = self.ended({"do": "grow", "bytes": 1}, state="done")["result"]
        self.assertEqual(self.ended({"do": "grow", "bytes": 64 << 20}, state="done")["result"], first)
        self.assertNotEqual(self.ended({"do": "grow", "bytes": 1}, state="done")["result"], first)

    def test_a_kind_of_the_worker_itself_runs_in_children(self):
        self.worker(self.b, "--until", "forever", "--executor", "sum=process:2")
        job = self.enqueue(self.b, "sum", {"n": 1000})
        self.assertEqual(json.loads(self.wait_for_state(self.b, job, "done")["result"]), {"sum": 499500})
        pools = self.good(self.b, "worker", "ls", "--output", "json").json()[0]["pools"]
        self.assertEqual(pools["process.sum"], 2)

    def test_many_small_jobs_pass_through_a_child(self):
        self.worker(self.b, "--until", "forever", "--executor", "echo=process:2")
        self.enqueue_many(self.b, "echo", range(5000))
        self.wait_for_states(self.b, done=5000)
        self.assertEqual(self.b.value("SELECT count(*) FROM jobs WHERE result = payload"), 5000)

    # ---- what should not be --------------------------------------------------------------------

    def test_a_crash_fails_its_job_alone_and_is_on_record(self):
        worker = self.program(size=2)
        crash = self.ended({"do": "segfault"})
        self.assertEqual(crash["crashes"], 1)
        self.assertEqual(crash["attempts"], 0)
        ((outcome, error),) = self.attempts(crash["id"])
        self.assertEqual(outcome, "crash")
        self.assertIn("signal 11 (SEGV)", error.replace("SIGSEGV", "SEGV"))
        self.assertIn("about to read address 0", error)
        self.assertIn("MiB", error)
        self.ended({"a": 1}, state="done")
        self.assertTrue(worker.is_running())

    def test_every_bad_end_is_one_clear_failed_attempt(self):
        worker = self.program("nasty", "--child-memory", "300MiB", "--child-processes", "50")
        for payload, outcome, words in [
                ({"do": "abort"}, "crash", "SIGABRT"),
                ({"do": "exit", "status": 7}, "crash", "status 7"),
                ({"do": "exit"}, "crash", "status 0"),
                ({"do": "memory", "bytes": 2 << 30}, "crash", "MemoryError"),
                ({"do": "endless"}, "nack", "output_too_large"),
                ({"do": "endless_stdout"}, "nack", "protocol"),
                ({"do": "noise"}, "nack", "protocol"),
                ({"do": "close"}, "nack", "closed_stdout"),
                ({"do": "bomb"}, "nack", "too_many_processes"),
                ({"do": "fail"}, "nack", "refused: as asked"),
                ({"do": "fail", "retry": False}, "reject", "refused: as asked"),
                ({"do": "grandchild", "sleep": "3601.5"}, "nack", "left_behind"),
                ({"do": "child", "sleep": "3602.5"}, "nack", "left_behind"),
        ]:
            with self.subTest(payload=payload):
                job = self.ended(payload)
                ((seen, error),) = self.attempts(job["id"])
                self.assertEqual((seen, words in error), (outcome, True), error)
        self.ended({"a": 1}, state="done")
        wait_for(lambda: len(descendants(worker.pid)) == 2, what="nursery and one child")
        self.assertFalse([words for _, words in processes().values() if "sleep 360" in words])

    def test_a_child_has_only_so_much_cpu_time(self):
        self.program("nasty", "--child-cpu", "1s")
        job = self.ended({"do": "compute"})
        ((outcome, error),) = self.attempts(job["id"])
        self.assertEqual(outcome, "crash")
        self.assertIn("SIGXCPU", error)
        self.ended({"a": 1}, state="done")

    def test_a_timeout_kills_a_child_that_ignores_signals(self):
        self.program()
        job = self.ended({"do": "deaf"}, "--timeout", "300ms")
        self.assertEqual(self.attempts(job["id"])[0][0], "timeout")
        self.ended({"a": 1}, state="done")

    def test_a_child_that_listens_survives_a_cancel(self):
        self.program()
        pid = self.ended({"do": "pid"}, state="done")["result"]
        job = self.enqueue(self.b, "nasty", {"do": "sleep", "seconds": 60})
        self.wait_for_state(self.b, job, "leased")
        self.good(self.b, "job", "cancel", str(job))
        self.wait_for_state(self.b, job, "cancelled")
        self.assertEqual(self.ended({"do": "pid"}, state="done")["result"], pid)

    def test_a_program_that_refuses_to_start_says_why(self):
        worker = self.program(arguments=["--refuse"])
        job = self.ended({"a": 1})
        self.assertIn("cannot_start", job["error"])
        self.assertIn("no licence for this machine", job["error"])
        self.assertTrue(worker.is_running())

    def test_nothing_lives_longer_than_a_killed_worker(self):
        worker = self.program("nasty", "--child-processes", "50", size=2)
        deaf = self.enqueue(self.b, "nasty", {"do": "deaf"})
        bomb = self.enqueue(self.b, "nasty", {"do": "bomb"})
        for job in (deaf, bomb):
            self.wait_for_state(self.b, job, "leased")
        wait_for(lambda: len(descendants(worker.pid)) > 10, what="the bomb")
        worker.kill()
        wait_for(lambda: not [words for _, words in processes().values() if str(CHILD) in words],
                 what="the end of all children")

    def test_nothing_lives_longer_than_a_worker_that_left(self):
        worker = self.program("nasty", "--grace", "100ms")
        job = self.enqueue(self.b, "nasty", {"do": "deaf"})
        self.wait_for_state(self.b, job, "leased")
        worker.signal(signal.SIGTERM)
        self.assertEqual(worker.wait(), 0)
        self.assertEqual([words for _, words in processes().values() if str(CHILD) in words], [],
                         "the worker waits for the end of all children")
        self.assertEqual(self.wait_for_state(self.b, job, "ready")["crashes"], 0)

    def test_random_crashes_lose_nothing_and_leak_nothing(self):
        worker = self.program(size=2)
        self.ended({"a": 1}, state="done")
        files = len(os.listdir(f"/proc/{worker.pid}/fd"))
        self.enqueue_many(self.b, "nasty", [{"do": "sometimes"}] * 1000, "--crashes-max", "50")
        self.wait_for_states(self.b, done=1001, seconds=120)
        self.assertGreater(self.b.value("SELECT sum(crashes) FROM jobs"), 30)
        wait_for(lambda: len(os.listdir(f"/proc/{worker.pid}/fd")) <= files, what="no descriptor leaks")

    # ---- a process for each job ------------------------------------------------------------------

    def test_a_fixed_program_runs_once_for_each_job(self):
        self.worker(self.b, "--until", "forever", "--exec", "upper=/usr/bin/tr a-z A-Z",
                    "--exec", "false=/bin/false", "--executor", "upper=process:2")
        self.assertEqual(self.ended("hello; $(reboot)", state="done", kind="upper")["result"],
                         '"HELLO; $(REBOOT)"')
        self.assertIn("status 1", self.ended(None, kind="false")["error"])

    def test_only_a_whole_path_may_be_run(self):
        for value in ("upper=tr a-z A-Z", "upper=/no/such/program", "Upper=/usr/bin/tr", "upper"):
            with self.subTest(value=value):
                worker = self.start([millrace_testing.BIN / "millrace-worker", "--exec", value])
                self.assertIn(worker.wait(), (64, 78))


if __name__ == "__main__":
    millrace_testing.main()
