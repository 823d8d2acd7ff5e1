#!/usr/bin/env python3
"""The libraries as other programs get them: what is built is installed, the installed copy is
moved, the examples are built against it, and they run with its broker."""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import millrace_testing
from millrace_testing import REPOSITORY, Case, Finished, free_port

BUILD = millrace_testing.BIN.parent
EXAMPLES = REPOSITORY / "examples/cpp"
SKIPPED = 77

# The public headers include nothing else.
ALLOWED_INCLUDE = re.compile(r"<(?:[a-z_]+|tl/expected\.hpp|millrace/[a-z_/]+\.h)>")


def cache(name):
    text = (BUILD / "CMakeCache.txt").read_text(encoding="utf-8")
    found = re.search(rf"(?m)^{name}:\w+=(.*)$", text)
    return found.group(1) if found else ""


def run(*words):
    done = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{words} ended with {done.returncode}:\n{done.stdout}")


class Sdk(Case):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="millrace-sdk-")
        cls.addClassCleanup(folder.cleanup)
        top = pathlib.Path(folder.name)
        run("cmake", "--install", BUILD, "--prefix", top / "installed")
        cls.prefix = (top / "installed").rename(top / "moved")
        cls.examples = top / "examples"
        run("cmake", "-S", EXAMPLES, "-B", cls.examples, "-G", cache("CMAKE_GENERATOR"),
            f"-DCMAKE_PREFIX_PATH={cls.prefix}", f"-DCMAKE_CXX_COMPILER={cache('CMAKE_CXX_COMPILER')}",
            "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
        run("cmake", "--build", cls.examples, "--parallel", "1")
        millrace_testing.BIN = cls.prefix / "bin"

    def example(self, name, *words):
        return self.start([self.examples / name, *words])

    def ended(self, process):
        return Finished(process.wait(), process.out, process.err)

    def test_the_examples_work_together(self):
        broker = self.broker()
        worker = self.example("worker", broker.endpoint)

        produced = self.ended(self.example("producer", broker.endpoint))
        self.assertEqual(produced.code, 0, produced)
        self.assertEqual(sorted(produced.out.splitlines()),
                         ["text.count done 3", "text.upper done MILLRACE"])

        self.good(broker, "close", "default", "--wait")
        self.assertEqual(worker.wait(), 0, worker.err)

    def test_the_worker_stops_on_sigterm_and_on_ctrl_c(self):
        broker = self.broker()
        for number in (signal.SIGTERM, signal.SIGINT):
            worker = self.example("worker", broker.endpoint)
            worker.wait_for_line("connected to the broker")
            worker.signal(number)
            self.assertEqual(worker.wait(), 0, worker.err)

    def test_the_producer_says_when_there_is_no_broker(self):
        produced = self.ended(self.example("producer", f"tcp://127.0.0.1:{free_port()}"))
        self.assertEqual(produced.code, 69, produced)
        self.assertNotEqual(produced.err, "")

    def test_no_installed_text_names_where_it_was_built(self):
        texts = [p for p in self.prefix.rglob("*") if p.suffix in (".cmake", ".h")]
        self.assertGreater(len(texts), 8)
        for path in texts:
            text = path.read_text(encoding="utf-8")
            for place in (REPOSITORY, BUILD, self.prefix.parent):
                self.assertNotIn(str(place), text, path)

    def test_each_header_compiles_alone(self):
        headers = sorted((self.prefix / "include").rglob("*.h"))
        names = [str(h.relative_to(self.prefix / "include")) for h in headers]
        self.assertEqual(names, [f"millrace/{n}.h" for n in (
            "client", "common/errors", "common/job_request", "common/kind_options", "common/limits", "common/types", "handler", "worker")])
        for header, name in zip(headers, names):
            for include in re.findall(r"(?m)^#include (.*)$", header.read_text(encoding="utf-8")):
                self.assertRegex(include, ALLOWED_INCLUDE, name)
            unit = self.file("alone.cpp", f"#include <{name}>\n")
            run(cache("CMAKE_CXX_COMPILER"), "-std=c++20", "-Wall", "-Wextra", "-Werror",
                "-fsyntax-only", f"-I{self.prefix / 'include'}", unit)

    def test_the_page_shows_the_examples_as_they_are(self):
        page = (REPOSITORY / "docs/sdk.md").read_text(encoding="utf-8")
        blocks = re.findall(r"(?ms)^```(?:cpp|cmake)\n(.*?)^```$", page)
        for name in ("producer.cpp", "worker.cpp", "CMakeLists.txt"):
            self.assertIn((EXAMPLES / name).read_text(encoding="utf-8"), blocks, name)


if __name__ == "__main__":
    if cache("MILLRACE_SANITIZE"):
        print("a sanitized library needs programs with the same sanitizer: nothing to test here")
        sys.exit(SKIPPED)
    millrace_testing.main()
