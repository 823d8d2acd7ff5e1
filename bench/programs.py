"""Runs the programs of a build and says what they used; shared by the benchmarks beside millrace-bench."""

import collections
import os
import pathlib
import signal
import subprocess
import sys
import time


class Failed(Exception):
    pass


class Ended(collections.namedtuple("Ended", "seconds cpu megabytes")):
    """How a process ran: its time from start to end, and what it used."""


def memory_peak(pid):
    """In MB. What wait4() tells would count this script's memory, from which the program was started."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def run(words, log):
    """Runs a program to its end."""
    begin = time.monotonic()
    process = subprocess.Popen(words, stdout=log, stderr=log)
    megabytes = 0.0
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid != 0:
            break
        megabytes = max(megabytes, memory_peak(process.pid))
        time.sleep(0.01)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(f"{words[0]} ended with {process.returncode}")
    return Ended(time.monotonic() - begin, used.ru_utime + used.ru_stime, megabytes)


class Server:
    """A program that says `ready WHERE` and runs until the `with` block ends."""

    def __init__(self, words, log_path, stream):
        self.log_path = log_path
        self.log = open(log_path, "w+")
        self.process = subprocess.Popen(words, **{stream: self.log})

    def __enter__(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log_path.read_text().splitlines():
                if line.startswith("ready "):
                    self.where = line.split()[1]
                    return self
            time.sleep(0.01)
        self.__exit__()
        raise Failed(f"{self.process.args[0]} did not start: {self.log_path.read_text()}")

    def cpu(self):
        """Seconds so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.log.close()


def run_main(name, main):
    """Exit: 0 · 1 with one line about what failed."""
    try:
        main()
    except Failed as failure:
        sys.exit(f"{name}: {failure}")
