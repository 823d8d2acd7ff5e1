#!/usr/bin/env python3
"""Backups of a broker at work, restores, and what a worker from before a restore can still do."""

import pathlib
import shutil
import sqlite3
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import wait_for  # noqa: E402

JOBS = 5000


class FileCase(millrace_testing.Case):
    def on_file(self, *words, db=None, code=0):
        """A command of the broker on a file, and how it must end."""
        done = self.run_broker(*words, *(("--db", db) if db else ()), seconds=60)
        self.assertEqual(done.code, code, done)
        if code == 0:
            self.assertEqual(done.err, "", done)
        elif words[0] != "db":
            self.assertEqual(done.out, "", done)
        return done

    def states(self, path):
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return dict(connection.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
        finally:
            connection.close()

    def end(self, broker):
        """Stopped, and its database is gone: the disaster."""
        broker.kill()
        for path in self.folder.glob(broker.db.name + "*"):
            path.unlink()


class Backup(FileCase):
    def test_under_load_it_is_whole_and_what_was_open_runs_again_after_a_restore(self):
        broker = self.broker()
        self.worker(broker, "--io-threads", "8")
        ids = self.enqueue_many(broker, "sleep", [{"ms": 3}] * JOBS)
        wait_for(lambda: broker.states().get("done", 0) > 100)
        copy = self.folder / "copy.db"
        done = self.on_file("backup", copy, db=broker.db)

        states = self.states(copy)
        self.assertGreater(states["done"], 100)
        self.assertGreater(states["leased"], 0)
        self.assertGreater(states["ready"], 0)
        self.assertIn(f"{JOBS} jobs", done.out)
        self.assertIn(f"{states['ready']} ready", done.out)
        audit.check(copy, ids)
        # The broker was not held up, and what it did since is no part of the copy.
        self.wait_for_states(broker, done=JOBS)
        audit.check(broker.db, ids, ended=True, final=("done",))
        self.assertEqual(self.states(copy), states)

        self.end(broker)
        done = self.on_file("restore", copy, db=broker.db)
        self.assertIn(f"{states['leased']} jobs were running", done.out)
        audit.check(broker.db, ids)
        again = self.broker_again(broker)
        self.wait_for_states(again, done=JOBS)
        audit.check(again.db, ids, ended=True, final=("done",))
        later = self.enqueue(again, "echo", 1)
        self.assertGreater(later, max(ids) + 1_000_000_000)
        (row,) = self.good(again, "status", "--output", "jsonl").rows()
        self.assertGreater(row["epoch"], 65_536)

    def test_several_one_after_the_other_while_jobs_come_and_go(self):
        broker = self.broker()
        self.worker(broker, "--io-threads", "4")
        acknowledged = []
        for number in range(4):
            acknowledged += self.enqueue_many(broker, "echo", range(500))
            copy = self.folder / f"copy{number}.db"
            self.on_file("backup", copy, db=broker.db)
            audit.check(copy, acknowledged)
            self.assertEqual(self.on_file("db", "check", db=copy).out, "ok\n")
        self.assertEqual(self.on_file("db", "check", db=broker.db).out, "ok\n")

    def test_a_broker_that_is_stopped_gives_up_the_backup_it_makes(self):
        broker = self.broker()
        self.enqueue_many(broker, "echo", range(100_000))
        copy = self.folder / "copy.db"
        asking = self.start_producer(broker, "backup", copy)
        wait_for(lambda: list(self.folder.glob("copy.db*")))
        broker.signal(signal.SIGTERM)

        self.assertEqual(broker.wait(), 0)
        self.assertEqual(list(self.folder.glob("copy.db*")), [])

    def test_what_cannot_be_backed_up(self):
        broker = self.broker()
        self.enqueue(broker, "echo", 1)
        copy = self.file("copy.db", "mine")
        self.assertIn("exists", self.on_file("backup", copy, db=broker.db, code=64).err)
        self.assertEqual(copy.read_text(encoding="ascii"), "mine")
        self.on_file("backup", db=broker.db, code=64)
        self.on_file("backup", self.folder / "a.db", db=self.folder / "none.db", code=66)
        self.on_file("backup", self.folder / "a.db", db=copy, code=78)
        self.on_file("backup", self.folder / "no" / "a.db", db=broker.db, code=74)
        self.assertEqual(list(self.folder.glob("*a.db*")), [])


class Restore(FileCase):
    def test_a_lease_from_before_settles_nothing(self):
        broker = self.broker()
        client = mrp_client.Producer(broker.endpoint)
        self.addCleanup(client.vanish)
        worker = mrp_client.Worker(broker.endpoint, kinds={"echo": "io"}, pools={"io": 4},
                                   until="forever")
        self.addCleanup(worker.vanish)
        first = client.enqueue([{"kind": "echo", "payload": "1"}] * 2, seal=True)["first"]
        held, outbox = worker.take(2)
        worker.begin([held, outbox])
        copy = self.folder / "copy.db"
        self.on_file("backup", copy, db=broker.db)
        # After the backup: a new epoch, and in it a job that the restore undoes.
        broker.kill()
        broker = self.broker_again(broker)
        undone = client.enqueue([{"kind": "echo", "payload": "2"}], seal=True)["first"]
        wait_for(lambda: worker.pump(0.01) or len(worker.leases) == 3)
        (late,) = (item for item in worker.leases.values() if item["job"] == undone)
        worker.begin([late])
        before = max(worker.leases)

        self.end(broker)
        # Settled while nobody listens, so it is sent as soon as somebody does.
        worker.open = False
        answers = [worker.settle(mrp_client.ACK, [{"lease": item["lease"], "job": item["job"],
                                                   "result": "old"}]) for item in (outbox, late)]
        self.on_file("restore", copy, db=broker.db)
        lives = len(worker.resumed)
        again = self.broker_again(broker)
        for answer in answers:
            worker.answer(answer)
        self.assertEqual(worker.statuses[outbox["lease"]], "stale")
        self.assertEqual(worker.statuses[late["lease"]], "stale")
        worker.wait(lambda: len(worker.resumed) > lives, what="RESUMED")
        self.assertIn(held["lease"], worker.resumed[-1]["drop"])
        self.assertEqual(worker.ack(held, result="old"), "stale")

        # Both jobs of the backup come again, under leases above all old ones, uncharged.
        fresh = worker.take(2)
        self.assertEqual(worker.ack(late, result="old"), "stale")
        for item in fresh:
            self.assertGreater(item["lease"], before)
            self.assertEqual(item.get("attempt", 1), 1)
            worker.begin([item])
            self.assertEqual(worker.ack(item, result="new"), "ok")
        self.assertEqual(again.query("SELECT id, state, result FROM jobs"),
                         [(first, "done", "new"), (first + 1, "done", "new")])
        audit.check(again.db, [first, first + 1], ended=True, final=("done",))

    def test_what_cannot_be_restored(self):
        broker = self.broker()
        self.enqueue_many(broker, "echo", range(500))
        copy = self.folder / "copy.db"
        self.on_file("backup", copy, db=broker.db)
        new = self.folder / "new.db"

        self.assertIn("exists", self.on_file("restore", copy, db=broker.db, code=64).err)
        self.on_file("restore", self.folder / "none.db", db=new, code=66)
        self.on_file("restore", self.file("notes.db", "these are notes\n" * 100), db=new, code=78)
        newer = self.folder / "newer.db"
        shutil.copy(copy, newer)
        connection = sqlite3.connect(newer)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        self.assertIn("newer", self.on_file("restore", newer, db=new, code=78).err)
        data = bytearray(copy.read_bytes())
        data[len(data) // 2] ^= 1
        self.on_file("restore", self.file("flipped.db", bytes(data)), db=new, code=74)
        self.on_file("restore", self.file("cut.db", bytes(data[:20_000])), db=new, code=74)
        wal = self.file("new.db-wal", "a log without its database")
        self.assertIn("new.db-wal", self.on_file("restore", copy, db=new, code=64).err)
        wal.unlink()
        self.assertFalse(new.exists())
        self.good(broker, "status")

    def test_beside_a_broker_whose_file_is_gone_it_is_refused(self):
        broker = self.broker()
        copy = self.folder / "copy.db"
        self.on_file("backup", copy, db=broker.db)
        broker.stop()
        for suffix in ("", "-wal", "-shm"):
            pathlib.Path(f"{broker.db}{suffix}").unlink()
        self.assertIn(str(broker.pid), self.on_file("restore", copy, db=broker.db, code=75).err)
        broker.kill()
        self.on_file("restore", copy, db=broker.db)


class Check(FileCase):
    def test_beside_a_broker_and_after_it(self):
        broker = self.broker()
        self.enqueue_many(broker, "echo", range(100))
        self.assertEqual(self.on_file("db", "check", db=broker.db).out, "ok\n")
        broker.kill()
        self.assertEqual(self.on_file("db", "check", db=broker.db).out, "ok\n")

    def test_each_problem_is_a_line(self):
        broker = self.broker()
        self.enqueue_many(broker, "echo", range(100))
        broker.signal(signal.SIGTERM)
        broker.wait()
        connection = sqlite3.connect(broker.db)
        connection.execute("UPDATE lane SET ready = 99")
        connection.execute("UPDATE job SET payload = 'x' WHERE id = 7")
        connection.commit()
        connection.close()
        lines = self.on_file("db", "check", db=broker.db, code=74).out.splitlines()
        self.assertEqual(len(lines), 2, lines)
        self.assertRegex(lines[0], "^checksum: .*job 7 ")
        self.assertRegex(lines[1], "^lane: .*counts 99 ready jobs, there are 100$")

    def test_what_cannot_be_checked(self):
        self.on_file("db", "check", db=self.folder / "none.db", code=66)
        self.on_file("db", "check", db=self.file("notes.db", "notes\n" * 100), code=78)
        self.on_file("db", code=64)
        self.on_file("db", "mend", code=64)


if __name__ == "__main__":
    millrace_testing.main()
