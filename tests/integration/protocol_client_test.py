#!/usr/bin/env python3
"""docs/protocol.md is enough: a client written from that page alone, and its example frames."""

import json
import pathlib
import re
import sys

import msgpack

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import audit  # noqa: E402
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from mrp_client import Refused  # noqa: E402

PAGE = millrace_testing.REPOSITORY / "docs/protocol.md"
ECHO = {"kinds": {"echo": "io"}, "pools": {"io": 2}}


class Page(millrace_testing.Case):
    def frames(self):
        text = PAGE.read_text(encoding="utf-8")
        pattern = r"(?ms)^\*\*([^\n]+)\*\*, (\d+) bytes\n\n```text\n# ([^\n]*)\n([0-9a-f \n]+)```"
        return re.findall(pattern, text)

    def value(self, comment):
        def bins(value):
            if isinstance(value, str) and value.startswith("\0"):
                return bytes.fromhex(value[1:])
            if isinstance(value, list):
                return [bins(one) for one in value]
            if isinstance(value, dict):
                return {key: bins(one) for key, one in value.items()}
            return value
        return bins(json.loads(re.sub(r"h'([0-9a-f]*)'", r'"\\u0000\1"', comment)))

    def test_every_example_frame_is_what_its_comment_says(self):
        frames = self.frames()
        section = PAGE.read_text(encoding="utf-8").split("## 14.")[-1].split("## 15.")[0]
        self.assertEqual(len(frames), section.count("```text"))
        self.assertGreaterEqual(len(frames), 18)
        for title, size, comment, dump in frames:
            with self.subTest(title):
                data = bytes.fromhex(dump)
                self.assertEqual(len(data), int(size))
                self.assertEqual(msgpack.unpackb(data, raw=False), self.value(comment))
                self.assertEqual(msgpack.packb(self.value(comment), use_bin_type=True), data)

    def test_the_table_of_lease_hashes(self):
        one, two = (mrp_client.lease_hash((3 << 40) | n) for n in (1, 2))
        text = PAGE.read_text(encoding="utf-8")
        for value in (mrp_client.lease_hash(1), one, two, one ^ two):
            self.assertIn(f"| `0x{value:016x}` |", text)

    def test_every_number_of_a_message_is_known_here(self):
        rows = re.findall(r"(?m)^\| (\d+) \| \[?([A-Z_]+)", PAGE.read_text(encoding="utf-8"))
        self.assertEqual(len(rows), 48)
        for number, name in rows:
            self.assertEqual(getattr(mrp_client, name), int(number), name)


class ProtocolCase(millrace_testing.Case):
    def peer(self, made):
        self.addCleanup(lambda: made._context.closed or made.vanish())
        return made

    def producer_peer(self, broker, **keywords):
        return self.peer(mrp_client.Producer(broker.endpoint, **keywords))

    def worker_peer(self, broker, **keywords):
        return self.peer(mrp_client.Worker(broker.endpoint, **{**ECHO, **keywords}))

    def restart(self, broker):
        broker.kill()
        return self.broker_again(broker)


class Producing(ProtocolCase):
    def test_welcome_tells_the_limits(self):
        client = self.producer_peer(self.broker())
        self.assertEqual(
            {key: client.welcome.get(key) for key in
             ("version", "known", "payload_bytes_max", "result_bytes_max", "enqueue_jobs_max",
              "enqueue_bytes_max", "leases_max")},
            {"version": None, "known": None, "payload_bytes_max": 262144,
             "result_bytes_max": 262144, "enqueue_jobs_max": 1000, "enqueue_bytes_max": 1048576,
             "leases_max": 1000})
        self.assertGreater(client.welcome["epoch"], 0)
        client.reconnect()
        client.wait(lambda: client.open)
        self.assertTrue(client.welcome["known"])

    def test_a_resend_gives_the_same_ids_also_after_a_restart(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        request = client.request_id()
        jobs = [{"kind": "echo", "payload": str(n)} for n in range(3)]
        first = client.enqueue(jobs, request, seal=True)
        self.assertEqual((first["batch"], first["count"]), (first["first"], 3))
        self.assertEqual(client.enqueue(jobs, request, seal=True), first)
        broker = self.restart(broker)
        self.assertEqual(client.enqueue(jobs, request, seal=True), first)
        self.assertGreater(client.welcomes[-1]["epoch"], client.welcomes[0]["epoch"])
        with self.assertRaises(Refused) as refused:
            client.enqueue(jobs[:2], request, seal=True)
        self.assertEqual((refused.exception.code, refused.exception.retryable), ("conflict", False))
        # A default that is written out is the same body.
        written = [{**job, "priority": 100, "max_attempts": 3} for job in jobs]
        self.assertEqual(client.enqueue(written, request, seal=True, queue="default"), first)
        self.assertEqual(broker.value("SELECT count(*) FROM jobs"), 3)

    def test_a_request_without_an_answer_is_sent_again_after_a_restart(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        broker.kill()
        waiting = [client.request(mrp_client.ENQUEUE, {
            "request": client.request_id(), "jobs": [{"kind": "echo"}], "seal": True})
            for _ in range(5)]
        broker = self.broker_again(broker)
        ids = [client.answer(one)["first"] for one in waiting]
        self.assertEqual(ids, sorted(ids))
        audit.check(broker.db, ids)
        self.assertEqual(broker.value("SELECT count(*) FROM jobs"), 5)

    def test_a_batch_of_several_requests(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        batch = client.enqueue([{"kind": "echo"}])["batch"]
        more = [client.request(mrp_client.ENQUEUE, {
            "request": client.request_id(), "batch": batch, "jobs": [{"kind": "echo"}] * 10})
            for _ in range(4)]
        self.assertEqual({client.answer(one)["batch"] for one in more}, {batch})
        sealed = client.enqueue([], batch=batch, seal=True)
        self.assertEqual((sealed["batch"], sealed.get("first", 0), sealed.get("count", 0)),
                         (batch, 0, 0))
        with self.assertRaises(Refused) as refused:
            client.enqueue([{"kind": "echo"}], batch=batch)
        self.assertEqual(refused.exception.code, "bad_request")
        item = client.ask(mrp_client.SHOW, {"batch": batch})["batch"][0]
        self.assertEqual((item["total"], item["open"], item["sealed"]), (41, 41, True))

    def test_forms_of_a_payload_are_kept(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker, pools={"io": 4})
        payloads = [None, "", "text é", bytes(range(256))]
        batch = client.enqueue([{"kind": "echo", "payload": one} for one in payloads],
                               seal=True)["batch"]
        for item in worker.take(4):
            worker.begin([item])
            self.assertEqual(worker.ack(item, result=item.get("payload")), "ok")
        self.assertEqual([row.get("result") for row in client.results(batch)], payloads)

    def test_several_watches_and_cursors(self):
        broker = self.broker()
        self.worker(broker)
        client = self.producer_peer(broker)
        sizes = (1, 500, 6000)  # the last one needs acknowledging WATCHes
        batches = []
        for size in sizes:
            batch = client.enqueue([{"kind": "echo", "payload": "0"}])["batch"]
            for begin in range(1, size, 1000):
                client.enqueue([{"kind": "echo", "payload": str(n)}
                                for n in range(begin, min(begin + 1000, size))], batch=batch)
            client.enqueue([], batch=batch, seal=True)
            batches.append(batch)
        watches = [client.watch(batch) for batch in batches]
        client.wait(lambda: all(watch.ended for watch in watches), 30, "ends")
        for size, watch in zip(sizes, watches):
            self.assertEqual(sorted(int(row["result"]) for row in watch.rows), list(range(size)))
            cursors = [row["cursor"] for row in watch.rows]
            self.assertEqual(cursors, sorted(set(cursors)))
        rows = watches[1].rows
        half = rows[249]["cursor"]
        self.assertEqual(client.results(batches[1], half), rows[250:])
        with self.assertRaises(Refused) as refused:
            client.ask(mrp_client.WATCH, {"batch": 10**9})
        self.assertEqual(refused.exception.code, "not_found")

    def test_a_watch_goes_on_after_a_restart(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        worker = self.worker_peer(broker)
        batch = client.enqueue([{"kind": "echo", "payload": str(n)} for n in range(4)],
                               seal=True)["batch"]
        watch = client.watch(batch)
        for item in worker.take(2):
            worker.begin([item])
            worker.ack(item, result="1")
        client.wait(lambda: len(watch.rows) == 2)
        broker = self.restart(broker)
        client.wait(lambda: len(client.welcomes) == 2)
        worker.wait(lambda: len(worker.resumed) == 2)
        for item in worker.take(2):
            worker.begin([item])
            worker.ack(item, result="2")
        client.wait(lambda: watch.ended)
        self.assertEqual([row["result"] for row in watch.rows], ["1", "1", "2", "2"])

    def test_close_waits_for_the_drain_over_a_restart(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo"}], seal=True)
        (item,) = worker.take(1)
        worker.begin([item])
        info = client.close_queue("default")
        self.assertEqual((info["state"], info.get("leased")), ("closed", 1))
        with self.assertRaises(Refused) as refused:
            client.enqueue([{"kind": "echo"}], seal=True)
        self.assertEqual((refused.exception.code, refused.exception.retryable),
                         ("queue_closed", True))
        broker = self.restart(broker)
        client.wait(lambda: len(client.welcomes) == 2)
        self.assertEqual(client.drained, {})
        worker.wait(lambda: len(worker.resumed) == 2)
        self.assertEqual(worker.ack(item), "ok")
        client.wait(lambda: client.drained)
        self.assertEqual(client.drained, {"default": 1})
        worker.wait(lambda: worker.sent_home)
        self.assertEqual(worker.sent_home,
                         {"queues": [{"queue": "default", "generation": 1}]})
        # An old generation closes nothing, and says at once that it is over.
        client.enqueue([{"kind": "echo"}], seal=True)
        client.drained = {}
        self.assertEqual(client.close_queue("default", 1).get("state", "open"), "open")
        client.wait(lambda: client.drained)
        self.assertEqual(client.drained, {"default": 1})
        self.assertEqual(client.ask(mrp_client.CANCEL, {"jobs": [2, 77]})["statuses"],
                         ["ok", "not_found"])


class Working(ProtocolCase):
    def test_the_four_verbs(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        worker = self.worker_peer(broker, pools={"io": 4})
        first = client.enqueue([{"kind": "echo", "payload": str(n), "max_attempts": 2,
                                 "priority": n} for n in range(4)], seal=True)["first"]
        items = worker.take(4)
        self.assertEqual([item["job"] for item in items], list(range(first, first + 4)))
        self.assertEqual([item["number"] for item in items], [1, 2, 3, 4])
        self.assertEqual({(item.get("attempt", 1), item["max_attempts"], item["deliveries"],
                           item["queue"]) for item in items}, {(1, 2, 1, "default")})
        worker.begin(items)
        a, b, c, d = items
        self.assertEqual(worker.ack(a, result="r", elapsed_ms=5), "ok")
        self.assertEqual(worker.ack(a, result="r", elapsed_ms=5), "duplicate")
        self.assertEqual(worker.reject(b, error="refused: bad"), "ok")
        self.assertEqual(worker.nack(c, error="later: x", delay_ms=0), "ok")
        self.assertEqual(worker.release(d), "ok")
        self.assertEqual(worker.release(d), "stale")
        again = {item["job"]: item for item in worker.take(2)}
        self.assertEqual(set(again), {c["job"], d["job"]})
        self.assertEqual((again[c["job"]]["attempt"], again[c["job"]]["deliveries"]), (2, 2))
        self.assertEqual((again[d["job"]].get("attempt", 1), again[d["job"]]["deliveries"]), (1, 2))
        worker.begin(list(again.values()))
        self.assertEqual(worker.nack(again[c["job"]], error="later: y"), "ok")
        self.assertEqual(worker.ack(again[d["job"]]), "ok")
        rows = client.results(first)
        self.assertEqual([(row["job"] - first, row.get("state", "done"), row["attempts"],
                           row.get("error")) for row in rows],
                         [(0, "done", 1, None), (1, "dead", 1, "refused: bad"),
                          (2, "dead", 2, "later: y"), (3, "done", 1, None)])

    def test_credit_bounds_what_is_sent(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo"}] * 5, seal=True)
        one, two = worker.take(2)
        worker.pump(0.3)
        self.assertEqual(len(worker.leases), 2)
        worker.begin([one, two])
        worker.ack(two)
        worker.take(1)
        self.assertEqual(max(item["number"] for item in worker.leases.values()), 3)

    def test_resume_after_a_restart_keeps_what_runs_and_what_waits(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        worker = self.worker_peer(broker, pools={"io": 3})
        client.enqueue([{"kind": "echo", "payload": str(n)} for n in range(6)], seal=True)
        running, waiting, done = worker.take(3)
        worker.begin([running, done])
        broker.kill()
        unsettled = worker.settle(mrp_client.ACK, [{"lease": done["lease"], "job": done["job"],
                                                    "result": "kept"}])
        broker = self.broker_again(broker)
        worker.wait(lambda: len(worker.resumed) == 2, 20, "RESUMED")
        resumed = worker.resumed[1]
        # The outcome went before RESUME and may have been settled by then.
        kept = set(resumed.get("keep", []))
        self.assertLessEqual({running["lease"], waiting["lease"]}, kept)
        self.assertEqual(set(resumed.get("drop", [])), {one["lease"] for one in (done,)} - kept)
        self.assertEqual(resumed["delivered"]["io"], len(kept))
        worker.answer(unsettled)
        self.assertEqual(worker.statuses[done["lease"]], "ok")
        worker.begin([waiting])
        self.assertEqual([worker.ack(item) for item in (running, waiting)], ["ok", "ok"])
        for item in worker.take(3):
            worker.begin([item])
            self.assertEqual(worker.ack(item), "ok")
        self.assertEqual(broker.query("SELECT sum(deliveries), sum(crashes), max(attempts)"
                                      " FROM jobs"), [(6, 0, 1)])
        self.assertEqual(broker.job(done["job"])["result"], "kept")

    def test_a_new_connection_keeps_the_leases(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo"}] * 2, seal=True)
        items = worker.take(2)
        worker.begin(items[:1])
        forgotten = items[1]["lease"]
        worker._over(forgotten)  # as if its JOBS had been lost
        worker.reconnect()
        worker.wait(lambda: len(worker.resumed) == 2)
        self.assertTrue(worker.welcome["known"])
        self.assertEqual(worker.resumed[1].get("keep"), [items[0]["lease"]])
        (again,) = worker.take(1)
        self.assertNotEqual(again["lease"], forgotten)
        worker.begin([again])
        self.assertEqual([worker.ack(item) for item in (items[0], again)], ["ok", "ok"])
        self.assertEqual(broker.query("SELECT sum(crashes), max(attempts) FROM jobs"), [(0, 1)])

    def test_a_lost_jobs_message_is_noticed(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo"}], seal=True)
        (item,) = worker.take(1)
        worker._over(item["lease"])
        worker.wait(lambda: len(worker.resumed) == 2, 15, "RESUME_WANTED")
        (again,) = worker.take(1)
        self.assertEqual((again["job"], again["deliveries"]), (item["job"], 2))
        worker.begin([again])
        self.assertEqual(worker.ack(again), "ok")

    def test_a_worker_that_is_lost_has_lost_its_leases(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo"}] * 2, seal=True)
        started, waiting = worker.take(2)
        worker.begin([started])
        client.wait(lambda: broker.value("SELECT count(*) FROM jobs WHERE state = 'leased'") == 0,
                    15, "loss")
        self.assertEqual([broker.job(item["job"])["crashes"] for item in (started, waiting)],
                         [1, 0])
        worker.wait(lambda: len(worker.resumed) == 2)
        self.assertFalse(worker.welcome.get("known", False))
        self.assertEqual(set(worker.resumed[1]["drop"]), {started["lease"], waiting["lease"]})

    def test_pause_recalls_and_cancel_revokes(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo"}] * 2, seal=True)
        started, waiting = worker.take(2)
        worker.begin([started])
        worker.pump(0.1)
        self.assertTrue(client.ask(mrp_client.PAUSE, {"queue": "default"})["paused"])
        worker.wait(lambda: worker.statuses.get(waiting["lease"]) == "ok")
        self.assertEqual(worker.recalled, [waiting["lease"]])
        self.assertEqual(client.ask(mrp_client.CANCEL, {"jobs": [started["job"]]})["statuses"],
                         ["ok"])
        worker.wait(lambda: started["lease"] in worker.cancelled)
        self.assertEqual(worker.cancelled[started["lease"]], "cancelled")
        self.assertIn(worker.ack(started), ("cancelled", "stale"))
        self.assertEqual(client.ask(mrp_client.REDRIVE, {"jobs": [started["job"]]})["statuses"],
                         ["ok"])
        client.ask(mrp_client.UNPAUSE, {"queue": "default"})
        for item in worker.take(2):
            worker.begin([item])
            self.assertEqual(worker.ack(item), "ok")

    def test_a_run_that_is_too_long_is_ended_by_the_broker(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        client.enqueue([{"kind": "echo", "timeout_ms": 100, "max_attempts": 1}], seal=True)
        (item,) = worker.take(1)
        self.assertEqual(item["timeout_ms"], 100)
        worker.begin([item])
        worker.wait(lambda: worker.cancelled, 5, "CANCEL")
        self.assertEqual(worker.cancelled, {item["lease"]: "timeout"})
        self.assertEqual(client.ask(mrp_client.SHOW, {"job": item["job"]})["attempts"][0]["outcome"],
                         "timeout")

    def test_sent_home_when_empty_and_bye_gives_back(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        client.enqueue([{"kind": "echo"}], seal=True)
        leaver = self.worker_peer(broker)
        (item,) = leaver.take(1)
        leaver.begin([item])
        leaver.pump(0.1)
        leaver.close()
        worker = self.worker_peer(broker, until="empty")
        (again,) = worker.take(1)
        self.assertEqual(again["deliveries"], 2)
        self.assertIsNone(worker.sent_home)
        worker.begin([again])
        worker.ack(again)
        worker.wait(lambda: worker.sent_home)
        self.assertEqual(worker.sent_home["reason"], "empty")
        self.assertEqual(broker.job(item["job"])["crashes"], 0)

    def test_a_kind_that_nobody_has_comes_to_somebody(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        job = client.enqueue([{"kind": "strange", "max_attempts": 1}], seal=True)["first"]
        (item,) = worker.take(1)
        self.assertEqual(item["kind"], "strange")
        self.assertEqual(worker.nack(item, error="unknown_kind: strange"), "ok")
        self.assertEqual(broker.job(job)["state"], "dead")

    def test_replay_and_looking(self):
        broker = self.broker()
        client, worker = self.producer_peer(broker), self.worker_peer(broker)
        job = client.enqueue([{"kind": "echo", "payload": "x"}], seal=True)["first"]
        (item,) = worker.take(1)
        worker.begin([item])
        worker.ack(item, result="y")
        request = client.request_id()
        body = {"request": request, "jobs": [job, job, 10**6], "seal": True}
        reply = client.ask(mrp_client.REPLAY, body)
        self.assertEqual((reply["count"], reply["replay_of"]), (1, [job]))
        self.assertEqual(client.ask(mrp_client.REPLAY, body), reply)
        report = client.ask(mrp_client.STATS, {})
        self.assertEqual((report["producers"], [one["name"] for one in report["workers"]]),
                         (1, ["python"]))
        page = client.ask(mrp_client.LIST, {"filter": {"states": ["done"]}, "payloads": True})
        self.assertEqual([(one["job"], one["payload"], one["result"]) for one in page["jobs"]],
                         [(job, "x", "y")])
        self.assertEqual((page.get("next", 0), page["highest"]), (0, reply["first"]))

    def test_before_welcome_there_is_no_session(self):
        client = self.peer(mrp_client.Producer(self.broker().endpoint, connect=False))
        client._hello_correlation = None
        client.send(mrp_client.STATS, {}, 9)
        client.wait(lambda: client.heard_all)
        (kind, correlation, body) = client.heard_all[0]
        self.assertEqual((kind, correlation, body["code"], body["retryable"]),
                         (mrp_client.ERROR, 9, "no_session", True))

    def test_a_newer_version_is_negotiated_or_refused(self):
        broker = self.broker()
        client = self.producer_peer(broker)
        hello = {"session": client.session, "version_min": 1, "version_max": 9}
        client.send(mrp_client.HELLO, hello, 500)
        client.wait(lambda: (mrp_client.WELCOME, 500) in [m[:2] for m in client.heard_all])
        with self.assertRaises(Refused) as refused:
            client.ask(mrp_client.HELLO, {**hello, "version_min": 2})
        self.assertEqual(refused.exception.code, "unsupported_version")
        with self.assertRaises(Refused) as refused:
            client.ask(mrp_client.HELLO, {**hello, "role": "worker"})
        self.assertEqual(refused.exception.code, "bad_request")
        client.send(mrp_client.OFFER, {"queues": ["default"], **ECHO}, 0)
        client.wait(lambda: client.errors)
        self.assertEqual((client.errors[0][0], client.errors[0][1]["code"]), (0, "not_allowed"))


if __name__ == "__main__":
    millrace_testing.main()
