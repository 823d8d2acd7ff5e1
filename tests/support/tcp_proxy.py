"""A TCP proxy that cuts, stalls and resets the connections through it at random.

    proxy = tcp_proxy.Proxy("127.0.0.1", broker_port, random)
    ... peers use proxy.endpoint ...
    proxy.be_good()   # from now on it only forwards
    proxy.close()

One thread with a selector. What was read and not yet written is lost with its connection, which
may be in the middle of a frame: bytes are never changed, invented or reordered.
"""

import collections
import selectors
import socket
import struct
import threading
import time

PIECE = 16 * 1024
BUFFER_MAX = 256 * 1024


class _Pair:
    def __init__(self, near, far):
        self.sockets = (near, far)
        self.buffers = {near: bytearray(), far: bytearray()}  # to be written to that one
        self.stalled_until = 0.0
        self.left = None  # bytes until the cut, when it comes in the middle of the stream

    def other(self, one):
        return self.sockets[1] if one is self.sockets[0] else self.sockets[0]


class Proxy:
    def __init__(self, host, port, random, mean_seconds=0.4):
        """Something happens to some connection each `mean_seconds` on average."""
        self.target = (host, port)
        self.counts = collections.Counter()
        self._random = random
        self._mean = mean_seconds
        self._bad = True
        self._stop = False
        self._pairs = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def be_good(self):
        self._bad = False

    def close(self):
        self._stop = True
        self._thread.join()

    def _run(self):
        next_event = time.monotonic() + self._random.expovariate(1 / self._mean)
        while not self._stop:
            for key, events in self._selector.select(0.02):
                if key.data is None:
                    self._accept()
                elif key.data in self._pairs:
                    self._serve(key.data, key.fileobj, events)
            now = time.monotonic()
            if self._bad and now >= next_event:
                next_event = now + self._random.expovariate(1 / self._mean)
                if self._pairs:
                    self._misbehave(self._random.choice(sorted(self._pairs, key=id)), now)
            for pair in list(self._pairs):
                self._watch(pair, now)
        for pair in list(self._pairs):
            self._end(pair)
        self._listener.close()
        self._selector.close()

    def _accept(self):
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        if self._bad and self._random.random() < 0.1:
            self.counts["refused"] += 1
            near.close()
            return
        try:
            far = socket.create_connection(self.target, timeout=2)
        except OSError:
            near.close()
            return
        pair = _Pair(near, far)
        for one in pair.sockets:
            one.setblocking(False)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(one, selectors.EVENT_READ, pair)
        self._pairs.add(pair)
        self.counts["connections"] += 1

    def _misbehave(self, pair, now):
        what = self._random.choice(("cut", "cut in a frame", "reset", "stall", "stall", "long stall"))
        self.counts[what] += 1
        if what == "cut":
            self._end(pair)
        elif what == "cut in a frame":
            pair.left = self._random.randrange(1, 2000)
        elif what == "reset":
            self._end(pair, reset=True)
        elif what == "stall":
            pair.stalled_until = now + self._random.uniform(0.05, 1.0)
        else:
            # Longer than a peer may be silent: the broker takes it for lost.
            pair.stalled_until = now + self._random.uniform(3.2, 5.0)

    def _watch(self, pair, now):
        """Sets what to wait for: nothing while stalled or while a buffer is full."""
        if pair not in self._pairs:
            return
        for one in pair.sockets:
            events = 0
            if now >= pair.stalled_until or not self._bad:
                if len(pair.buffers[pair.other(one)]) < BUFFER_MAX:
                    events |= selectors.EVENT_READ
                if pair.buffers[one]:
                    events |= selectors.EVENT_WRITE
            try:
                known = self._selector.get_key(one).events
            except KeyError:
                known = 0
            if events == known:
                continue
            if not events:
                self._selector.unregister(one)
            elif not known:
                self._selector.register(one, events, pair)
            else:
                self._selector.modify(one, events, pair)

    def _serve(self, pair, one, events):
        try:
            if events & selectors.EVENT_READ:
                data = one.recv(PIECE)
                if not data:
                    return self._end(pair)
                if pair.left is not None:
                    data = data[:pair.left]
                    pair.left -= len(data)
                pair.buffers[pair.other(one)] += data
                # What there is goes on at once; the rest when the socket can take it.
                self._write(pair, pair.other(one))
                if pair.left == 0:
                    return self._end(pair)
            if events & selectors.EVENT_WRITE:
                self._write(pair, one)
        except OSError:
            self._end(pair)

    def _write(self, pair, one):
        buffer = pair.buffers[one]
        if buffer:
            try:
                del buffer[:one.send(buffer)]
            except BlockingIOError:
                pass

    def _end(self, pair, reset=False):
        if pair not in self._pairs:
            return
        self._pairs.discard(pair)
        for one in pair.sockets:
            try:
                self._selector.unregister(one)
            except KeyError:
                pass
            if reset:
                try:
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                except OSError:
                    pass
            one.close()
