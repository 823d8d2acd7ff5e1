"""A peer that speaks the wire protocol itself, for what the programs never send."""

import os
import time

import msgpack
import zmq

HELLO, ERROR, ENQUEUE = 1, 3, 10
ANSWER_SECONDS = 10


class Refused(Exception):
    """The broker answered ERROR."""

    def __init__(self, body):
        super().__init__(body.get("message"))
        self.code = body.get("code")
        self.body = body


class RawPeer:
    def __init__(self, endpoint, role="producer"):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(endpoint)
        self._correlation = 0
        self._requests = 0
        self._prefix = os.urandom(8)
        self.welcome = self.ask(HELLO, {"role": role, "session": os.urandom(16), "name": "raw",
                                        "host": "", "pid": os.getpid()})

    def send(self, kind, body, correlation=0):
        self._socket.send(msgpack.packb([1, kind, correlation, body], use_bin_type=True))

    def send_bytes(self, *parts):
        self._socket.send_multipart(parts)

    def receive(self, seconds=ANSWER_SECONDS):
        """The next message as (type, correlation, body), or None."""
        if not self._socket.poll(int(seconds * 1000)):
            return None
        _, kind, correlation, body = msgpack.unpackb(self._socket.recv(), raw=False)
        return kind, correlation, body

    def ask(self, kind, body, seconds=ANSWER_SECONDS):
        """Sends a request and returns the body of its answer."""
        self._correlation += 1
        self.send(kind, body, self._correlation)
        end = time.monotonic() + seconds
        while True:
            message = self.receive(max(0, end - time.monotonic()))
            if message is None:
                raise AssertionError(f"no answer to a message of type {kind} within {seconds} s")
            kind, correlation, body = message
            if correlation != self._correlation:
                continue
            if kind == ERROR:
                raise Refused(body)
            return body

    def request_id(self):
        self._requests += 1
        return self._prefix + self._requests.to_bytes(8, "big")

    def enqueue(self, kind, payloads, request=None, **options):
        """Enqueues a sealed batch; the id of its first job."""
        jobs = [{"kind": kind, "payload": payload} for payload in payloads]
        body = {"request": request or self.request_id(), "seal": True, "jobs": jobs, **options}
        return self.ask(ENQUEUE, body)["first"]

    def close(self):
        self._socket.close()
        self._context.term()
