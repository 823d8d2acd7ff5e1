"""Private instances of the rivals' servers: each in a folder of its own, on ports of 127.0.0.1, ended by
the id of its process."""

import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time

READY_MAX = 60.0
END_MAX = 30.0
POLL = 0.02
POSTGRES_BIN = pathlib.Path("/usr/lib/postgresql/15/bin")
RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def process_times():
    """{pid: (parent, seconds)} of all processes. The seconds hold those of children that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    times = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            # The name, in brackets, may hold spaces; utime, stime, cutime and cstime come after it.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        times[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / ticks)
    return times


class Server:
    """Base of all: a subclass starts its processes in start() and says when they are ready."""

    # Some servers must not or need not run as root.
    user = None
    end_signal = signal.SIGTERM

    def __init__(self):
        # Not /tmp, which may be memory: what is measured is a disk.
        self.folder = pathlib.Path(
            tempfile.mkdtemp(prefix="millrace-rivals-", dir=os.environ.get("TMPDIR", "/var/tmp")))
        if self.user and os.geteuid() == 0:
            shutil.chown(self.folder, self.user)
        self.port = free_port()
        self.processes = []
        try:
            self.start()
            self.wait_until(self.is_ready)
        except BaseException:
            self.end()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def start(self):
        raise NotImplementedError

    def is_ready(self):
        return listens(self.port)

    def as_user(self):
        """Popen arguments that give up root for `user`, without a process that watches."""
        if not self.user or os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(self.user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def spawn(self, *words, **environment):
        with open(self.folder / "server.log", "ab") as log:
            process = subprocess.Popen(
                [str(w) for w in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env={**os.environ, **environment}, start_new_session=True,
                **self.as_user())
        self.processes.append(process)

    def wait_until(self, condition):
        deadline = time.monotonic() + READY_MAX
        while not condition():
            ended = any(p.poll() is not None for p in self.processes)
            if ended or time.monotonic() > deadline:
                log = (self.folder / "server.log").read_text(errors="replace")
                raise RuntimeError(f"the server did not become ready:\n{log[-2000:]}")
            time.sleep(POLL)

    def cpu_seconds(self):
        """User and system time of the server's processes, living and ended."""
        times = process_times()
        ours = {p.pid for p in self.processes}
        while True:
            grown = ours | {pid for pid, (parent, _) in times.items() if parent in ours}
            if grown == ours:
                return sum(times[pid][1] for pid in ours if pid in times)
            ours = grown

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(self.end_signal)
            try:
                process.wait(END_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    def start(self):
        self.spawn("/usr/bin/redis-server", "--bind", "127.0.0.1", "--port", self.port, "--dir",
                   self.folder, *self.settings())

    def settings(self):
        return []


class RedisDurable(Redis):
    def settings(self):
        return ["--appendonly", "yes", "--appendfsync", "always"]


class Beanstalkd(Server):
    def start(self):
        self.spawn("/usr/bin/beanstalkd", "-l", "127.0.0.1", "-p", self.port, *self.settings())

    def settings(self):
        return []


class BeanstalkdDurable(Beanstalkd):
    def settings(self):
        return ["-b", self.folder, "-f0"]


class Gearmand(Server):
    def start(self):
        self.spawn("/usr/sbin/gearmand", "--listen", "127.0.0.1", "--port", self.port, "--log-file",
                   self.folder / "gearmand.log", *self.settings())

    def settings(self):
        return []


class GearmandSqlite(Gearmand):
    def settings(self):
        return ["--queue-type", "libsqlite3", "--libsqlite3-db", self.folder / "queue.db"]


class Rabbitmq(Server):
    """The setting is the queue's, so the client makes it."""

    user = "rabbitmq"

    def start(self):
        epmd_port = free_port()
        # The server would start this one as a daemon that stays.
        self.spawn("/usr/bin/epmd", "-address", "127.0.0.1", "-port", epmd_port)
        self.wait_until(lambda: listens(epmd_port))
        (self.folder / "empty").touch()
        self.spawn(
            RABBITMQ_SERVER,
            HOME=str(self.folder),
            ERL_EPMD_ADDRESS="127.0.0.1",
            ERL_EPMD_PORT=str(epmd_port),
            RABBITMQ_NODENAME=f"millrace-rivals-{self.port}@localhost",
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self.port),
            RABBITMQ_DIST_PORT=str(free_port()),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
            RABBITMQ_MNESIA_BASE=str(self.folder / "mnesia"),
            RABBITMQ_LOG_BASE=str(self.folder / "log"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.folder / "empty"),
            RABBITMQ_CONF_ENV_FILE=str(self.folder / "empty"),
            RABBITMQ_CONFIG_FILE=str(self.folder / "rabbitmq"),
        )


class Postgresql(Server):
    user = "postgres"
    # "Fast": does not wait for clients to leave.
    end_signal = signal.SIGINT

    def start(self):
        data = self.folder / "data"
        subprocess.run(
            [POSTGRES_BIN / "initdb", "--pgdata", data, "--auth", "trust", "--username", "postgres",
             "--encoding", "UTF8", "--locale", "C.UTF-8"],
            check=True, stdout=subprocess.DEVNULL, cwd=self.folder, **self.as_user())
        self.spawn(POSTGRES_BIN / "postgres", "-D", data, "-p", self.port, "-k", self.folder,
                   "-c", "listen_addresses=127.0.0.1", *self.settings())

    def settings(self):
        return []

    def is_ready(self):
        # It listens before it is ready.
        return subprocess.run(
            [POSTGRES_BIN / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(self.port)],
            check=False).returncode == 0


class PostgresqlAsync(Postgresql):
    def settings(self):
        return ["-c", "synchronous_commit=off"]
