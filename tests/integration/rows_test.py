#!/usr/bin/env python3
"""What each command prints: the rows of every output format, data and messages kept apart."""

import os
import pathlib
import pty
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
import raw_peer  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

RESULT_KEYS = ("job", "kind", "state", "result", "error", "attempts", "cursor")
QUEUE_KEYS = ("queue", "state", "paused", "generation", "blocked", "scheduled", "ready", "leased",
              "done", "dead", "cancelled", "expired", "workers")
BATCH_KEYS = ("batch", "sealed", "total", "open", "done", "dead", "cancelled", "expired",
              "created_at")
ATTEMPT_KEYS = ("attempt", "worker", "started_at", "finished_at", "outcome", "error")
ISO = r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z"


class Rows(millrace_testing.Case):
    """Each command in each format, on one broker with one worker."""

    def setUp(self):
        super().setUp()
        self.b = self.broker()
        self.worker(self.b, "--name", "one")

    def formats(self, *words, codes=(0,), stdin=None, rows=None):
        """Runs a command as jsonl, json and table; returns the rows of jsonl.

        json must be one array of such rows; the number of rows may be given.
        """
        found = {}
        for form in ("jsonl", "json", "table"):
            done = self.producer(self.b, *words, "--output", form, stdin=stdin)
            self.assertIn(done.code, codes, done)
            found[form] = done
        lines = found["jsonl"].rows()
        array = found["json"].json()
        self.assertIsInstance(array, list)
        self.assertEqual([list(row) for row in lines], [list(row) for row in array])
        if rows is not None:
            self.assertEqual(len(lines), rows, found["jsonl"])
        # What a command did rather than found out is a sentence on stderr for people.
        if lines:
            self.assertTrue((found["table"].out + found["table"].err).strip(), found["table"])
        self.assertFalse(found["table"].out.startswith(("{", "[")), found["table"])
        return lines

    def test_enqueue_gives_batch_and_ids(self):
        (row,) = self.formats("enqueue", "echo", '{"a": 1}', rows=1)
        self.assert_keys(row, "batch", "ids")
        self.assertEqual(row, {"batch": 1, "ids": [1]})
        done = self.good(self.b, "enqueue", "echo", "-", "--output", "jsonl", stdin="1\n2\n\n3\n")
        ids = [job for row in done.rows() for job in row["ids"]]
        self.assertEqual(ids, list(range(ids[0], ids[0] + 3)))
        self.assertEqual({row["batch"] for row in done.rows()}, {ids[0]})

    def test_enqueue_keeps_the_order_of_the_input(self):
        done = self.good(self.b, "enqueue", "echo", "-", "--output", "jsonl", "--queue", "big",
                         stdin="".join(f"{n}\n" for n in range(5000)))
        ids = [job for row in done.rows() for job in row["ids"]]
        self.assertEqual(len(ids), 5000)
        payloads = dict(self.b.query("SELECT id, payload FROM jobs WHERE queue = 'big'"))
        self.assertEqual([payloads[job] for job in ids], [str(n) for n in range(5000)])

    def test_enqueue_of_nothing_is_no_row(self):
        self.formats("enqueue", "echo", "-", stdin="", rows=0)
        self.formats("enqueue", "echo", "-", stdin="\n \n", rows=0)
        self.assertEqual(self.b.states(), {})

    def test_waiting_and_results_give_the_same_rows(self):
        (row,) = self.formats("enqueue", "echo", '{"a": [1, "ü"]}', "--wait", rows=1)
        self.assert_keys(row, *RESULT_KEYS)
        self.assertEqual((row["job"], row["kind"], row["state"], row["result"], row["error"],
                          row["attempts"]), (1, "echo", "done", {"a": [1, "ü"]}, None, 1))
        self.assertGreater(row["cursor"], 0)
        again = self.formats("results", "1", rows=1)
        self.assertEqual(again, [row])

    def test_a_job_that_failed_gives_its_error_and_exit_1(self):
        (row,) = self.formats("enqueue", "fail", '{"message": "no luck"}', "--max-attempts", "1",
                              "--wait", codes=(1,), rows=1)
        self.assert_keys(row, *RESULT_KEYS)
        self.assertEqual((row["state"], row["result"], row["attempts"]), ("dead", None, 1))
        self.assertIn("no luck", row["error"])
        self.assertEqual(self.formats("results", "1", codes=(1,)), [row])

    def test_results_that_are_no_json_stay_text_and_bytes_become_base64(self):
        peer = raw_peer.RawPeer(self.b.endpoint)
        self.addCleanup(peer.close)
        text, blob = "plain, not JSON", b"\x00\xff\x10"
        first = peer.enqueue("echo", [text, blob, '"quoted"'])
        rows = self.formats("results", first, rows=3)
        by_job = {row["job"]: row["result"] for row in rows}
        self.assertEqual(by_job, {first: text, first + 1: {"base64": "AP8Q"}, first + 2: "quoted"})

    def test_primes_rows(self):
        (row,) = self.formats("primes", "1", "20", rows=1)
        self.assertEqual(row, {"job": 1, "from": 1, "to": 20, "count": 8})
        self.assert_keys(row, "job", "from", "to", "count")
        (row,) = self.formats("primes", "1", "20", "--list", rows=1)
        self.assert_keys(row, "job", "from", "to", "count", "primes")
        self.assertEqual(row["primes"], [2, 3, 5, 7, 11, 13, 17, 19])

    def test_replay_rows(self):
        ids = self.enqueue_many(self.b, "echo", [1, 2])
        self.wait_for_states(self.b, done=2)
        (row,) = self.formats("replay", "--batch", ids[0], rows=1)
        self.assert_keys(row, "batch", "ids", "replay_of")
        self.assertEqual(row["replay_of"], ids)
        self.assertEqual(row, {"batch": 3, "ids": [3, 4], "replay_of": ids})

    def test_replay_dry_run_rows(self):
        ids = self.enqueue_many(self.b, "echo", [1, 2])
        self.wait_for_states(self.b, done=2)
        rows = self.formats("replay", "--state", "done", "--dry-run", rows=2)
        self.assertEqual([row["job"] for row in rows], ids)

    def test_queue_rows(self):
        self.good(self.b, "enqueue", "echo")
        self.wait_for_states(self.b, done=1)
        for words in (["queue", "ls"], ["queue", "show", "default"]):
            (row,) = self.formats(*words, rows=1)
            self.assert_keys(row, *QUEUE_KEYS)
            self.assertEqual(row, {
                "queue": "default", "state": "open", "paused": False, "generation": 1, "blocked": 0,
                "scheduled": 0, "ready": 0, "leased": 0, "done": 1, "dead": 0, "cancelled": 0,
                "expired": 0, "workers": 1})
        for words, expected in ((["queue", "pause", "default"], {"paused": True}),
                                (["queue", "resume", "default"], {"paused": False}),
                                (["open", "default"], {"state": "open"})):
            (row,) = self.formats(*words, rows=1)
            self.assert_keys(row, *QUEUE_KEYS)
            self.assertEqual({key: row[key] for key in expected}, expected)
        (row,) = self.formats("queue", "purge", "default", rows=1)
        self.assertEqual(row, {"queue": "default", "cancelled": 0})

    def test_close_rows(self):
        for words in (["close", "other"], ["close", "other", "--wait"]):
            (row,) = self.formats(*words, rows=1)
            self.assert_keys(row, *QUEUE_KEYS)
            self.assertEqual((row["queue"], row["state"]), ("other", "drained"))

    def test_job_rows(self):
        job = self.enqueue(self.b, "fail", {"times": 1, "message": "first"})
        self.wait_for_state(self.b, job, "done")
        (row,) = self.formats("job", "ls", rows=1)
        for key in ("job", "queue", "kind", "state", "priority", "payload", "result", "error",
                    "deliveries", "attempts", "crashes", "batch", "replay_of", "worker",
                    "enqueued_at", "run_at", "started_at", "finished_at"):
            self.assertIn(key, row)
        self.assertEqual((row["job"], row["state"], row["attempts"], row["worker"]),
                         (job, "done", 2, "one"))
        self.assertRegex(row["finished_at"], ISO)
        (shown,) = self.formats("job", "show", job, rows=1)
        history = shown.pop("history")
        self.assertEqual(shown, row)
        for run in history:
            self.assert_keys(run, *ATTEMPT_KEYS)
        self.assertEqual([(run["attempt"], run["outcome"], run["error"]) for run in history],
                         [(1, "nack", "first"), (2, "ack", None)])

    def test_batch_rows(self):
        ids = self.enqueue_many(self.b, "echo", [1, 2, 3])
        self.wait_for_states(self.b, done=3)
        for words in (["batch", "ls"], ["batch", "show", ids[0]]):
            (row,) = self.formats(*words, rows=1)
            self.assert_keys(row, *BATCH_KEYS)
            self.assertRegex(row.pop("created_at"), ISO)
            self.assertEqual(row, {"batch": ids[0], "sealed": True, "total": 3, "open": 0,
                                   "done": 3, "dead": 0, "cancelled": 0, "expired": 0})

    def test_a_job_alone_is_a_batch_of_one(self):
        job = self.enqueue(self.b, "echo")
        self.wait_for_states(self.b, done=1)
        (row,) = self.formats("batch", "show", job, rows=1)
        self.assertEqual((row["batch"], row["total"], row["done"]), (job, 1, 1))

    def test_worker_rows(self):
        (row,) = self.formats("worker", "ls", rows=1)
        for key in ("worker", "name", "host", "pid", "queues", "pools", "leases", "until",
                    "connected_at", "seen_at"):
            self.assertIn(key, row)
        self.assertEqual((row["name"], row["queues"]), ("one", ["default"]))

    def test_status_rows(self):
        (row,) = self.formats("status", rows=1)
        self.assertEqual(len(row["workers"]), 1)
        table = self.good(self.b, "status").out
        self.assertIn("one", table)

    def test_nothing_to_list_is_an_empty_array(self):
        self.formats("job", "ls", rows=0)
        self.formats("batch", "ls", rows=0)
        self.assertEqual(self.good(self.b, "job", "ls", "--output", "json").json(), [])

    def test_what_does_not_exist_is_exit_1_and_says_so(self):
        for words, text in ((["job", "show", "77"], "77"), (["batch", "show", "77"], "77"),
                            (["results", "77"], "77"), (["queue", "show", "nope"], "nope"),
                            (["job", "cancel", "77"], "77"), (["job", "redrive", "77"], "77")):
            with self.subTest(words=words):
                done = self.producer(self.b, *words)
                self.assertEqual((done.code, done.out), (1, ""), done)
                self.assertIn(text, done.err)

    def test_job_ls_limits_and_filters(self):
        for queue in ("a", "b"):
            self.enqueue_many(self.b, "echo", [1, 2, 3], "--queue", queue)
        rows = self.formats("job", "ls", "--limit", "2", rows=2)
        self.assertEqual([row["job"] for row in rows], [6, 5])
        rows = self.formats("job", "ls", "--queue", "a", rows=3)
        self.assertEqual({row["queue"] for row in rows}, {"a"})
        self.formats("job", "ls", "--batch", "4", rows=3)
        self.formats("job", "ls", "--kind", "sleep", rows=0)
        self.formats("job", "ls", "--state", "ready,done", rows=6)
        self.formats("job", "ls", "--since", "2031-01-01", rows=0)
        self.formats("batch", "ls", "--limit", "1", rows=1)

    def test_more_than_a_page_of_jobs(self):
        self.good(self.b, "queue", "pause", "many")
        self.good(self.b, "enqueue", "echo", "-", "--queue", "many",
                  stdin="".join(f"{n}\n" for n in range(2500)))
        done = self.good(self.b, "job", "ls", "--limit", "2400", "--output", "jsonl")
        self.assertEqual([row["job"] for row in done.rows()], list(range(2500, 100, -1)))


class Streams(millrace_testing.Case):
    """Data on stdout, messages on stderr."""

    def test_messages_can_be_turned_off(self):
        broker = self.broker()
        self.worker(broker)
        loud = self.good(broker, "primes", "1", "100")
        quiet = self.good(broker, "primes", "1", "100", "--log-level", "error")
        self.assertEqual((loud.out, quiet.out, quiet.err), ("25\n", "25\n", ""))
        self.assertNotEqual(loud.err, "")

    def test_every_table_ends_with_a_line_that_sums_up_on_stderr(self):
        broker = self.broker()
        self.worker(broker)
        for words in (["primes", "1", "100"], ["enqueue", "echo", "--wait"],
                      ["replay", "--state", "done"]):
            with self.subTest(words=words):
                done = self.good(broker, *words)
                self.assertRegex(done.err.splitlines()[-1], r"\bjobs?\b")

    def test_no_bar_and_no_escape_codes_where_stderr_is_no_terminal(self):
        broker = self.broker()
        self.worker(broker)
        done = self.good(broker, "enqueue", "sleep", '{"ms": 500}', "--wait")
        self.assertNotIn("\x1b", done.err + done.out)
        self.assertNotIn("\r", done.err + done.out)

    def on_terminal(self, broker, *words, stdin="", **environment):
        """Runs a command whose stderr is a terminal: exit code, what that got, and stdout."""
        master, slave = pty.openpty()
        process = self.start_producer(broker, *words, stdin=-1, stderr=slave,
                                      environment={"TERM": "xterm", **environment})
        os.close(slave)
        millrace_testing.feed(process, stdin)
        seen = b""
        try:
            while got := os.read(master, 65536):
                seen += got
        except OSError:
            pass  # the last one that had it open is gone
        os.close(master)
        return process.wait(), seen.decode(), process.out

    def test_a_terminal_gets_a_bar_which_is_gone_at_the_end(self):
        broker = self.broker()
        self.worker(broker)
        code, seen, out = self.on_terminal(broker, "enqueue", "fail", '{"times": 1}', "--wait")
        self.assertEqual(code, 0)
        self.assertIn("0/1", seen)
        self.assertIn("\r", seen)
        self.assertNotIn("0/1", seen[seen.rindex("\r\x1b[K"):])
        self.assertNotIn("\x1b", out)

    def test_no_color_and_dumb_terminals_are_respected(self):
        broker = self.broker()
        self.worker(broker)
        words = ["enqueue", "fail", "-", "--max-attempts", "2", "--wait"]
        lines = '{"times": 99}\n{"times": 1}\n'
        for environment, allowed in (({}, True), ({"NO_COLOR": "1"}, False)):
            code, seen, _ = self.on_terminal(broker, *words, stdin=lines, **environment)
            self.assertEqual(code, 1)
            self.assertIn("\x1b[K", seen)
            self.assertTrue(allowed or "\x1b[3" not in seen, seen)
        _, seen, _ = self.on_terminal(broker, *words, stdin=lines, TERM="dumb")
        self.assertNotIn("\x1b", seen)

    def test_stdout_that_is_closed_is_an_error_that_ends_the_command(self):
        broker = self.broker()
        self.worker(broker)
        with open("/dev/full", "wb") as full:
            process = self.start_producer(
                broker, "primes", "1", "100000", "--list", stdout=full)
        self.assertEqual(process.wait(), 74)
        self.assertIn("stdout", process.err)

    def test_rows_arrive_while_others_still_run(self):
        broker = self.broker()
        self.worker(broker)
        process = self.start_producer(broker, "enqueue", "sleep", "-", "--wait", "--output",
                                      "jsonl", stdin=-1)
        millrace_testing.feed(process, '{"ms": 1}\n{"ms": 3000}\n')
        process.wait_for_line(r'"job":1,', out=True)
        self.assertTrue(process.is_running())
        self.assertEqual(broker.states().get("done"), 1)
        self.assertEqual(process.wait(), 0)

    def test_lines_are_enqueued_as_they_arrive(self):
        broker = self.broker()
        process = self.start_producer(broker, "enqueue", "echo", "-", stdin=-1)
        process.popen.stdin.write(b"1\n")
        process.popen.stdin.flush()
        wait_for(lambda: broker.states() == {"ready": 1}, 5)
        process.popen.stdin.write(b"2\n")
        process.popen.stdin.close()
        self.assertEqual(process.wait(), 0)
        self.assertEqual(broker.states(), {"ready": 2})


class BadLines(millrace_testing.Case):
    def test_a_line_that_is_no_json_is_reported_with_its_number_and_left_out(self):
        broker = self.broker()
        self.worker(broker)
        done = self.producer(broker, "enqueue", "echo", "-", "--output", "jsonl",
                             stdin='1\n{bad\n\n"x"\n')
        self.assertEqual(done.code, 65, done)
        self.assertEqual(sum(len(row["ids"]) for row in done.rows()), 2)
        self.assertRegex(done.err, r"(?m)^.*:2: ")
        self.assertNotRegex(done.err, r"(?m)^.*:[134]: ")

    def test_the_last_line_needs_no_newline(self):
        broker = self.broker()
        self.good(broker, "enqueue", "echo", "-", stdin="1\n2")
        self.assertEqual(broker.states(), {"ready": 2})

    def test_a_payload_over_the_limit_is_reported_and_left_out(self):
        broker = self.broker()
        big = '"' + "x" * (256 * 1024) + '"'
        done = self.producer(broker, "enqueue", "echo", big[:100000] + '"')
        self.assertEqual(done.code, 0, done)
        done = self.producer(broker, "enqueue", "echo", "-", stdin=f"{big}\n1\n")
        self.assertEqual(done.code, 65, done)
        self.assertIn(str(256 * 1024), done.err)
        self.assertEqual(broker.states(), {"ready": 2})

    def test_a_bad_payload_is_rejected_by_the_handler_at_once(self):
        broker = self.broker()
        self.worker(broker)
        for kind, payload in (("sleep", {"ms": "long"}), ("sleep", None), ("sum", {"n": -1}),
                              ("primes", {"from": 5, "to": 1}), ("url.check", {"url": 5}),
                              ("fail", {"times": "x"})):
            with self.subTest(kind=kind):
                job = self.enqueue(broker, kind, payload)
                row = self.wait_for_state(broker, job, "done", "dead")
                self.assertEqual((row["state"], row["attempts"]), ("dead", 1))
                self.assertIn("bad_payload", row["error"])
                outcome = broker.value("SELECT outcome FROM attempts WHERE job = ?", job)
                self.assertEqual(outcome, "reject")


if __name__ == "__main__":
    millrace_testing.main()
