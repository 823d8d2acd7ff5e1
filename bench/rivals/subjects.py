"""What is measured: a server with its setting, and a client with its own. README.md says why."""

import dataclasses
import pathlib
import shutil

HERE = pathlib.Path(__file__).resolve().parent
# Debian's own, which sees the packages of deps/rivals.txt.
PYTHON = "/usr/bin/python3"
# Milliseconds between the jobs of the latency workload. What cannot run 500 jobs a second on a slow
# disk gets them more slowly, or a backlog would be measured.
PACE = 2
PACE_SLOW = 20
PACE_SLOWEST = 100
# Jobs of the other workloads; a tenth with --quick. RQ's worker takes half a minute for a thousand
# where each write waits for a slow disk.
JOBS = 100_000
JOBS_FRAMEWORK = 10_000
JOBS_RQ = 1_000


@dataclasses.dataclass(frozen=True)
class Subject:
    name: str
    # A class of servers.py.
    server: str
    # A program that the Makefile builds, or a script.
    client: str
    setting: str = ""
    pace: int = PACE
    jobs: int = JOBS

    def command(self, build):
        """How the client's command line begins."""
        if self.client.endswith(".py"):
            return [PYTHON, "-B", HERE / self.client]
        if self.client.endswith(".mjs"):
            return ["node", build / self.client]
        return [build / self.client]

    def missing(self, build):
        """Why the client cannot run, if so."""
        program, *script = self.command(build)
        if not shutil.which(program):
            return f"no {program}"
        if script and not script[-1].exists():
            return f"no {script[-1].name}"
        return None


def framework(name, server, client, setting=""):
    return Subject(name, server, client, setting, PACE_SLOW, JOBS_FRAMEWORK)


def rq(name, server):
    return Subject(name, server, "rq_client.py", pace=PACE_SLOWEST, jobs=JOBS_RQ)


SUBJECTS = (
    Subject("redis-streams-durable", "RedisDurable", "redis", "streams"),
    Subject("redis-streams-default", "Redis", "redis", "streams"),
    Subject("redis-lists-durable", "RedisDurable", "redis", "lists"),
    Subject("redis-lists-default", "Redis", "redis", "lists"),
    Subject("beanstalkd-durable", "BeanstalkdDurable", "beanstalkd", pace=PACE_SLOW),
    Subject("beanstalkd-default", "Beanstalkd", "beanstalkd"),
    Subject("gearmand-sqlite", "GearmandSqlite", "gearmand", pace=PACE_SLOWEST),
    Subject("gearmand-default", "Gearmand", "gearmand"),
    Subject("rabbitmq-quorum", "Rabbitmq", "rabbitmq", "quorum"),
    Subject("rabbitmq-durable", "Rabbitmq", "rabbitmq", "durable"),
    Subject("rabbitmq-default", "Rabbitmq", "rabbitmq", "transient"),
    Subject("postgresql-durable", "Postgresql", "postgresql"),
    Subject("postgresql-async", "PostgresqlAsync", "postgresql"),
    framework("celery-redis-durable", "RedisDurable", "celery_client.py", "late"),
    framework("celery-redis-default", "Redis", "celery_client.py"),
    rq("rq-durable", "RedisDurable"),
    rq("rq-default", "Redis"),
    framework("bullmq-durable", "RedisDurable", "bullmq/bullmq_client.mjs"),
    framework("bullmq-default", "Redis", "bullmq/bullmq_client.mjs"),
)
