"""A program that runs jobs for a worker and does what each job asks of it, good or bad.

Speaks the stdio worker protocol in JSON lines by itself, so that it shares no code with what it tests.
Payload: {"do": WORD, …}.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import threading

LOCK = threading.Lock()


def say(**message):
    with LOCK:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def hang():
    while True:
        signal.pause()


def fork_bomb():
    while True:
        try:
            os.fork()
        except OSError:
            os.sched_yield()


def leave_grandchild(lease, payload):
    """One that is in a session of its own, and is nobody's child any more."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", payload["sleep"]])
        os._exit(0)
    os.wait()
    say(type="result", lease=lease, result="left one")


def run(message):
    lease, payload = message["lease"], message.get("payload") or {}
    word = payload.get("do", "echo")
    if word == "echo":
        say(type="result", lease=lease, result=payload)
    elif word == "pid":
        say(type="result", lease=lease, result=os.getpid())
    elif word == "who":
        fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
        say(type="result", lease=lease, result={"uid": os.getuid(), "fds": [fd for fd in fds if fd < 3],
                                                 "more": len([fd for fd in fds if fd > 3]),
                                                 "sid": os.getsid(0) == os.getpid(),
                                                 "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
                                                 "core": resource.getrlimit(resource.RLIMIT_CORE)[0]})
    elif word == "segfault":
        print("about to read address 0", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "abort":
        os.abort()
    elif word == "exit":
        os._exit(payload.get("status", 0))
    elif word == "sometimes":  # one time in ten, by the lease, which is another each time
        if lease % 10 == 0:
            os._exit(1)
        say(type="result", lease=lease, result=lease)
    elif word == "compute":
        while True:
            pass
    elif word == "bomb":
        fork_bomb()
    elif word == "memory":
        say(type="result", lease=lease, result=len(bytearray(payload["bytes"])))
    elif word == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("deaf", file=sys.stderr, flush=True)
        hang()
    elif word == "endless":
        while True:
            os.write(2, b"and on it goes, and on, and on\n" * 1000)
    elif word == "endless_stdout":
        while True:
            os.write(1, b"x" * 65536)
    elif word == "noise":
        os.write(1, b"this is no message\n")
        hang()
    elif word == "close":
        os.close(1)
        hang()
    elif word == "grandchild":
        leave_grandchild(lease, payload)
    elif word == "child":
        subprocess.Popen(["sleep", payload["sleep"]])
        say(type="result", lease=lease, result="left one")
    elif word == "grow":
        GROWN.append(bytearray(payload["bytes"]))
        say(type="result", lease=lease, result=os.getpid())
    elif word == "fail":
        say(type="error", lease=lease, error="refused: as asked", retry=payload.get("retry", True))
    elif word == "output":
        say(type="progress", lease=lease, done=1, total=2, text="half")
        say(type="log", lease=lease, line="a line")
        say(type="chunk", lease=lease, data={"part": 1})
        say(type="result", lease=lease, result="all")
    elif word == "enqueue":
        say(type="enqueue", lease=lease, request=7,
            jobs=[{"kind": "echo", "payload": {"n": n}} for n in range(payload["count"])])
        answer = ANSWERS.get()
        say(type="result", lease=lease, result=answer)
    elif word == "sleep":
        if CANCELLED[lease].wait(payload["seconds"]):
            say(type="error", lease=lease, error="cancelled: as asked", retry=True)
        else:
            say(type="result", lease=lease, result="slept")
    else:
        say(type="error", lease=lease, error=f"bad_payload: {word}", retry=False)


def listen():
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "job":
            CANCELLED[message["lease"]] = threading.Event()
            JOBS.put(message)
        elif message["type"] == "cancel":
            CANCELLED[message["lease"]].set()
        elif message["type"] == "enqueued":
            ANSWERS.put(message)
    JOBS.put(None)


def main():
    if "--refuse" in sys.argv:
        print("no licence for this machine", file=sys.stderr)
        sys.exit(3)
    say(type="ready", protocol=1)
    threading.Thread(target=listen, daemon=True).start()
    while (message := JOBS.get()) is not None:
        run(message)


import queue  # noqa: E402

JOBS = queue.Queue()
ANSWERS = queue.Queue()
CANCELLED = {}
GROWN = []
main()
