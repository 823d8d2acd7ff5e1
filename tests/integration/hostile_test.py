#!/usr/bin/env python3
"""Peers that send garbage, floods and endless messages; a well-behaved one beside them never
notices, and the broker's memory stays bounded."""

import contextlib
import json
import os
import pathlib
import socket
import struct
import sys
import threading
import time

import msgpack
import zmq

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import millrace_testing  # noqa: E402
import mrp_client  # noqa: E402
from millrace_testing import now  # noqa: E402

MEMORY_KB = 256 * 1024
P99_SECONDS = 0.1
BASELINE_SECONDS = 1.0
ATTACK_SECONDS = 2.5
STATS = mrp_client.STATS

GREETING = (b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" +
            b"\0" * 31)


def ready_command():
    name, value = b"Socket-Type", b"DEALER"
    body = (b"\x05READY" + bytes([len(name)]) + name + struct.pack(">I", len(value)) + value)
    return b"\x04" + bytes([len(body)]) + body


def be_the_victim(endpoint):
    """A well-behaved client in a process of its own: ENQUEUE and STATS in turn, at most 200 a
    second, until stdin ends. Prints how long each took."""
    over = threading.Event()

    def wait_for_the_end():
        sys.stdin.read()
        over.set()
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    client = mrp_client.Producer(endpoint, name="victim")
    times = []
    while not over.is_set():
        begin = now()
        if len(times) % 2:
            client.ask(STATS, {}, 10)
        else:
            client.enqueue([{"kind": "echo", "payload": "1"}], seal=True, seconds=10)
        times.append(now() - begin)
        time.sleep(0.005)
    print(json.dumps({"times": times, "sessions": len(client.welcomes)}))
    client.vanish()


def p99(times):
    return times[min(len(times) - 1, int(len(times) * 0.99))]


class Hostile(millrace_testing.Case):
    def setUp(self):
        super().setUp()
        self.random = millrace_testing.seeded_random()
        self.server = self.broker("--log-level", "warn")
        self.port = int(self.server.endpoint.rsplit(":", 1)[1])

    def victim(self):
        return self.start([sys.executable, "-B", pathlib.Path(__file__).resolve(),
                           "--victim", self.server.endpoint], stdin=-1)

    def times(self, victim):
        victim.popen.stdin.close()
        self.assertEqual(victim.wait(30), 0)
        said = json.loads(victim.out)
        self.assertEqual(said["sessions"], 1)
        return sorted(said["times"])

    @contextlib.contextmanager
    def beside_a_good_client(self):
        """The attack is the body of `with`; it may run until the deadline it is given."""
        victim = self.victim()
        time.sleep(BASELINE_SECONDS)
        before = p99(self.times(victim))
        victim = self.victim()
        time.sleep(0.3)
        yield now() + ATTACK_SECONDS
        times = self.times(victim)
        limit = max(P99_SECONDS, 5 * before)
        high = int(self.server.status("VmHWM").split()[0])
        print(f"{self._testMethodName}: p99 {p99(times) * 1000:.1f} ms of {len(times)},"
              f" {before * 1000:.1f} before; VmHWM {high // 1024} MB", file=sys.stderr)
        self.assertTrue(self.server.is_running())
        self.assertGreater(len(times), 20)
        self.assertLess(p99(times), limit)
        self.assertLess(high, MEMORY_KB)

    def attacker(self, hello=True):
        peer = mrp_client.Producer(self.server.endpoint, name="attacker", connect=hello)
        self.addCleanup(lambda: peer._context.closed or peer.vanish())
        return peer

    def tcp(self, greet=False):
        link = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.addCleanup(link.close)
        if greet:
            link.sendall(GREETING)
            self.read(link, 64)
            link.sendall(ready_command())
            head = self.read(link, 2)
            self.read(link, head[1])
        return link

    def read(self, link, count):
        data = b""
        while len(data) < count:
            piece = link.recv(count - len(data))
            if not piece:
                raise AssertionError("the broker closed the connection")
            data += piece
        return data

    def closed_by_broker(self, link):
        link.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while link.recv(65536):
                pass
        return True

    # -- inside frames

    def test_random_and_mangled_bytes(self):
        peer = self.attacker()
        good = [mrp_client.pack(kind, 9, body) for kind, body in (
            (mrp_client.ENQUEUE, {"request": os.urandom(16), "seal": True,
                                  "jobs": [{"kind": "echo", "payload": "x" * 50}]}),
            # A flipped bit can make a good CLOSE or PAUSE of this one: not the good client's queue.
            (mrp_client.STATS, {"queue": "attacked"}), (mrp_client.WATCH, {"batch": 1}),
            (mrp_client.ACK, {"items": [{"lease": 5, "job": 1, "result": "r"}]}),
            (mrp_client.RESUME, {"leases": [{"lease": 1, "job": 1}]}),
            (mrp_client.LIST, {"filter": {"states": ["done"]}}))]
        with self.beside_a_good_client() as end:
            while now() < end:
                for _ in range(50):
                    frame = bytearray(self.random.choice(good))
                    how = self.random.randrange(4)
                    if how == 0:
                        frame = self.random.randbytes(self.random.randrange(0, 300))
                    elif how == 1:
                        frame = frame[:self.random.randrange(len(frame))]
                    elif how == 2:
                        for _ in range(self.random.randrange(1, 4)):
                            frame[self.random.randrange(len(frame))] = self.random.randrange(256)
                    else:
                        frame = frame[:4] + self.random.randbytes(30)
                    peer.send_bytes(bytes(frame))
                with contextlib.suppress(Exception):
                    peer.pump(0.002)
        # What a mutation happened to enqueue is a job like any other.

    def test_nested_and_huge_headers(self):
        peer = self.attacker()
        head = b"\x94\x01\x46\x07"
        frames = [b"\x91" * 1000, b"\x91" * 100_000, head + b"\x81\xa1x" + b"\x91" * 1_000_000,
                  head + b"\x81\xa1x" + b"\x81\xa1y" * 500_000,
                  b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdc\xff\xff",
                  head + b"\xdf\xff\xff\xff\xff", head + b"\x81\xa1x\xdd\x7f\xff\xff\xff",
                  head + b"\x81\xa1x\xc6\xff\xff\xff\xff", head + b"\x81\xa1x\xdb\xff\xff\xff\xff",
                  head + b"\x81\xa1x\xc9\xff\xff\xff\xff\x01", head + b"\x81\xa1x\xd4\x01\x00",
                  head + b"\x81\xa1x" + b"\xdc\x10\x00" * 14]
        for frame in frames:
            peer.send_bytes(frame)
            peer.wait(lambda: peer.errors, 10, "refusal")
            self.assertEqual({body["code"] for _, body in peer.errors}, {"bad_format"})
            peer.errors.clear()
        with self.beside_a_good_client() as end:
            while now() < end:
                for frame in frames:
                    peer.send_bytes(frame)
                peer.pump(0.02)

    def test_a_million_elements_in_each_frame(self):
        # Arrays of the largest allowed size, one in the other: refused before anything is built.
        peer = self.attacker()
        bomb = msgpack.packb([1, STATS, 7, {"x": [[0] * 4096] * 250}])
        with self.beside_a_good_client() as end:
            while now() < end:
                peer.send_bytes(bomb)
                peer.pump(0.02)

    def test_versions_types_and_correlations(self):
        peer = self.attacker()
        for version in (0, 2, 255, 1 << 40):
            peer.send_bytes(mrp_client.pack(STATS, 77, {}, version))
            peer.wait(lambda: peer.errors)
            correlation, body = peer.errors.pop()
            self.assertEqual((correlation, body["code"]), (77, "unsupported_version"))
        for kind in (0, 7, 99, 255, 1 << 33):
            peer.send_bytes(mrp_client.pack(kind, (1 << 64) - 1, {}))
            peer.wait(lambda: peer.errors)
            correlation, body = peer.errors.pop()
            self.assertEqual((correlation, body["code"]), ((1 << 64) - 1, "unknown_type"))
            self.assertIn(str(kind), body["message"])
        for kind in (mrp_client.WELCOME, mrp_client.JOBS, mrp_client.SETTLED, mrp_client.REPORT):
            peer.send_bytes(mrp_client.pack(kind, 78, {}))
            peer.wait(lambda: peer.errors)
            correlation, body = peer.errors.pop()
            self.assertEqual((correlation, body["code"]), (78, "bad_request"))

    def test_leases_of_others(self):
        peer = self.attacker()
        worker = mrp_client.Worker(self.server.endpoint, kinds={"echo": "io"}, pools={"io": 1})
        self.addCleanup(worker.vanish)
        job = peer.enqueue([{"kind": "echo"}], seal=True)["first"]
        (item,) = worker.take(1)
        worker.begin([item])
        worker.pump(0.05)
        for verb in (mrp_client.ACK, mrp_client.NACK, mrp_client.REJECT, mrp_client.RELEASE):
            with contextlib.suppress(mrp_client.Refused):
                reply = peer.ask(verb, {"items": [{"lease": item["lease"], "job": job}]})
                self.assertEqual(reply["statuses"], ["stale"])
        self.assertEqual(self.server.job(job)["state"], "leased")
        self.assertEqual(worker.ack(item), "ok")

    # -- many and large messages

    def test_a_hundred_thousand_tiny_messages(self):
        sent = 0
        with self.beside_a_good_client():
            peers = [self.attacker(hello=False) for _ in range(4)]
            for n in range(100_000):
                try:
                    peers[n % 4]._socket.send(b"\x00", zmq.DONTWAIT)
                    sent += 1
                except zmq.Again:
                    time.sleep(0.01)
        self.assertGreater(sent, 50_000)

    def test_a_flood_whose_answers_nobody_reads(self):
        peer = self.attacker()
        frame = mrp_client.pack(STATS, 5, {})
        with self.beside_a_good_client() as end:
            while now() < end:
                try:
                    peer._socket.send(frame, zmq.DONTWAIT)
                except zmq.Again:
                    time.sleep(0.01)

    def test_one_message_of_twenty_thousand_parts(self):
        peer = self.attacker()
        with self.beside_a_good_client() as end:
            for _ in range(3):
                peer._socket.send_multipart([b"part"] * 20_000)
            peer.wait(lambda: len(peer.errors) == 3, 15, "refusals")
            time.sleep(max(0, end - now()))
        self.assertEqual({body["code"] for _, body in peer.errors}, {"bad_format"})
        peer.ask(STATS, {})

    def test_frames_of_two_hundred_megabytes(self):
        size = 200 << 20
        with self.beside_a_good_client() as end:
            links = [self.tcp(greet=True) for _ in range(3)]
            for link in links:
                link.sendall(b"\x02" + struct.pack(">Q", size))
                with contextlib.suppress(OSError):
                    for _ in range(200):
                        link.sendall(b"\0" * (1 << 20))
            for link in links:
                self.assertTrue(self.closed_by_broker(link))
            # And the largest length there is.
            link = self.tcp(greet=True)
            with contextlib.suppress(OSError):
                link.sendall(b"\x02" + b"\xff" * 8)
            self.assertTrue(self.closed_by_broker(link))
            time.sleep(max(0, end - now()))

    # -- below frames

    def test_five_hundred_half_open_connections(self):
        with self.beside_a_good_client() as end:
            links = [self.tcp() for _ in range(500)]
            for link in links[::3]:
                link.sendall(GREETING[:20])
            for link in links[1::3]:
                link.sendall(GREETING)
            time.sleep(max(0, end - now()))
            # Each is closed once the time for its handshake is over.
            for link in links[::50]:
                self.assertTrue(self.closed_by_broker(link))

    def test_garbage_handshakes(self):
        with self.beside_a_good_client() as end:
            while now() < end:
                for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", self.random.randbytes(200),
                             b"\xff" * 64, GREETING + self.random.randbytes(100),
                             GREETING[:12] + b"PLAIN".ljust(52, b"\0"), b"\x01\x00",
                             GREETING + b"\x04\xff" + b"\x05READY" * 40):
                    with contextlib.suppress(OSError):
                        link = socket.create_connection(("127.0.0.1", self.port), timeout=5)
                        link.sendall(data)
                        if self.random.random() < 0.5:
                            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                            struct.pack("ii", 1, 0))
                        link.close()
                time.sleep(0.01)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--victim"]:
        be_the_victim(sys.argv[2])
        sys.exit()
    millrace_testing.main()
