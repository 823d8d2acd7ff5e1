#!/usr/bin/env python3
"""Tests docker-compose.yml and the Dockerfile without a container engine.

The compose file goes through `docker-compose config` and its rendered content is checked. The
Dockerfile is carried out step by step in a folder per stage: COPY copies, the packages of RUN
install_deps.sh must be installed here, cmake builds, users are made in the stage's own etc/passwd.
Then the programs that the last stage holds are started as that user, with the commands of the
compose file, and the libraries they load must come from the packages of deps/run.txt.
"""

import fnmatch
import functools
import json
import os
import pathlib
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests/lint"))
import lint_files  # noqa: E402  (found through the line above)

USER_ID = 10001
PROGRAMS = ("millrace-broker", "millrace-worker", "millrace-producer")
START_SECONDS = 20


def output(*command, **options):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True,
                          **options).stdout


def seconds(duration):
    """`1m30s` as a number of seconds."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(n) * units[u] for n, u in re.findall(r"(\d+)([hms])", duration))


# ---------------------------------------------------------------------------- compose file


@functools.cache
def compose():
    return yaml.safe_load(output("docker-compose", "--profile", "tools", "config", cwd=REPOSITORY))


class Compose(unittest.TestCase):
    def service(self, name):
        return compose()["services"][name]

    def test_there_are_broker_worker_and_producer(self):
        self.assertEqual(set(compose()["services"]), {"broker", "worker", "producer"})

    def test_broker_keeps_its_file_in_a_named_volume(self):
        broker = self.service("broker")
        self.assertIn("data:/data:rw", broker["volumes"])
        self.assertIn("data", compose()["volumes"])
        self.assertEqual(broker["command"][broker["command"].index("--db") + 1], "/data/millrace.db")

    def test_workers_scale(self):
        worker = self.service("worker")
        for key in ("container_name", "ports", "hostname"):
            self.assertNotIn(key, worker)

    def test_a_worker_that_left_at_the_sentinel_stays_gone(self):
        self.assertEqual(self.service("worker")["restart"], "on-failure")

    def test_the_stop_grace_of_a_worker_is_longer_than_its_drain(self):
        worker = self.service("worker")
        grace = worker["command"][worker["command"].index("--grace") + 1]
        self.assertGreater(seconds(worker["stop_grace_period"]), seconds(grace))

    def test_the_producer_takes_a_command(self):
        producer = self.service("producer")
        self.assertEqual(producer["entrypoint"], ["millrace-producer"])
        self.assertIn("tools", producer["profiles"])
        self.assertNotIn("restart", producer)

    def test_peers_find_the_broker_and_wait_until_it_is_healthy(self):
        broker = self.service("broker")
        self.assertEqual(broker["command"][:3], ["millrace-broker", "--listen", "tcp://0.0.0.0:7411"])
        self.assertEqual(broker["healthcheck"]["test"][:2], ["CMD", "millrace-producer"])
        for name in ("worker", "producer"):
            with self.subTest(service=name):
                service = self.service(name)
                self.assertEqual(service["environment"]["MILLRACE_BROKER"], "tcp://broker:7411")
                self.assertEqual(service["depends_on"]["broker"]["condition"], "service_healthy")
                self.assertTrue(set(service["networks"]) & set(broker["networks"]))

    def test_private_addresses_are_checked_only_when_the_shell_says_so(self):
        self.assertIsNone(self.service("worker")["environment"]["MILLRACE_ALLOW_NET"])
        rendered = yaml.safe_load(output("docker-compose", "config", cwd=REPOSITORY,
                                         env={**os.environ, "MILLRACE_ALLOW_NET": "10.0.0.0/8"}))
        environment = rendered["services"]["worker"]["environment"]
        self.assertEqual(environment["MILLRACE_ALLOW_NET"], "10.0.0.0/8")

    def test_nothing_is_open_to_the_outside(self):
        self.assertTrue(compose()["networks"]["queue"]["internal"])
        for name, service in compose()["services"].items():
            self.assertNotIn("ports", service, name)
        self.assertEqual(list(self.service("broker")["networks"]), ["queue"])

    def test_every_service_has_few_rights_and_bounds(self):
        for name, service in compose()["services"].items():
            with self.subTest(service=name):
                self.assertEqual(service["user"], f"{USER_ID}:{USER_ID}")
                self.assertTrue(service["read_only"])
                self.assertTrue(service["init"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertIn("no-new-privileges:true", service["security_opt"])
                self.assertIn("mem_limit", service)
                self.assertNotIn("privileged", service)
                self.assertNotIn("cap_add", service)


# ---------------------------------------------------------------------------- Dockerfile


def instructions(text):
    """(instruction, argument text) of a Dockerfile, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def context_files():
    """The files that .dockerignore lets through."""
    patterns = [p for p in (REPOSITORY / ".dockerignore").read_text().split("\n")
                if p and not p.startswith("#")]
    for name in lint_files.files(REPOSITORY):
        parents = [name, *(str(p) for p in pathlib.PurePath(name).parents)]
        hidden = any(
            fnmatch.fnmatch(part, p) or (p.startswith("**/") and fnmatch.fnmatch(part, p[3:]))
            for p in patterns for part in parents
        )
        if not hidden:
            yield name


class Stage:
    """One FROM section, carried out below `root`."""

    def __init__(self, base, root):
        self.base = base
        self.root = root
        self.workdir = "/"
        self.environment = {}
        self.settings = {}
        (root / "etc").mkdir(parents=True)
        for name in ("passwd", "group", "shadow", "gshadow", "login.defs"):
            source = pathlib.Path("/etc") / name
            if name == "login.defs" and source.exists():
                shutil.copy(source, root / "etc")
            else:
                (root / "etc" / name).touch()

    def path(self, inside):
        """Where a path of the image lies here."""
        return self.root / os.path.join(self.workdir, inside).lstrip("/")


class Image:
    """The Dockerfile carried out; a step that this class does not know is an error on purpose."""

    def __init__(self, folder):
        self.folder = folder
        self.stages = {}
        self.stage = None
        self.packages = set()
        for word, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
            getattr(self, "do_" + word.lower())(rest)

    def do_from(self, rest):
        match = re.fullmatch(r"(\S+) AS (\S+)", rest, re.IGNORECASE)
        name = match.group(2)
        self.stage = self.stages[name] = Stage(match.group(1), self.folder / name)

    def do_workdir(self, rest):
        self.stage.workdir = os.path.join(self.stage.workdir, rest)
        self.stage.path(".").mkdir(parents=True, exist_ok=True)

    def do_copy(self, rest):
        *words, target = shlex.split(rest)
        source_stage = None
        if words[0].startswith("--from="):
            source_stage = self.stages[words.pop(0).removeprefix("--from=")]
        for source in words:
            if source_stage:
                self._copy_tree(source_stage.path(source), self.stage.path(target))
            else:
                self._copy_context(source, target)

    @staticmethod
    def _copy_tree(source, target):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)

    def _copy_context(self, source, target):
        source = os.path.normpath(source)
        copied = 0
        for name in context_files():
            if source == "." or name.startswith(source + "/"):
                relative = os.path.relpath(name, source)
            elif name == source:
                relative = os.path.basename(name) if target.endswith("/") else ""
            else:
                continue
            destination = self.stage.path(target) / relative if relative else self.stage.path(target)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, destination)
            copied += 1
        if not copied:
            raise AssertionError(f"COPY {source}: .dockerignore hides it, or it does not exist")

    def do_run(self, rest):
        for command in rest.split("&&"):
            self._run(shlex.split(command))

    def _run(self, words):
        tool = os.path.basename(words[0])
        if tool == "rm" and words[-1] == "/var/lib/apt/lists/*":
            return
        if tool == "install_deps.sh":
            self._check_packages(words)
            return
        if tool in ("groupadd", "useradd"):
            if os.getuid() == 0:
                subprocess.run([words[0], "--prefix", str(self.stage.root), *words[1:]], check=True)
            return
        if tool == "install" and os.getuid() != 0:
            words = ["install", "-d", words[-1]]
        if tool not in ("cmake", "install"):
            raise AssertionError(f"RUN {tool}: teach this test how to carry it out")
        here = [str(self.stage.path(w)) if w.startswith("/") else w for w in words]
        done = subprocess.run(here, cwd=self.stage.path("."), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise AssertionError(f"RUN {shlex.join(words)} failed:\n{done.stdout[-8000:]}")

    def _check_packages(self, words):
        script = self.stage.path(words[0])
        subprocess.run([str(script), "--check", *words[1:]], check=True)
        self.packages = {
            line.split("#")[0].strip()
            for name in words[1:]
            for line in (script.parent.parent / "deps" / f"{name}.txt").read_text().splitlines()
        } - {""}

    def do_env(self, rest):
        self.stage.environment.update(pair.split("=", 1) for pair in shlex.split(rest))

    def _set(self, name, rest):
        self.stage.settings[name] = rest

    do_user = functools.partialmethod(_set, "user")
    do_volume = functools.partialmethod(_set, "volume")
    do_expose = functools.partialmethod(_set, "expose")
    do_stopsignal = functools.partialmethod(_set, "stopsignal")
    do_healthcheck = functools.partialmethod(_set, "healthcheck")
    do_cmd = functools.partialmethod(_set, "cmd")


def with_dependencies(packages):
    """`packages`, what every Debian system has, and all that these depend on."""
    depends, provides = {}, {}
    listing = output("dpkg-query", "-W", "-f=${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\n")
    todo = list(packages)
    for line in listing.splitlines():
        name, essential, needs, gives = line.split("\t")
        depends[name] = re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", needs)
        for virtual in re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]*)", gives):
            provides.setdefault(virtual, []).append(name)
        if essential == "yes":
            todo.append(name)
    seen = set()
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += depends.get(name, []) + provides.get(name, [])
    return seen


@functools.cache
def package_of(library):
    """The Debian package that owns a library; merged /usr gives a path two spellings."""
    spellings = {library, os.path.realpath(library)}
    spellings |= {s.removeprefix("/usr") for s in spellings}
    spellings |= {"/usr" + s for s in spellings if not s.startswith("/usr")}
    for spelling in spellings:
        found = subprocess.run(["dpkg-query", "-S", spelling], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return found.stdout.split(":")[0]
    return None


class Process:
    """A program of the image, running as the image's user."""

    def __init__(self, image, words, **environment):
        stage = image.stages["runtime"]
        command = [str(stage.path(f"/usr/local/bin/{words[0]}")), *words[1:]]
        if os.getuid() == 0:
            command = ["setpriv", f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", *command]
        inside = {n: str(stage.path(v)) if v.startswith("/") else v for n, v in stage.environment.items()}
        self.popen = subprocess.Popen(
            command, cwd=stage.path("/data"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **inside, **environment})
        self.lines = queue.Queue()

    def wait_for(self, word):
        """The first line of stderr that holds `word`; what follows is read and dropped."""
        def pump():
            for line in self.popen.stderr:
                self.lines.put(line)
            self.lines.put(None)
        threading.Thread(target=pump, daemon=True).start()
        seen, end = [], time.monotonic() + START_SECONDS
        while True:
            line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            if line is None:
                raise AssertionError(f"the program ended without `{word}`: {seen}")
            seen.append(line)
            if word in line:
                return line

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self.popen.stdout.close()
        self.popen.stderr.close()


class Dockerfile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-image-")
        cls.addClassCleanup(folder.cleanup)
        root = pathlib.Path(folder.name)
        root.chmod(0o755)
        cls.image = Image(root)
        cls.runtime = cls.image.stages["runtime"]

    def start(self, words, **environment):
        process = Process(self.image, words, **environment)
        self.addCleanup(process.kill)
        return process

    def run_to_end(self, words, **environment):
        process = self.start(words, **environment)
        out, err = process.popen.communicate(timeout=60)
        return process.popen.returncode, out, err

    def start_broker(self):
        """The image's own command, on a free port of this machine. Returns it and its endpoint."""
        words = json.loads(self.runtime.settings["cmd"])
        self.assertEqual(words[1:3], ["--listen", "tcp://0.0.0.0:7411"])
        words[2] = "tcp://127.0.0.1:*"
        broker = self.start(words)
        return broker, broker.wait_for("ready").split()[-1]

    def test_both_stages_start_from_the_same_slim_base(self):
        self.assertEqual({s.base for s in self.image.stages.values()}, {"debian:bookworm-slim"})

    def test_the_image_runs_as_a_user_without_rights(self):
        self.assertEqual(self.runtime.settings["user"], f"{USER_ID}:{USER_ID}")
        self.assertEqual(self.runtime.settings["stopsignal"], "SIGTERM")
        self.assertEqual(self.runtime.settings["volume"], "/data")
        if os.getuid() == 0:
            passwd = (self.runtime.root / "etc/passwd").read_text()
            self.assertRegex(passwd, rf"(?m)^millrace:x:{USER_ID}:{USER_ID}:.*nologin$")
            self.assertEqual(self.runtime.path("/data").stat().st_uid, USER_ID)

    def test_the_image_holds_the_three_programs_and_no_more(self):
        names = sorted(p.name for p in self.runtime.path("/usr/local/bin").iterdir())
        self.assertEqual(names, sorted(PROGRAMS))
        for name in names:
            code, out, err = self.run_to_end([name, "--version"])
            self.assertEqual(code, 0, err)
            self.assertRegex(out, r"\d+\.\d+\.\d+")

    def test_libraries_come_from_the_packages_of_the_runtime_stage(self):
        brought = with_dependencies(self.image.packages)
        for name in PROGRAMS:
            listing = output("ldd", self.runtime.path(f"/usr/local/bin/{name}"))
            self.assertNotIn("not found", listing)
            for library in re.findall(r"(?:=> |^\s)(/\S+)", listing, re.MULTILINE):
                self.assertIn(package_of(library), brought, f"{name} loads {library}")

    def test_programs_carry_no_path_of_the_machine_that_built_them(self):
        for name in PROGRAMS:
            content = self.runtime.path(f"/usr/local/bin/{name}").read_bytes()
            self.assertNotIn(str(self.image.folder).encode(), content, name)

    def test_broker_worker_and_producer_work_as_the_compose_file_starts_them(self):
        broker, endpoint = self.start_broker()
        health = json.loads(re.search(r"CMD (\[.*\])", self.runtime.settings["healthcheck"]).group(1))
        code, _, err = self.run_to_end(health, MILLRACE_BROKER=endpoint)
        self.assertEqual(code, 0, err)

        worker = self.start(compose()["services"]["worker"]["command"], MILLRACE_BROKER=endpoint)
        producer = compose()["services"]["producer"]["entrypoint"]
        code, out, err = self.run_to_end([*producer, "primes", "1", "100000"], MILLRACE_BROKER=endpoint)
        self.assertEqual((code, out.strip()), (0, "9592"), err)
        code, _, err = self.run_to_end([*producer, "close", "default", "--wait"], MILLRACE_BROKER=endpoint)
        self.assertEqual(code, 0, err)
        self.assertEqual(worker.popen.wait(timeout=20), 0)

        broker.popen.send_signal(getattr(signal, self.runtime.settings["stopsignal"]))
        self.assertEqual(broker.popen.wait(timeout=30), 0)
        self.assertTrue(self.runtime.path("/data/millrace.db").is_file())


if __name__ == "__main__":
    unittest.main()
