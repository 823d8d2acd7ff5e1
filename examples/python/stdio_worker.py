"""A kind of job in Python: the stdio worker protocol in JSON lines, standard library only.

    import stdio_worker

    def shout(job):
        return {"text": job.payload["text"].upper()}

    stdio_worker.serve(shout)

and `millrace-worker --kind shout='python3 shout.py'`. The worker keeps such processes warm: what the
module loads before `serve` is loaded once. docs/stdio_protocol.md has the whole protocol.
"""

import base64
import json
import os
import queue
import sys
import threading
import traceback


class Reject(Exception):
    """Failed, and trying again cannot help."""


class Job:
    """One run of one job; made for the handler, used by its thread only.

    payload: what the producer sent: any JSON value, `str` where it was other text, `bytes`.
    id, kind, queue, attempt, max_attempts, deliveries, lease, timeout_ms: see the protocol.
    """

    def __init__(self, channel, message):
        self._channel = channel
        self._requests = 0
        self._cancelled = threading.Event()
        self.id = message["job"]
        for name in ("kind", "queue", "attempt", "max_attempts", "deliveries", "lease", "timeout_ms"):
            setattr(self, name, message[name])
        if "payload_base64" in message:
            self.payload = base64.b64decode(message["payload_base64"])
        elif "payload_text" in message:
            self.payload = message["payload_text"]
        else:
            self.payload = message.get("payload")

    def cancelled(self):
        """True when the job was cancelled, or its time is over: return soon, or be killed."""
        return self._cancelled.is_set()

    def progress(self, done, total=0, text=""):
        self._say("progress", done=done, total=total, text=text)

    def log(self, line):
        self._say("log", line=line)

    def chunk(self, data):
        """A part of the result, stored and streamed before the end."""
        self._say("chunk", **_payload("data", data))

    def enqueue(self, *jobs, queue=""):
        """Enqueues further jobs, each a dict of kind, payload and options; blocks until the broker
        has them. Returns their ids. Raises RuntimeError when the broker refuses."""
        self._requests += 1
        self._say("enqueue", request=self._requests, queue=queue, jobs=list(jobs))
        answer = self._channel.answers.get()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ids"]

    def _say(self, type, **fields):
        self._channel.say(type=type, lease=self.lease, **fields)


class _Channel:
    """stdin and stdout as the protocol has them. Handlers get an empty stdin, and what they print
    goes to stderr."""

    def __init__(self):
        self.answers = queue.Queue()
        self.jobs = queue.Queue()
        self.running = {}
        self._lock = threading.Lock()
        self._input = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(2, 1)
        os.close(nothing)

    def say(self, **message):
        line = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            self._output.write(line + "\n")
            self._output.flush()

    def listen(self):
        for line in self._input:
            message = json.loads(line)
            if message["type"] == "job":
                job = Job(self, message)
                self.running[job.lease] = job
                self.jobs.put(job)
            elif message["type"] == "cancel":
                if message["lease"] in self.running:
                    self.running[message["lease"]]._cancelled.set()
            elif message["type"] == "enqueued":
                self.answers.put(message)
        self.jobs.put(None)


def _payload(name, value):
    if isinstance(value, (bytes, bytearray)):
        return {name + "_base64": base64.b64encode(value).decode()}
    return {name: value}


def serve(handler):
    """Runs jobs until the worker closes our stdin. `handler(job)` returns the result: any JSON value,
    or bytes. An exception fails the run, which is tried again; Reject is for ever."""
    channel = _Channel()
    channel.say(type="ready", protocol=1)
    threading.Thread(target=channel.listen, daemon=True).start()
    while (job := channel.jobs.get()) is not None:
        try:
            answer = {"type": "result", **_payload("result", handler(job))}
        except Reject as error:
            answer = {"type": "error", "error": str(error), "retry": False}
        except Exception as error:
            traceback.print_exc()
            answer = {"type": "error", "error": f"{type(error).__name__}: {error}", "retry": True}
        channel.running.pop(job.lease, None)
        channel.say(lease=job.lease, **answer)
