#!/usr/bin/env python3
"""A broker's life: start and stop, its file and who opens it, full disks, retention, questions."""

import os
import pathlib
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
import raw_peer  # noqa: E402
from millrace_testing import BIN, wait_for  # noqa: E402

ANY_PORT = ("--listen", "tcp://127.0.0.1:*")


class Serving(millrace_testing.Case):
    def test_signals_stop_it_with_0(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            broker = self.broker()
            self.enqueue(broker, "echo", 1)
            broker.signal(number)
            self.assertEqual(broker.wait(10), 0)
            self.assertEqual(broker.out, "")

    def test_it_stops_while_workers_and_producers_are_connected(self):
        broker = self.broker()
        self.worker(broker)
        self.start_producer(broker, "enqueue", "sleep", '{"ms": 60000}', "--wait")
        wait_for(lambda: broker.states() == {"leased": 1})
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(10), 0)

    def test_it_allocates_with_mimalloc(self):
        done = self.run_broker("--version", environment={"LD_DEBUG": "bindings"})
        for name in ("malloc", "_Znwm"):
            self.assertRegex(done.err, rf"to \S*libmimalloc\S* \[0\]: normal symbol `{name}'")
            self.assertNotRegex(done.err, rf"to \S*(libc|libstdc\+\+)\.so\S* \[0\]: normal symbol `{name}'")

    def test_a_closed_terminal_does_not_end_it(self):
        broker = self.broker()
        broker.signal(signal.SIGHUP)
        self.good(broker, "status")
        self.assertTrue(broker.is_running())

    def test_everything_is_there_after_a_restart(self):
        broker = self.broker()
        ids = self.enqueue_many(broker, "echo", range(100))
        self.good(broker, "job", "cancel", ids[0])
        broker.signal(signal.SIGTERM)
        broker.wait()
        again = self.broker_again(broker)
        self.assertEqual(again.states(), {"ready": 99, "cancelled": 1})
        (row,) = self.good(again, "status", "--output", "jsonl").rows()
        self.assertEqual(row["epoch"], 2)
        self.assertEqual(self.enqueue(again, "echo", 1), 101)

    def test_an_endpoint_in_use_is_refused_with_a_hint(self):
        broker = self.broker()
        done = self.run_broker("--listen", broker.endpoint, "--db", self.folder / "other.db")
        self.assertEqual((done.code, done.out), (75, ""), done)
        self.assertIn(broker.endpoint, done.err)
        self.good(broker, "status")

    def test_a_message_that_is_none_is_refused_and_harms_nobody(self):
        broker = self.broker()
        peer = raw_peer.RawPeer(broker.endpoint)
        self.addCleanup(peer.close)
        for parts in ((b"\xc1",), (b"",), (b"hello",), (b"\xdd\xff\xff\xff\xff",), (b"a", b"b"),
                      (b"\x94\x02\x01\x01\x80",), (b"\x94\x01\xcd\x03\xe7\x01\x80",),
                      (b"\x91" * 100_000,)):
            with self.subTest(parts=parts[0][:10]):
                peer.send_bytes(*parts)
                message = peer.receive()
                self.assertIsNotNone(message)
                self.assertEqual(message[0], raw_peer.ERROR)
        self.good(broker, "status")

    def test_the_same_request_twice_is_enqueued_once(self):
        broker = self.broker()
        peer = raw_peer.RawPeer(broker.endpoint)
        self.addCleanup(peer.close)
        request = peer.request_id()
        self.assertEqual(peer.enqueue("echo", ["1", "2"], request), 1)
        self.assertEqual(peer.enqueue("echo", ["1", "2"], request), 1)
        with self.assertRaises(raw_peer.Refused) as refused:
            peer.enqueue("echo", ["1", "3"], request)
        self.assertEqual(refused.exception.code, "conflict")
        self.assertEqual(broker.states(), {"ready": 2})
        # Also after a restart, when only the file remembers.
        broker.signal(signal.SIGTERM)
        broker.wait()
        again = self.broker_again(broker)
        late = raw_peer.RawPeer(again.endpoint)
        self.addCleanup(late.close)
        self.assertEqual(late.enqueue("echo", ["1", "2"], request), 1)
        self.assertEqual(again.states(), {"ready": 2})


class File(millrace_testing.Case):
    def refused(self, path, code):
        done = self.run_broker(*ANY_PORT, "--db", path)
        self.assertEqual((done.code, done.out), (code, ""), done)
        self.assertIn(str(path), done.err)
        self.assertNotIn("ready", done.err)
        return done.err

    def test_a_second_broker_leaves_with_75_and_the_first_goes_on(self):
        broker = self.broker()
        text = self.refused(broker.db, 75)
        self.assertIn(str(broker.pid), text)
        self.good(broker, "status")
        # Also by another name, which is either followed or not taken at all.
        link = self.folder / "link.db"
        link.symlink_to(broker.db)
        self.assertIn(self.run_broker(*ANY_PORT, "--db", link).code, (74, 75))
        self.good(broker, "enqueue", "echo")

    def test_a_lock_of_a_dead_broker_is_no_lock(self):
        broker = self.broker()
        broker.kill()
        self.broker_again(broker)

    def test_a_file_that_is_not_ours_is_left_as_it_is(self):
        text = self.file("notes.txt", "these are notes\n" * 100)
        self.refused(text, 78)
        self.assertEqual(text.read_text(encoding="ascii"), "these are notes\n" * 100)
        other = self.folder / "other.db"
        with sqlite3.connect(other) as connection:
            connection.execute("CREATE TABLE mine (x)")
        connection.close()
        before = other.read_bytes()
        self.refused(other, 78)
        self.assertEqual(other.read_bytes(), before)

    def test_a_file_of_a_newer_version_is_left_as_it_is(self):
        broker = self.broker()
        self.enqueue(broker, "echo", 1)
        broker.signal(signal.SIGTERM)
        broker.wait()
        connection = sqlite3.connect(broker.db)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.close()
        before = broker.db.read_bytes()
        text = self.refused(broker.db, 78)
        self.assertIn("newer", text)
        self.assertEqual(broker.db.read_bytes(), before)

    def test_a_damaged_file_is_refused(self):
        broker = self.broker()
        self.enqueue_many(broker, "echo", range(2000))
        broker.signal(signal.SIGTERM)
        broker.wait()
        data = bytearray(broker.db.read_bytes())
        data[4096:40960] = os.urandom(36864)
        broker.db.write_bytes(data)
        done = self.run_broker(*ANY_PORT, "--db", broker.db)
        self.assertEqual(done.code, 74, done)

    def test_a_folder_that_is_missing_is_74(self):
        done = self.run_broker(*ANY_PORT, "--db", self.folder / "missing" / "millrace.db")
        self.assertEqual((done.code, done.out), (74, ""), done)
        self.assertIn(str(self.folder / "missing"), done.err)

    def test_a_path_that_is_a_folder_is_74(self):
        inner = self.folder / "inner"
        inner.mkdir()
        self.refused(inner, 74)

    def test_a_file_without_rights_is_74(self):
        if os.getuid() == 0:
            words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        else:
            words = []
        locked = self.folder / "locked"
        locked.mkdir()
        self.folder.chmod(0o755)
        locked.chmod(0o555)
        self.addCleanup(locked.chmod, 0o755)
        process = self.start([*words, self.runnable("millrace-broker"), *ANY_PORT, "--db",
                              locked / "millrace.db"], cwd="/")
        self.assertEqual(process.wait(), 74)
        self.assertIn("locked", process.err)

    def runnable(self, name):
        """A copy that other users can reach too."""
        copy = self.folder / name
        shutil.copy(BIN / name, copy)
        copy.chmod(copy.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
        return copy

    def test_a_disk_that_is_full_at_the_start_is_74(self):
        if os.getuid() != 0 or not shutil.which("unshare"):
            self.skipTest("only root can mount")
        mount = self.folder / "tiny"
        mount.mkdir()
        script = ('mount -t tmpfs -o size=64k tmpfs "$1" || exit 77\n'
                  'head -c 60k /dev/zero > "$1/filler"\n'
                  'exec "$2" --listen "tcp://127.0.0.1:*" --db "$1/millrace.db"\n')
        process = self.start(["unshare", "--mount", "sh", "-c", script, "sh", mount,
                              BIN / "millrace-broker"])
        code = process.wait()
        if code == 77:
            self.skipTest("no right to mount here")
        self.assertEqual(code, 74)

    def test_a_disk_that_fills_up_ends_with_74_or_refuses_and_loses_nothing(self):
        if os.getuid() != 0 or not shutil.which("unshare"):
            self.skipTest("only root can mount")
        mount = self.folder / "small"
        mount.mkdir()
        # The copy outlives the mount, which is gone with the last process that sees it.
        script = ('mount -t tmpfs -o size=64m tmpfs "$1" || exit 77\n'
                  '"$2" --listen "tcp://127.0.0.1:*" --db "$1/millrace.db" --min-free 0\n'
                  'code=$?\n'
                  'cp "$1"/millrace.db* "$3"\n'
                  'exit $code\n')
        saved = self.folder / "saved"
        saved.mkdir()
        process = self.start(["unshare", "--mount", "sh", "-c", script, "sh", mount,
                              BIN / "millrace-broker", saved])
        try:
            endpoint = process.wait_for_line(r"^ready (\S+)$").group(1)
        except AssertionError:
            if process.wait() == 77:
                self.skipTest("no right to mount here")
            raise
        line = '"' + "x" * 100_000 + '"\n'
        done = self.producer(endpoint, "enqueue", "echo", "-", "--output", "jsonl", "--reconnect",
                             "2s", stdin=line * 1500, seconds=60)
        self.assertIn(done.code, (69, 74), done)
        ids = [job for row in done.rows() for job in row["ids"]]
        self.assertGreater(len(ids), 50)
        self.assertEqual(process.wait(), 74)
        self.assertIn("full", process.err)
        millrace_testing.audit.check(saved / "millrace.db", acknowledged=ids)

    def test_below_min_free_new_jobs_are_refused_with_74_and_running_ones_end(self):
        broker = self.broker("--min-free", "4000TB")
        broker.wait_for_line("new jobs are refused")
        done = self.producer(broker, "enqueue", "echo", "--reconnect", "500ms")
        self.assertEqual((done.code, done.out), (74, ""), done)
        self.assertRegex(done.err, "space|storage")
        (row,) = self.good(broker, "status", "--output", "jsonl").rows()
        self.assertTrue(row["storage_full"])
        self.assertIn("storage is full", self.good(broker, "status").out)
        broker.signal(signal.SIGTERM)
        broker.wait()


class Questions(millrace_testing.Case):
    def test_the_file_answers_while_the_broker_runs(self):
        broker = self.broker()
        self.worker(broker, "--name", "w")
        self.enqueue_many(broker, "sleep", [{"ms": 30}] * 4)
        self.enqueue(broker, "fail", {"message": "it broke"}, "--max-attempts", "1")
        self.wait_for_states(broker, done=4, dead=1)

        def ask(sql):
            done = subprocess.run(["sqlite3", "-readonly", str(broker.db), sql], check=True,
                                  capture_output=True, text=True, timeout=20)
            return done.stdout.splitlines()

        self.assertEqual(ask("SELECT state, count(*) FROM jobs GROUP BY 1"), ["dead|1", "done|4"])
        self.assertEqual(ask("SELECT id, error FROM jobs WHERE error IS NOT NULL"), ["5|it broke"])
        self.assertEqual(ask("SELECT outcome, count(*) FROM attempts GROUP BY 1"),
                         ["ack|4", "nack|1"])
        self.assertEqual(ask("SELECT payload, result LIKE '{\"slept_ms\":%' FROM jobs WHERE id=1"),
                         ['{"ms": 30}|1'])
        durations = ask("SELECT round((julianday(finished_at) - julianday(started_at)) * 86400000)"
                        " FROM attempts WHERE outcome = 'ack'")
        self.assertTrue(all(25 <= float(d) < 5000 for d in durations), durations)
        self.assertEqual(ask("SELECT DISTINCT worker FROM attempts"), ["w"])
        columns = ("id queue kind state priority payload result error deliveries attempts crashes "
                   "batch replay_of worker enqueued_at run_at started_at finished_at")
        self.assertEqual(ask("SELECT group_concat(name, ' ') FROM pragma_table_info('jobs')"),
                         [columns])
        self.assertEqual(ask("SELECT group_concat(name, ' ') FROM pragma_table_info('attempts')"),
                         ["job attempt worker started_at finished_at outcome error"])
        self.assertRegex(ask("SELECT enqueued_at FROM jobs WHERE id = 1")[0],
                         r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")

    def test_a_long_question_does_not_stop_the_broker(self):
        broker = self.broker()
        self.worker(broker)
        connection = sqlite3.connect(f"{broker.db.as_uri()}?mode=ro", uri=True)
        self.addCleanup(connection.close)
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM jobs").fetchone()
        self.good(broker, "enqueue", "echo", "-", "--wait", stdin="1\n" * 2000)
        self.assertEqual(connection.execute("SELECT count(*) FROM jobs").fetchone(), (0,))


class Retention(millrace_testing.Case):
    def test_ended_jobs_are_deleted_after_their_time_and_open_ones_stay(self):
        broker = self.broker("--retention", "1s")
        self.worker(broker)
        self.good(broker, "enqueue", "echo", "-", "--wait", stdin="1\n" * 1200)
        dead = self.enqueue(broker, "fail", {}, "--max-attempts", "1")
        late = self.enqueue(broker, "echo", 1, "--delay", "1h")
        self.wait_for_state(broker, dead, "dead")
        old = "SELECT max(finished_at) < unixepoch() * 1000 - 1000 FROM status"
        wait_for(lambda: broker.value(old))
        # It looks at its start, and then from time to time.
        broker.signal(signal.SIGTERM)
        broker.wait()
        again = self.broker_again(broker)
        wait_for(lambda: again.states() == {"scheduled": 1})
        self.assertEqual(again.value("SELECT count(*) FROM attempt"), 0)
        self.assertEqual(again.job(late)["state"], "scheduled")
        (row,) = self.good(again, "queue", "ls", "--output", "jsonl").rows()
        self.assertEqual((row["done"], row["dead"], row["scheduled"]), (0, 0, 1))
        # An id is never used again, though its job is gone.
        self.assertEqual(self.enqueue(again, "echo", 2), late + 1)

    def test_without_retention_everything_stays(self):
        broker = self.broker("--retention", "0")
        self.worker(broker)
        self.good(broker, "enqueue", "echo", "--wait")
        self.assertEqual(broker.states(), {"done": 1})


if __name__ == "__main__":
    millrace_testing.main()
