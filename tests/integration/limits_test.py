#!/usr/bin/env python3
"""Every limit a peer can hit, at the limit and one past it; the refusal names limit and value."""

import pathlib
import sys

import msgpack

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from mrp_client import Refused  # noqa: E402

ECHO = {"kinds": {"echo": "io"}, "pools": {"io": 10}}
TEN_YEARS_MS = 10 * 366 * 24 * 3600 * 1000
FRAME_MAX = 4 << 20
ARRAY_MAX = 4096
DEPTH_MAX = 16


class Limits(millrace_testing.Case):
    def limited(self, db=None, **limits):
        lines = "".join(f"{key} = {value}\n" for key, value in limits.items())
        return self.broker("--config", self.file("broker.toml", f"[limits]\n{lines}"),
                           db=db)

    def peer(self, made):
        self.addCleanup(lambda: made._context.closed or made.vanish())
        return made

    def client(self, broker, **keywords):
        return self.peer(mrp_client.Producer(broker.endpoint, **keywords))

    def crew(self, broker, **keywords):
        return self.peer(mrp_client.Worker(broker.endpoint, **{**ECHO, **keywords}))

    def assert_refused(self, code, names, call, *arguments, **keywords):
        with self.assertRaises(Refused) as refused:
            call(*arguments, **keywords)
        self.assertEqual(refused.exception.code, code, refused.exception)
        for name in names:
            self.assertIn(str(name), refused.exception.message)
        return refused.exception

    def enqueue(self, client, jobs=1, **job):
        return client.enqueue([{"kind": "echo", **job}] * jobs, seal=True)


class Enqueue(Limits):
    def test_payload_bytes(self):
        broker = self.limited(payload_bytes_max=1000, enqueue_bytes_max=500)
        client = self.client(broker)
        self.assertEqual(client.welcome["payload_bytes_max"], 1000)
        for payload in ("x" * 1000, b"\0" * 1000, "é" * 500):
            self.enqueue(client, payload=payload)
        for payload in ("x" * 1001, b"\0" * 1001, "é" * 501):
            size = len(payload if isinstance(payload, bytes) else payload.encode())
            self.assert_refused("too_large", (size, 1000, "payload_bytes_max"),
                                self.enqueue, client, payload=payload)
        self.assertEqual(broker.states(), {"ready": 3})

    def test_the_largest_payload_there_may_be(self):
        broker = self.limited(payload_bytes_max="1048576", result_bytes_max="1048576")
        client, worker = self.client(broker), self.crew(broker)
        payload = "p" * 1048576
        batch = self.enqueue(client, payload=payload)["batch"]
        (item,) = worker.take(1)
        self.assertEqual(item["payload"], payload)
        worker.begin([item])
        self.assertEqual(worker.ack(item, result=payload), "ok")
        self.assertEqual(client.results(batch)[0]["result"], payload)

    def test_jobs_of_a_request(self):
        broker = self.limited(enqueue_jobs_max=10)
        client = self.client(broker)
        self.assertEqual(client.welcome["enqueue_jobs_max"], 10)
        self.enqueue(client, 10)
        self.assert_refused("too_large", (11, 10, "enqueue_jobs_max"), self.enqueue, client, 11)
        self.assert_refused("bad_request", ("no jobs",), self.enqueue, client, 0)
        ask = {"request": client.request_id(), "seal": True, "jobs": list(range(1, 12))}
        self.assert_refused("too_large", (11, 10, "enqueue_jobs_max"),
                            client.ask, mrp_client.REPLAY, ask)
        self.assertEqual(client.ask(mrp_client.REPLAY, {**ask, "jobs": list(range(1, 11))})
                         .get("count", 0), 0)
        self.assertEqual(broker.states(), {"ready": 10})

    def test_bytes_of_a_request(self):
        client = self.client(self.limited(enqueue_bytes_max=1000))
        self.assertEqual(client.welcome["enqueue_bytes_max"], 1000)
        self.enqueue(client, 2, payload="x" * 500)
        self.assert_refused("too_large", (1002, 1000, "enqueue_bytes_max"),
                            self.enqueue, client, 2, payload="x" * 501)
        self.enqueue(client, 1, payload="x" * 2000)  # a single one may always be as large as it may

    def test_jobs_of_a_queue(self):
        broker = self.limited(queue_jobs_max=5)
        client = self.client(broker)
        self.enqueue(client, 4)
        full = self.assert_refused("queue_full", (4, 5, "queue_jobs_max"), self.enqueue, client, 2)
        self.assertTrue(full.retryable)
        self.assertGreater(full.after_ms, 0)
        self.enqueue(client, 1)
        self.assert_refused("queue_full", (5,), self.enqueue, client, 1)
        client.enqueue([{"kind": "echo"}], queue="other", seal=True)
        # It has room again once a job has ended.
        worker = self.crew(broker)
        item = worker.take(1)[0]
        worker.begin([item])
        worker.ack(item)
        self.enqueue(client, 1)
        self.assertEqual(self.producer(broker, "enqueue", "echo", "--reconnect", "1s").code, 75)

    def test_lanes_and_queues(self):
        client = self.client(self.limited(lanes_max=4))
        for kind in ("a", "b", "c", "d"):
            self.enqueue(client, kind=kind)
        self.assert_refused("too_large", (4, "lanes_max"), self.enqueue, client, kind="e")
        self.enqueue(client, kind="a")
        self.assert_refused("too_large", (4, "lanes_max"), client.enqueue, [{"kind": "a"}],
                            queue="other", seal=True)
        for queue in ("p", "q", "r"):
            client.ask(mrp_client.PAUSE, {"queue": queue})
        self.assert_refused("too_large", (4, "lanes_max"),
                            client.ask, mrp_client.PAUSE, {"queue": "s"})
        client.ask(mrp_client.UNPAUSE, {"queue": "r"})

    def test_names(self):
        client = self.client(self.broker())
        for name in ("a", "a" * 64, "0", ".", "_", "-", "az09._-"):
            self.enqueue(client, kind=name)
            client.enqueue([{"kind": "echo"}], queue=name, seal=True)
        for name in ("", "a" * 65, "A", "a b", "é", "a/b", "a\n", "a\0b", "`"):
            with self.subTest(name):
                self.assert_refused("bad_request", ("1 to 64",), self.enqueue, client, kind=name)
                self.assert_refused("bad_request", ("1 to 64",), client.enqueue,
                                    [{"kind": "echo"}], queue=name, seal=True)
                self.assert_refused("bad_request", ("1 to 64",), client.ask, mrp_client.CLOSE,
                                    {"queue": name})

    def test_numbers_of_a_job(self):
        broker = self.broker()
        client = self.client(broker)
        now = client.welcome["now"]
        good = {"priority": (0, 255), "max_attempts": (0, 1, 1_000_000),
                "delay_ms": (0, TEN_YEARS_MS), "timeout_ms": (0, TEN_YEARS_MS),
                "backoff_ms": (0, 300_000), "run_at": (0, 1, now + 1000)}
        bad = {"priority": ((-1, 255), (256, 255), (1 << 40, None)),
               "max_attempts": ((-1, 1_000_000), (1_000_001, 1_000_000)),
               "delay_ms": ((-1, "10 years"), (TEN_YEARS_MS + 1, "10 years"),
                            (2**63 - 1, TEN_YEARS_MS)),
               "timeout_ms": ((-1, "10 years"), (TEN_YEARS_MS + 1, "10 years")),
               "backoff_ms": ((-1, "5 minutes"), (300_001, "5 minutes")),
               "run_at": ((-1, "run_at"), (2**63 - 1, "run_at"))}
        for key, values in good.items():
            for value in values:
                with self.subTest(key=key, value=value):
                    self.enqueue(client, **{key: value})
        for key, values in bad.items():
            for value, limit in values:
                with self.subTest(key=key, value=value):
                    with self.assertRaises(Refused) as refused:
                        self.enqueue(client, **{key: value})
                    # What does not fit the type of the field at all is no message.
                    codes = ("bad_request",) if limit is not None else ("bad_request", "bad_format")
                    self.assertIn(refused.exception.code, codes)
                    if limit is not None:
                        self.assertIn(str(value), refused.exception.message)
                        self.assertIn(str(limit), refused.exception.message)
        for value in (2**63, 2**64 - 1, 1.5, "1", True, None):
            with self.subTest(value=value), self.assertRaises(Refused) as refused:
                self.enqueue(client, delay_ms=value)
            self.assertEqual(refused.exception.code, "bad_format")
        self.assert_refused("bad_request", ("either",), self.enqueue, client, delay_ms=1, run_at=1)
        self.assert_refused("bad_request", ("either",), self.enqueue, client, backoff_ms=1, retry="1s")
        self.assert_refused("bad_request", ("either",), self.enqueue, client, expires_in_ms=1,
                            expires_at=now + 1000)
        self.assert_refused("bad_request", ("exponential",), self.enqueue, client, retry="sometimes")
        self.assert_refused("bad_request", ("unique key", "128"), self.enqueue, client,
                            unique_key="x" * 129)
        self.assert_refused("bad_request", ("ttl",), self.enqueue, client, unique_scope="ttl")

    def test_request_ids(self):
        client = self.client(self.broker())
        jobs = [{"kind": "echo"}]
        for request, code in ((b"\0" * 16, "bad_request"), (b"\0" * 8 + b"\1" * 8, "bad_request"),
                              (b"\1" * 8 + b"\0" * 8, "bad_request"), (b"\1" * 15, "bad_format"),
                              (b"\1" * 17, "bad_format"), ("x" * 16, "bad_format")):
            with self.subTest(request):
                self.assert_refused(code, ("request",), client.enqueue, jobs, request, seal=True)


class Work(Limits):
    def test_result_bytes(self):
        broker = self.limited(result_bytes_max=1000)
        client, worker = self.client(broker), self.crew(broker)
        batch = self.enqueue(client, 2)["batch"]
        fits, over = worker.take(2)
        worker.begin([fits, over])
        self.assertEqual(worker.ack(fits, result="x" * 1000), "ok")
        self.assertEqual(worker.ack(over, result="x" * 1001), "ok")
        one, two = client.results(batch)
        self.assertEqual(one["result"], "x" * 1000)
        self.assertEqual(two["state"], "dead")
        self.assertRegex(two["error"], r"^result_too_large: 1001 bytes.* 1000 ")

    def test_error_bytes(self):
        broker = self.limited(error_bytes_max=100)
        client, worker = self.client(broker), self.crew(broker)
        batch = self.enqueue(client, 3)["batch"]
        texts = ["e" * 100, "e" * 101, "é" * 60]
        for item, text in zip(worker.take(3), texts):
            worker.begin([item])
            self.assertEqual(worker.reject(item, error=text), "ok")
        errors = [row["error"] for row in client.results(batch)]
        self.assertEqual(errors[0], texts[0])
        for error in errors:
            self.assertLessEqual(len(error.encode()), 100)
            self.assertRegex(error, "^[eé]+[.…]*$")  # never cut within a character

    def test_leases_of_a_worker(self):
        broker = self.limited(leases_per_worker_max=3)
        client, worker = self.client(broker), self.crew(broker)
        self.assertEqual(worker.welcome["leases_max"], 3)
        self.enqueue(client, 10)
        items = worker.take(3)
        worker.pump(0.3)
        worker.pump(0.3)
        self.assertEqual(len(worker.leases), 3)
        worker.begin(items[:1])
        worker.ack(items[0])
        worker.take(3)
        self.assertEqual(broker.states(), {"leased": 3, "done": 1, "ready": 6})

    def test_offers(self):
        broker = self.broker()
        worker = self.crew(broker)
        def refusal(**offer):
            body = {"queues": ["default"], **ECHO, **offer}
            worker.request(mrp_client.OFFER, body)
            with self.assertRaises(Refused) as refused:
                worker.answer(worker._correlation, 5)
            return refused.exception
        for offer in ({"queues": []}, {"queues": ["q"] * 1001}, {"pools": {}}, {"pools": {"io": 0}},
                      {"pools": {"io": 100_001}}, {"kinds": {"echo": "cpu"}},
                      {"queues": ["A"]}, {"kinds": {"E": "io"}}):
            with self.subTest(offer=str(offer)[:60]):
                self.assertEqual(refusal(**offer).code, "bad_request")
        worker.send(mrp_client.OFFER, {"queues": ["default"], **ECHO, "pools": {"io": 100_000}})
        client = self.client(broker)
        client.wait(lambda: client.ask(mrp_client.STATS, {})["workers"][0]["pools"] ==
                    {"io": 100_000}, 5)

    def test_sessions(self):
        broker = self.limited(sessions_max=3)
        peers = [self.client(broker) for _ in range(3)]
        late = self.peer(mrp_client.Producer(broker.endpoint, connect=False))
        refused = self.assert_refused("busy", (3, "sessions_max"), late.connect)
        self.assertTrue(refused.retryable)
        peers[0].close()
        peers[1].wait(lambda: peers[1].ask(mrp_client.STATS, {})["producers"] == 2, 5)
        self.client(broker)

    def test_rows_and_bytes_of_a_watch(self):
        # The message that crosses the bound is still sent: 1,000 rows, or about 1 MiB.
        for limits, size in (({"results_rows_max": 10}, 1), ({"results_bytes_max": 65536}, 2000)):
            with self.subTest(**limits):
                broker = self.limited(**limits, db=self.folder / f"{size}.db")
                self.worker(broker)
                client = self.client(broker)
                batch = client.enqueue([{"kind": "echo", "payload": '"' + "r" * size + '"'}] * 500)
                batch = batch["batch"]
                for last in (False, True):
                    client.enqueue([{"kind": "echo", "payload": '"' + "r" * size + '"'}] * 500,
                                   batch=batch, seal=last)
                client.wait(lambda: broker.states() == {"done": 1500})
                begin = len(client.heard_all)
                client.send(mrp_client.WATCH, {"batch": batch})
                end = millrace_testing.now() + 0.7
                client.wait(lambda: millrace_testing.now() > end)
                messages = [body for kind, _, body in client.heard_all[begin:]
                            if kind == mrp_client.RESULTS and body.get("rows")]
                self.assertEqual(len(messages), 1)
                rows = messages[0]["rows"]
                self.assertLessEqual(len(rows), 1000)
                self.assertLess(sum(len(row["result"]) for row in rows), 1.2 * (1 << 20))
                client.send(mrp_client.UNWATCH, {"batch": batch})
                self.assertEqual(len(client.results(batch)), 1500)

class Format(Limits):
    def nested(self, depth):
        """A HEARTBEAT whose unknown key makes the frame nest `depth` deep."""
        value = 0
        for _ in range(depth - 2):  # the frame and its body are two
            value = [value]
        return msgpack.packb([1, mrp_client.HEARTBEAT, 7, {"x": value}])

    def reply(self, client, data):
        """What a frame is answered with. A HEARTBEAT of correlation 7 is answered with one."""
        begin = len(client.heard_all)
        client.send_bytes(data)
        client.wait(lambda: any(kind == mrp_client.ERROR or correlation == 7
                                for kind, correlation, _ in client.heard_all[begin:]), 10, "answer")
        return [one for one in client.heard_all[begin:]
                if one[0] == mrp_client.ERROR or one[1] == 7][0]

    def test_depth(self):
        client = self.client(self.broker())
        self.assertEqual(self.reply(client, self.nested(DEPTH_MAX))[0], mrp_client.HEARTBEAT)
        kind, _, body = self.reply(client, self.nested(DEPTH_MAX + 1))
        self.assertEqual((kind, body["code"]), (mrp_client.ERROR, "bad_format"))
        self.assertIn("depth", body["message"])

    def test_elements(self):
        client = self.client(self.broker())
        for count, expected in ((ARRAY_MAX, mrp_client.HEARTBEAT), (ARRAY_MAX + 1, mrp_client.ERROR)):
            for extra in ([0] * count, {str(n): 0 for n in range(count)}):
                frame = msgpack.packb([1, mrp_client.HEARTBEAT, 7, {"x": extra}])
                kind, _, body = self.reply(client, frame)
                self.assertEqual(kind, expected)
                if kind == mrp_client.ERROR:
                    self.assertEqual(body["code"], "bad_format")
        self.assertEqual(client.ask(mrp_client.CANCEL, {"jobs": list(range(1, ARRAY_MAX + 1))})
                         ["statuses"], ["not_found"] * ARRAY_MAX)

    def test_size_of_a_frame(self):
        client = self.client(self.broker())
        empty = msgpack.packb([1, mrp_client.HEARTBEAT, 7, {"x": b"\0" * (1 << 20)}],
                              use_bin_type=True)
        room = FRAME_MAX - (len(empty) - (1 << 20))
        largest = msgpack.packb([1, mrp_client.HEARTBEAT, 7, {"x": b"\0" * room}],
                                use_bin_type=True)
        self.assertEqual(len(largest), FRAME_MAX)
        self.assertEqual(self.reply(client, largest)[0], mrp_client.HEARTBEAT)
        # One byte more and the connection is closed; the session outlives it.
        client.send_bytes(largest + b"\0")
        client.wait(lambda: len(client.welcomes) == 2, 15, "second WELCOME")
        self.assertTrue(client.welcome["known"])

    def test_one_frame(self):
        client = self.client(self.broker())
        begin = len(client.heard_all)
        client.send_bytes(b"", msgpack.packb([1, mrp_client.STATS, 7, {}]))
        client.send_bytes(msgpack.packb([1, mrp_client.STATS, 7, {}]), b"")
        client.wait(lambda: len(client.errors) == 2)
        self.assertEqual([(one, body["code"]) for one, body in client.errors],
                         [(0, "bad_format")] * 2)
        self.assertIn("one frame", client.errors[0][1]["message"])
        self.assertFalse([m for m in client.heard_all[begin:] if m[0] == mrp_client.REPORT])

    def test_no_more_and_no_fewer_bytes(self):
        client = self.client(self.broker())
        frame = msgpack.packb([1, mrp_client.HEARTBEAT, 7, {}])
        self.assertEqual(self.reply(client, frame)[0], mrp_client.HEARTBEAT)
        five = msgpack.packb([1, mrp_client.HEARTBEAT, 7, {}, "later"])
        self.assertEqual(self.reply(client, five)[0], mrp_client.HEARTBEAT)
        for data in (frame + b"\0", frame[:-1], b"", b"\xc1", msgpack.packb([1, 5, 7])):
            kind, _, body = self.reply(client, data)
            self.assertEqual((kind, body["code"]), (mrp_client.ERROR, "bad_format"))

    def test_limits_of_limits(self):
        for line in ("payload_bytes_max = 0", 'payload_bytes_max = "3MiB"', "enqueue_jobs_max = 4097",
                     "error_bytes_max = 63", "lanes_max = 0", "sessions_max = 4097",
                     "window_jobs_max = 7", "unheard_of = 1"):
            with self.subTest(line):
                config = self.file("bad.toml", f"[limits]\n{line}\n")
                done = self.run_broker("--config", config, "--db", self.folder / "x.db",
                                       "--listen", "tcp://127.0.0.1:*", seconds=10)
                self.assertEqual(done.code, 78, done)
                self.assertIn(line.split()[0], done.err)


if __name__ == "__main__":
    millrace_testing.main()
