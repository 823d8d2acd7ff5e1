"""A producer and a worker in Python, written from docs/protocol.md alone.

    client = mrp_client.Producer(endpoint)
    reply = client.enqueue([{"kind": "echo", "payload": "1"}], seal=True)
    rows = client.results(reply["batch"])

    worker = mrp_client.Worker(endpoint, kinds={"echo": "io"}, pools={"io": 2})
    (job,) = worker.take(1)
    worker.begin([job["lease"]])
    worker.ack(job, result=job["payload"])

A peer has no thread of its own: it lives while one of its methods runs, pump() if nothing else.
Numbers of sections are those of the page.
"""

import collections
import os
import time

import msgpack
import zmq

HELLO, WELCOME, ERROR, BYE, HEARTBEAT, RESUME_WANTED = 1, 2, 3, 4, 5, 6
ENQUEUE, ENQUEUED = 10, 11
OFFER, CREDIT, JOBS, STARTED, ACK, NACK, REJECT, RELEASE, SETTLED = 20, 21, 22, 23, 24, 25, 26, 27, 28
OUTPUT, RESUME, RESUMED, RECALL, CANCEL = 29, 30, 31, 32, 33
WATCH, RESULTS, UNWATCH, AWAIT, WATCH_OUTPUT, OUTPUT_ROWS = 40, 41, 42, 43, 44, 45
CLOSE, OPEN, DRAINED, PAUSE, UNPAUSE, QUEUE_INFO = 50, 51, 52, 53, 54, 55
KIND_SET, KIND_INFO, DISMISS = 56, 57, 58
REDRIVE, REPLAY, OUTCOMES = 60, 61, 62
STATS, REPORT, LIST, PAGE, SHOW, ITEM = 70, 71, 72, 73, 74, 75
BACKUP, BACKED_UP = 76, 77

ANSWER_SECONDS = 20
HEARD_SECONDS = 3
MASK = (1 << 64) - 1


def lease_hash(lease):
    """Section 5, HEARTBEAT."""
    x = (lease + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def pack(kind, correlation, body, version=1):
    return msgpack.packb([version, kind, correlation, body], use_bin_type=True)


def unpack(data):
    version, kind, correlation, body = msgpack.unpackb(data, raw=False)[:4]
    return version, kind, correlation, body


def dealer(context, endpoint, linger=200):
    """A socket with the options of section 1."""
    socket = context.socket(zmq.DEALER)
    for option, value in ((zmq.MAXMSGSIZE, 4 << 20), (zmq.LINGER, linger),
                          (zmq.RECONNECT_IVL, 100), (zmq.RECONNECT_IVL_MAX, 1000),
                          (zmq.HANDSHAKE_IVL, 2000), (zmq.HEARTBEAT_IVL, 5000),
                          (zmq.HEARTBEAT_TIMEOUT, 15000), (zmq.HEARTBEAT_TTL, 20000),
                          (zmq.TCP_KEEPALIVE, 1), (zmq.SNDHWM, 10000), (zmq.RCVHWM, 10000)):
        socket.setsockopt(option, value)
    socket.connect(endpoint)
    return socket


class Refused(Exception):
    """ERROR in place of a reply."""

    def __init__(self, body):
        super().__init__(f"{body.get('code')}: {body.get('message')}")
        self.body = body
        self.code = body.get("code", "")
        self.message = body.get("message", "")
        self.retryable = body.get("retryable", False)
        self.after_ms = body.get("after_ms", 0)


class Peer:
    """Sections 1 to 5: a socket, a session, requests that survive new connections."""

    role = "producer"
    linger = 200

    def __init__(self, endpoint, name="python", session=None, connect=True):
        self.endpoint = endpoint
        self.name = name
        self.session = session or os.urandom(16)
        self.welcome = None  # the newest
        self.welcomes = []
        self.open = False
        self.errors = []     # those that no request waits for, no_session left out
        self.heard_all = []  # (type, correlation, body) of everything; for tests
        self._context = zmq.Context()
        self._socket = dealer(self._context, endpoint, self.linger)
        self._correlation = 0
        self._unanswered = collections.OrderedDict()  # correlation -> frame
        self._answers = {}                            # correlation -> (type, body)
        self._hello_correlation = None
        self._hello_at = self._heard = self._beat_at = 0.0
        self._prefix = os.urandom(8)
        self._counter = 0
        if connect:
            self.connect()

    # -- the socket

    def send(self, kind, body, correlation=0):
        self.send_bytes(pack(kind, correlation, body))

    def send_bytes(self, *parts):
        try:
            self._socket.send_multipart(parts, zmq.DONTWAIT)
        except zmq.Again:
            pass  # the rules for sending again cover it

    def close(self, bye=True):
        if bye and self.open:
            self.send(BYE, {})
        self._socket.close()
        self._context.term()

    def vanish(self):
        """Gone without BYE."""
        self._socket.close(linger=0)
        self._context.term()

    def reconnect(self):
        """A new connection for the same session, as after a cut."""
        self._socket.close(linger=0)
        self._socket = dealer(self._context, self.endpoint, self.linger)
        self.open = False
        self._hello_correlation = None
        self._say_hello()

    # -- the session

    def connect(self, seconds=ANSWER_SECONDS):
        self._say_hello()
        self.wait(lambda: self.open, seconds, "WELCOME")
        return self.welcome

    def _next(self):
        self._correlation += 1
        return self._correlation

    def _say_hello(self):
        self.open = False
        self._hello_correlation = self._next()
        self._hello_at = time.monotonic()
        self.send(HELLO, {"role": self.role, "session": self.session, "name": self.name,
                          "host": "test", "pid": os.getpid()}, self._hello_correlation)

    def _after_welcome(self):
        """What follows the requests that were sent again."""

    def _heartbeat(self):
        return {}

    def _on_message(self, kind, correlation, body):
        """Messages that answer nothing."""

    def pump(self, seconds=0.0):
        """Reads what is there, or what comes first within `seconds`, and keeps the session."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            self._tick(now)
            left = min(max(0.0, end - now), 0.05)
            if self._socket.poll(int(left * 1000)):
                while self._socket.poll(0):
                    self._receive(self._socket.recv_multipart())
                return
            if time.monotonic() >= end:
                return

    def _tick(self, now):
        if self.open:
            if now - self._heard > HEARD_SECONDS:
                self._say_hello()
            elif now - self._beat_at >= 1:
                self._beat_at = now
                self.send(HEARTBEAT, self._heartbeat())
                self._every_second()
        elif self._hello_correlation is not None and now - self._hello_at >= 1:
            self._say_hello()

    def _every_second(self):
        """Beside the heartbeat."""

    def _receive(self, parts):
        self._heard = time.monotonic()
        _, kind, correlation, body = unpack(parts[0])
        self.heard_all.append((kind, correlation, body))
        if kind == WELCOME:
            if correlation != self._hello_correlation or self.open:
                return
            self.open = True
            self.welcome = body
            self.welcomes.append(body)
            for frame in self._unanswered.values():
                self.send_bytes(frame)
            self._after_welcome()
        elif kind == ERROR and correlation == self._hello_correlation and not self.open:
            self._answers[correlation] = (kind, body)
            self._hello_correlation = None
            raise Refused(body)
        elif kind == ERROR and body.get("code") == "no_session":
            if self.open:
                self._say_hello()
        elif correlation in self._unanswered:
            del self._unanswered[correlation]
            self._answers[correlation] = (kind, body)
            self._on_reply(kind, correlation, body)
        elif kind == ERROR:
            self.errors.append((correlation, body))
        elif kind != HEARTBEAT:
            self._on_message(kind, correlation, body)

    def _on_reply(self, kind, correlation, body):
        """A reply to a request that was kept."""

    def wait(self, predicate, seconds=ANSWER_SECONDS, what="it"):
        end = time.monotonic() + seconds
        while not predicate():
            left = end - time.monotonic()
            if left < 0:
                raise AssertionError(f"{self.name}: no {what} within {seconds} s")
            self.pump(min(left, 0.2))
        return True

    # -- requests

    def request(self, kind, body):
        """Sends a request, keeps it until its reply is here, and returns its correlation."""
        correlation = self._next()
        frame = pack(kind, correlation, body)
        self._unanswered[correlation] = frame
        if self.open:
            self.send_bytes(frame)
        return correlation

    def answer(self, correlation, seconds=ANSWER_SECONDS):
        """The body of the reply. Raises Refused."""
        self.wait(lambda: correlation in self._answers, seconds, f"reply to {correlation}")
        kind, body = self._answers.pop(correlation)
        if kind == ERROR:
            raise Refused(body)
        return body

    def ask(self, kind, body, seconds=ANSWER_SECONDS):
        return self.answer(self.request(kind, body), seconds)

    def request_id(self):
        self._counter += 1
        return self._prefix + self._counter.to_bytes(8, "big")


class Producer(Peer):
    """Sections 6, 7, 9 to 11."""

    def __init__(self, *args, **keywords):
        self._watches = {}  # batch -> Watch
        self._closing = {}  # queue -> generation
        self.drained = {}   # queue -> generation
        super().__init__(*args, **keywords)

    def enqueue(self, jobs, request=None, seconds=ANSWER_SECONDS, **options):
        return self.ask(ENQUEUE, {"request": request or self.request_id(), "jobs": jobs, **options},
                        seconds)

    def watch(self, batch, cursor=0):
        if batch in self._watches:
            self.send(UNWATCH, {"batch": batch})  # else it would only be an acknowledgement
        self._watches[batch] = Watch(cursor)
        self.send(WATCH, {"batch": batch, "from": cursor})
        return self._watches[batch]

    def unwatch(self, batch):
        del self._watches[batch]
        self.send(UNWATCH, {"batch": batch})

    def results(self, batch, cursor=0, seconds=ANSWER_SECONDS):
        """All rows up to the end of the batch."""
        watch = self.watch(batch, cursor)
        self.wait(lambda: watch.ended, seconds, f"end of batch {batch}")
        return watch.rows

    def close_queue(self, queue, generation=0):
        """Closes and asks to be told; `drained` has the queue once it is."""
        info = self.ask(CLOSE, {"queue": queue, "wait": True, "generation": generation})
        self._closing[queue] = info.get("generation", 1)
        return info

    def _after_welcome(self):
        for batch, watch in self._watches.items():
            if not watch.ended:
                self.send(WATCH, {"batch": batch, "from": watch.cursor})
        for queue, generation in self._closing.items():
            if queue not in self.drained:
                self.request(CLOSE, {"queue": queue, "wait": True, "generation": generation})

    def _every_second(self):
        for batch, watch in self._watches.items():
            if not watch.ended:
                self.send(WATCH, {"batch": batch, "from": watch.cursor})

    def _on_message(self, kind, correlation, body):
        if kind == DRAINED:
            for one in body["queues"]:
                self.drained[one["queue"]] = one["generation"]
        elif kind == RESULTS and body["batch"] in self._watches:
            batch = body["batch"]
            watch = self._watches[batch]
            if watch.ended:
                return
            gaps = watch.gaps
            if watch.take(body):
                if watch.gaps > gaps:
                    self.send(UNWATCH, {"batch": batch})
                self.send(WATCH, {"batch": batch, "from": watch.cursor})


class Watch:
    """The gap rule of section 7."""

    def __init__(self, cursor):
        self.cursor = cursor
        self.rows = []
        self.gaps = 0
        self.ended = False
        self._told = cursor
        self._since = 0

    def take(self, body):
        """True when WATCH is to be sent again."""
        if body.get("from", 0) > self.cursor:
            self.gaps += 1
            return True
        fresh = [row for row in body.get("rows", []) if row["cursor"] > self.cursor]
        self.rows += fresh
        self._since += len(fresh)
        below = body.get("cursor", 0) < self.cursor
        self.cursor = max(self.cursor, body.get("cursor", 0))
        if body.get("end") and not below:
            self.ended = True
            return False
        if self._since >= 1000:
            self._since = 0
            return True
        return False


class Worker(Peer):
    """Section 8. Whoever uses it plays the handlers: take(), begin(), ack() and so on."""

    role = "worker"
    linger = 1000

    def __init__(self, endpoint, kinds, pools, queues=("default",), until="drained", prefetch=0,
                 **keywords):
        self.kinds, self.pools, self.queues, self.until = kinds, pools, list(queues), until
        self.prefetch = prefetch
        self.leases = {}        # lease -> delivery, with "pool" and "phase"
        self.statuses = {}      # lease -> status of SETTLED
        self.cancelled = {}     # lease -> reason
        self.recalled = []
        self.resumed = []       # bodies of RESUMED
        self.sent_home = None   # body of DRAINED
        self.delivered = dict.fromkeys(pools, 0)
        self._told = dict.fromkeys(pools, 0)
        self._busy = dict.fromkeys(pools, 0)
        self._ready = False     # RESUMED is here
        self._verbs = {}        # correlation -> leases
        self._resume_correlation = None
        super().__init__(endpoint, **keywords)

    def connect(self, seconds=ANSWER_SECONDS):
        super().connect(seconds)
        self.wait(lambda: self._ready, seconds, "RESUMED")
        return self.welcome

    def _after_welcome(self):
        self._ready = False
        self.send(OFFER, {"queues": self.queues, "kinds": self.kinds, "pools": self.pools,
                          "until": self.until})
        self._resume()

    def _resume(self):
        self._resume_correlation = self._next()
        self.send(RESUME, {"leases": [
            {"lease": lease, "job": item["job"], "started": item["phase"] != "waiting",
             "elapsed_ms": int((time.monotonic() - item["began"]) * 1000) if "began" in item else 0}
            for lease, item in self.leases.items()]}, self._resume_correlation)

    def _heartbeat(self):
        held_hash = 0
        for lease in self.leases:
            held_hash ^= lease_hash(lease)
        credit = {pool: upto for pool, upto in self._told.items() if upto > 0}
        return {"credit": credit, "held": len(self.leases), "held_hash": held_hash}

    def _tell_credit(self):
        if not self._ready or self.sent_home is not None:
            return
        news = {}
        for pool, slots in self.pools.items():
            upto = self.delivered[pool] - self._busy[pool] + slots + self.prefetch
            if upto > self._told[pool]:
                news[pool] = self._told[pool] = upto
        if news:
            self.send(CREDIT, {"upto": news})

    def _over(self, lease):
        item = self.leases.pop(lease, None)
        if item is not None:
            self._busy[item["pool"]] -= 1

    def _on_reply(self, kind, correlation, body):
        leases = self._verbs.pop(correlation, None)
        if leases is None or kind != SETTLED:
            return
        for lease, status in zip(body["leases"], body["statuses"]):
            self.statuses[lease] = status
            self._over(lease)
        self._tell_credit()

    def _on_message(self, kind, correlation, body):
        if kind == JOBS:
            pool = body["pool"]
            for item in body["items"]:
                self.delivered[pool] = max(self.delivered[pool], item["number"])
                if item["lease"] in self.leases:
                    continue
                self.leases[item["lease"]] = {**item, "pool": pool, "phase": "waiting"}
                self._busy[pool] += 1
        elif kind == RESUMED and correlation == self._resume_correlation:
            self.resumed.append(body)
            for lease in body.get("drop", []):
                if lease in self.leases and self.leases[lease]["phase"] != "unsettled":
                    self._over(lease)
            for pool in self.pools:
                self.delivered[pool] = body.get("delivered", {}).get(pool, 0)
                self._told[pool] = 0
            self._ready = True
            self._tell_credit()
        elif kind == RESUME_WANTED:
            self._resume()
        elif kind == CANCEL:
            for lease in body["leases"]:
                self.cancelled[lease] = body.get("reason", "")
                if lease in self.leases and self.leases[lease]["phase"] != "unsettled":
                    self._over(lease)
            self._tell_credit()
        elif kind == RECALL:
            mine = [lease for lease in body["leases"]
                    if self.leases.get(lease, {}).get("phase") == "waiting"]
            self.recalled += mine
            if mine:
                self.settle(RELEASE, [{"lease": lease, "job": self.leases[lease]["job"]}
                                      for lease in mine])
        elif kind == DRAINED:
            self.sent_home = body

    def waiting(self):
        return [item for item in self.leases.values() if item["phase"] == "waiting"]

    def take(self, count, seconds=ANSWER_SECONDS):
        """`count` deliveries that have not begun."""
        self.wait(lambda: len(self.waiting()) >= count, seconds, f"{count} deliveries")
        return self.waiting()[:count]

    def begin(self, items):
        for item in items:
            item["phase"] = "running"
            item["began"] = time.monotonic()
        self.send(STARTED, {"leases": [item["lease"] for item in items]})

    def settle(self, verb, outcomes):
        """Sends outcomes; returns the correlation of the request."""
        for one in outcomes:
            if one["lease"] in self.leases:
                self.leases[one["lease"]]["phase"] = "unsettled"
        correlation = self._next()
        frame = pack(verb, correlation, {"items": outcomes})
        self._unanswered[correlation] = frame
        self._verbs[correlation] = [one["lease"] for one in outcomes]
        if self.open:
            self.send_bytes(frame)
        return correlation

    def finish(self, verb, item, **fields):
        """One outcome, and its status."""
        lease = item["lease"]
        self.statuses.pop(lease, None)
        correlation = self.settle(verb, [{"lease": lease, "job": item["job"], **fields}])
        self.answer(correlation)
        return self.statuses[lease]

    def ack(self, item, **fields):
        return self.finish(ACK, item, **fields)

    def nack(self, item, **fields):
        return self.finish(NACK, item, **fields)

    def reject(self, item, **fields):
        return self.finish(REJECT, item, **fields)

    def release(self, item):
        return self.finish(RELEASE, item)
