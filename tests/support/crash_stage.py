"""Crashes at named points of the programs, each in a scene of its own, many scenes at once.

    @crash_stage.at("broker.before_commit", "broker.after_commit")
    def done(s):
        "a running job ends"
        s.crew()
        job = s.enqueue(s.b, "sleep", {"ms": 700})
        s.wait_for_state(s.b, job, "leased")
        s.arm()            # from here on the point counts
        s.broker_dies()    # it does, at the point, and is started again
        s.ends("done", job)

A scene begins with a broker whose file has jobs in every state in a queue that nobody serves; none
of them may be changed by what happens. When the scene is over, the jobs of the queue `default` must
be those that were acknowledged, no more and no fewer.

The programs must be those of the preset `sim`: only they have crash points.
"""

import pathlib
import re
import shutil
import signal
import sys
import tempfile

import millrace_testing
import mrp_client
import oracle
import parallel
from millrace_testing import REPOSITORY

DIES_SECONDS = 20
PARALLEL = 8
HOUR_MS = 3_600_000

SCENES = []  # (point, count, function)


def at(*points, count=1):
    """Plays a scene once for each of `points`; the crash comes with the COUNTth armed visit."""
    def add(play):
        SCENES.extend((point, count, play) for point in points)
        return play
    return add


def points_in_sources():
    """The names of all crash points that the programs have."""
    names = set()
    for folder in ("common", "broker", "worker", "producer"):
        for path in (REPOSITORY / folder).rglob("*.cpp"):
            for call in re.findall(r"crash_point\(([^;]*?)\);", path.read_text(encoding="utf-8")):
                names.update(re.findall(r'"([^"]+)"', call))
    return names


class Scene(millrace_testing.Case):
    bystanders = None  # a file with a job in every state but `leased`
    ended_stay = True  # no retention deletes them

    def __init__(self, point, count, play):
        super().__init__("play")
        self.point, self._count, self._play = point, count, play
        self.title = f"{point}: {play.__doc__}"

    def id(self):
        return self.title

    def play(self):
        self.acknowledged = []
        self.workers = []
        self.pruned_runs = 0  # of jobs that are not in the file any more
        self.armed = self.folder / "armed"
        self.crash = {"MILLRACE_CRASH_AT": f"{self.point}:{self._count}",
                      "MILLRACE_CRASH_ARMED": str(self.armed)}
        shutil.copy(self.bystanders, self.folder / "millrace.db")
        is_broker = self.point.startswith("broker.")
        self.b = self.broker(environment=self.crash if is_broker else {})
        before = self.others()
        self._play(self)
        self.check_accounts()
        after = self.others()
        self.assertGreater(len(after[0]), 0)
        if not self.ended_stay:
            before = [[row for row in rows if row in same] for rows, same in zip(before, after)]
        self.assertEqual(after, before)

    # -- the crash

    def arm(self):
        self.armed.touch()

    def dies(self, process):
        """Waits until it has killed itself at the point."""
        self.assertEqual(process.wait(DIES_SECONDS), -signal.SIGKILL, process.name)
        self.armed.unlink(missing_ok=True)

    def broker_dies(self):
        self.dies(self.b)
        self.b = self.broker_again(self.b)

    def doomed_broker(self):
        """A start that ends at the point."""
        return self.start([millrace_testing.BIN / "millrace-broker", "--listen", self.b.endpoint,
                           "--db", self.b.db], environment=self.crash)

    def crew(self, *options, doomed=False, **keywords):
        """A worker of queue `default`; a doomed one ends at the point."""
        keywords.setdefault("connected", not doomed)
        worker = self.worker(self.b, *options, environment=self.crash if doomed else {}, **keywords)
        if not doomed:
            self.workers.append(worker)
        return worker

    def doomed_producer(self, *words, text=None):
        process = self.start_producer(self.b, *words, environment=self.crash,
                                      stdin=None if text is None else -1)
        if text is not None:
            millrace_testing.feed(process, text)
        return process

    # -- jobs

    def told(self, process):
        """The ids that a producer printed as acknowledged."""
        rows = [line for line in process.out_lines if line.endswith("}")]  # the last may be cut
        ids = [job for row in millrace_testing.Finished(0, "\n".join(rows), "").rows()
               for job in row["ids"]]
        self.acknowledged += ids
        return ids

    def enqueue_many(self, broker, kind, payloads, *options, **keywords):
        ids = super().enqueue_many(broker, kind, payloads, *options, **keywords)
        self.acknowledged += ids
        return ids

    def enqueue(self, broker, kind, payload=None, *options, **keywords):
        job = super().enqueue(broker, kind, payload, *options, **keywords)
        self.acknowledged.append(job)
        return job

    def finished(self, process, code=0):
        self.assertEqual(process.wait(), code, process.name)
        return process

    def jobs(self):
        return [job for (job,) in
                self.b.query("SELECT id FROM jobs WHERE queue = 'default' ORDER BY id")]

    def others(self):
        kept = "" if self.ended_stay else " AND state IN ('scheduled', 'ready')"
        return [self.b.query(f"SELECT * FROM {table} WHERE {key} IN (SELECT id FROM jobs WHERE"
                             f" queue = 'parked'{kept}) ORDER BY 1, 2")
                for table, key in (("job", "id"), ("attempts", "job"))]

    def ends(self, state, *jobs, attempts=1, crashes=0, deliveries=(1, 2), seconds=30):
        """Each job ends so, with these counts; `crashes` and `deliveries` may be one of several."""
        for job in jobs:
            row = self.wait_for_state(self.b, job, "done", "dead", "cancelled", "expired",
                                      seconds=seconds)
            self.assertEqual((row["state"], row["attempts"]), (state, attempts), row)
            self.assertIn(row["crashes"], (crashes,) if isinstance(crashes, int) else crashes, row)
            self.assertIn(row["deliveries"], deliveries, row)

    def check_accounts(self):
        """What was acknowledged is there and nothing else is; what ran is what is recorded."""
        self.assertEqual(self.jobs(), sorted(self.acknowledged))
        oracle.check(self.b.db, self.acknowledged, final=("done", "dead", "cancelled"))
        if not self.point.startswith("broker."):
            return
        ran = 0
        for worker in self.workers:
            if worker.is_running():
                worker.signal(signal.SIGTERM)
            self.assertEqual(worker.wait(), 0)
            match = re.search(r"ran (\d+) job", worker.err)
            ran += int(match.group(1)) if match else 0
        # Workers outlive the broker, so no crash of it makes a job run again.
        self.assertEqual(ran - self.pruned_runs, self.b.value(
            "SELECT total(attempts) FROM jobs WHERE queue = 'default'"))


class Bystanders(millrace_testing.Case):
    """Makes the file with jobs that nothing may touch."""

    def make(self):
        broker = self.broker()
        options = ("--queue", "parked")
        self.enqueue_many(broker, "echo", range(2), *options)
        self.enqueue(broker, "fail", None, "--max-attempts", "1", *options)
        retry = self.enqueue(broker, "fail", None, *options)
        worker = mrp_client.Worker(broker.endpoint, {"echo": "io", "fail": "io"}, {"io": 4},
                                   queues=["parked"])
        for item in worker.take(4):
            if item["kind"] == "echo":
                worker.ack(item, result="1")
            else:
                worker.nack(item, error="failed", delay_ms=HOUR_MS if item["job"] == retry else 0)
        worker.close()
        self.enqueue(broker, "echo", 1, "--delay", "1h", *options)
        self.enqueue(broker, "echo", 2, *options)
        self.good(broker, "job", "cancel", self.enqueue(broker, "echo", 3, *options))
        self.wait_for_states(broker, done=2, dead=1, scheduled=2, ready=1, cancelled=1)
        broker.signal(signal.SIGTERM)
        self.assertEqual(broker.wait(), 0)
        shutil.copy(broker.db, Scene.bystanders)


def check_points():
    """A name in the sources that no scene visits, or a scene whose name is not there."""
    sources, visited = points_in_sources(), {point for point, _, _ in SCENES}
    if sources == visited:
        return []
    return [("points", f"no scene visits {sorted(sources - visited)};"
             f" not in the sources: {sorted(visited - sources)}")]


def main():
    """Plays all scenes, or those whose titles hold all words of the command line."""
    words = sys.argv[1:]
    chosen = [Scene(*scene) for scene in SCENES]
    chosen = [scene for scene in chosen if all(word in scene.title for word in words)]
    # Those that wait for the loss of a worker are slow, so that they begin first.
    chosen.sort(key=lambda scene: not ("lost" in scene.title or scene.point.startswith("worker.")))
    with tempfile.TemporaryDirectory(prefix="millrace-bystanders-") as folder:
        Scene.bystanders = pathlib.Path(folder) / "millrace.db"
        problems = check_points() + parallel.run_all([Bystanders("make")], 1)
        if not problems:
            problems = parallel.run_all(chosen, PARALLEL)
    parallel.show(problems)
    points = len({scene.point for scene in chosen})
    print(f"{len(chosen)} scenes at {points} crash points, {len(problems)} problems",
          file=sys.stderr)
    sys.exit(1 if problems or not chosen else 0)
