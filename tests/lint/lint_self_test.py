#!/usr/bin/env python3
"""Feeds every check of this folder trees that break its rule, and one that keeps it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]


# Run from a git hook, these would lead our throwaway repositories to the real one.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False,
                          env=ENVIRONMENT)
    return done.returncode, done.stdout + done.stderr


class LintTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="millrace-lint-")
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()

    def write(self, name, text, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def check(self, script, *options):
        return run(sys.executable, "-B", HERE / script, "--root", self.root, *options)

    def assert_passes(self, outcome):
        self.assertEqual(outcome[0], 0, outcome[1])

    def assert_fails(self, outcome, *words):
        self.assertEqual(outcome[0], 1, outcome[1])
        for word in words:
            self.assertIn(word, outcome[1])


class Layers(LintTest):
    def setUp(self):
        super().setUp()
        self.write("common/types.h", "#pragma once\n")
        self.write("common/net/sockets.h", "#pragma once\n#include <zmq.hpp>\n")
        self.write("broker/store/query.h", '#pragma once\n#include "common/types.h"\n')
        self.write("broker/store/sqlite.h", "#pragma once\n#include <sqlite3.h>\n")
        self.write("broker/engine/engine.h", '#pragma once\n#include "common/types.h"\n')
        self.write("worker/agent.h", '#pragma once\n#include "common/net/sockets.h"\n')
        self.write("broker/main.cpp", '#include "broker/store/sqlite.h"\n#include "broker/engine/engine.h"\n')
        self.write("broker/admin/inspect.cpp", '#include "broker/store/query.h"\n')
        self.write("tests/unit/a_test.cpp", '#include "broker/store/sqlite.h"\n#include <thread>\n')

    def engine(self, text):
        self.write("broker/engine/lease.cpp", text)
        return self.check("check_layers.py")

    def test_a_tree_that_keeps_the_rules_passes(self):
        self.assert_passes(self.check("check_layers.py"))

    def test_common_includes_nothing_of_ours(self):
        self.write("common/bad.h", '#include "broker/engine/engine.h"\n')
        self.assert_fails(self.check("check_layers.py"), "common/bad.h:1", "common may not include")

    def test_engine_may_not_see_the_store(self):
        self.assert_fails(self.engine('#include "broker/store/query.h"\n'), "lease.cpp:1")

    def test_engine_may_not_see_the_network_part_of_common(self):
        self.assert_fails(self.engine('#include "common/net/sockets.h"\n'), "may not include", "reaches <zmq.hpp>")

    def test_admin_sees_only_the_query_header_of_the_store(self):
        self.write("broker/admin/replay.cpp", '#include "broker/store/sqlite.h"\n')
        self.assert_fails(self.check("check_layers.py"), "broker/admin may not include")

    def test_worker_may_not_see_the_producer(self):
        self.write("producer/client.h", "#pragma once\n")
        self.write("worker/bad.cpp", '#include "producer/client.h"\n')
        self.assert_fails(self.check("check_layers.py"), "worker may not include")

    def test_installed_headers_count_as_their_folder(self):
        self.write("producer/include/millrace/client.h", "#pragma once\n")
        self.write("worker/bad.cpp", "#include <millrace/client.h>\n")
        self.assert_fails(self.check("check_layers.py"), "worker may not include")

    def test_an_include_that_is_not_written_from_the_root_is_reported(self):
        self.write("worker/bad.cpp", '#include "agent.h"\n')
        self.assert_fails(self.check("check_layers.py"), "no file agent.h")

    def test_a_folder_without_a_row_is_reported(self):
        self.write("broker/cache/cache.h", "#pragma once\n")
        self.assert_fails(self.check("check_layers.py"), "no row in LAYERS")

    def test_engine_may_not_include_libraries_threads_or_files(self):
        for header in ("zmq.hpp", "sqlite3.h", "curl/curl.h", "thread", "mutex", "fstream"):
            with self.subTest(header=header):
                self.assert_fails(self.engine(f"#include <{header}>\n"), "lease.cpp:1")

    def test_engine_may_not_name_clocks_chance_or_sql(self):
        for code in ("auto t = std::chrono::steady_clock::now();", "std::random_device r;",
                     "auto t = UtcClock_clock ::now();", "sqlite3_step(s);", "zmq_send(a);"):
            with self.subTest(code=code):
                self.assert_fails(self.engine("\n" + code + "\n"), "lease.cpp:2", "may not name")

    def test_engine_comments_and_strings_may_name_anything(self):
        self.assert_passes(self.engine('// zmq and steady_clock::now\nconst char* s = "sqlite3";\n'))


class Format(LintTest):
    def test_well_formatted_source_passes(self):
        path = self.write("a.cpp", "int twice(int n) { return 2 * n; }\n")
        self.assert_passes(run(HERE / "check_format.sh", path))

    def test_other_formatting_fails(self):
        path = self.write("a.cpp", "int  twice( int n )\n{ return 2*n; }\n")
        self.assert_fails(run(HERE / "check_format.sh", path), "clang-format")


class Shell(LintTest):
    def test_clean_script_passes(self):
        path = self.write("a.sh", '#!/bin/bash\nrm -- "$1"\n')
        self.assert_passes(run(HERE / "check_shell.sh", path))

    def test_unquoted_variable_fails(self):
        path = self.write("a.sh", "#!/bin/bash\nrm $1\n")
        self.assert_fails(run(HERE / "check_shell.sh", path), "SC2086")

    def test_syntax_error_fails(self):
        path = self.write("a.sh", "#!/bin/bash\nif true; then\n")
        self.assertNotEqual(run(HERE / "check_shell.sh", path)[0], 0)


class SelfContained(LintTest):
    def check_headers(self):
        return self.check("check_self_contained.py", "--work", self.root / "out")

    def test_complete_header_passes(self):
        self.write("common/a.h", "#pragma once\n#include <string>\nstd::string name();\n")
        self.assert_passes(self.check_headers())

    def test_header_that_needs_another_fails(self):
        self.write("common/a.h", "#pragma once\nstd::string name();\n")
        self.assert_fails(self.check_headers(), "common/a.h does not compile alone")

    def test_header_without_pragma_once_fails(self):
        self.write("common/a.h", "int n();\n")
        self.assert_fails(self.check_headers(), "no #pragma once")


class Docs(LintTest):
    def setUp(self):
        super().setUp()
        self.write("scripts/go.sh", "#!/bin/sh\n", 0o755)
        self.write("docs/a.md", "# A page\n\n## Some *part* here\n\n[back](../README.md)\n")
        self.write("CMakePresets.json", json.dumps({"configurePresets": [{"name": "release"}]}))
        self.write("bin/millrace-producer", "#!/bin/sh\necho '  --broker ENDPOINT  --queue NAME'\n", 0o755)

    def page(self, text):
        self.write("README.md", "# Title\n\n" + text)
        return self.check("check_docs.py", "--bin", self.root / "bin")

    def test_a_page_that_keeps_its_word_passes(self):
        self.assert_passes(self.page(
            "[a](docs/a.md#some-part-here) [top](#title) [out](https://example.org/x)\n\n"
            "```sh\n./scripts/go.sh   # comment\ncmake --preset release\n"
            "build/release/bin/millrace-producer --queue a status\n```\n"))

    def test_dead_link_fails(self):
        self.assert_fails(self.page("[a](docs/b.md)\n"), "README.md:3", "docs/b.md does not exist")

    def test_dead_anchor_fails(self):
        self.assert_fails(self.page("[a](docs/a.md#other)\n"), "no heading #other")

    def test_link_out_of_the_repository_fails(self):
        self.assert_fails(self.page("[a](../../x.md)\n"), "leads out")

    def test_missing_script_fails(self):
        self.assert_fails(self.page("```sh\n./scripts/gone.sh\n```\n"), "./scripts/gone.sh does not exist")
        self.assert_fails(self.page("```console\n$ ./gone.sh --x\n```\n"), "./gone.sh does not exist")

    def test_unknown_preset_fails(self):
        self.assert_fails(self.page("```bash\ncmake --preset fast\n```\n"), "no preset fast")

    def test_unknown_option_fails(self):
        self.assert_fails(self.page("```sh\nmillrace-producer urls f.txt \\\n  --fast\n```\n"),
                          "millrace-producer has no option --fast")


class Standalone(LintTest):
    def setUp(self):
        super().setUp()
        self.root = self.root / "inner"
        self.write("a.py", "print(1)\n")

    def test_clean_tree_passes(self):
        self.assert_passes(self.check("check_standalone.py"))

    def test_paths_of_this_machine_fail(self):
        beside = self.root.parent / "other"
        for path in (self.root / "x", beside, "/home/" + "someone/x"):
            with self.subTest(path=path):
                self.write("b.txt", f"see {path}\n")
                self.assert_fails(self.check("check_standalone.py"), "b.txt:1", "path of one machine")

    def test_untidy_files_fail(self):
        for text, word in (("a\r\n", "DOS"), ("a", "no newline"), ("a \n", "space at the end"),
                           ("<" * 7 + " HEAD\n", "unfinished merge")):
            with self.subTest(word=word):
                self.write("b.txt", text)
                self.assert_fails(self.check("check_standalone.py"), word)

    def test_executable_bits_must_fit(self):
        self.write("b.sh", "#!/bin/sh\n")
        self.assert_fails(self.check("check_standalone.py"), "is not executable")
        self.write("b.sh", "echo\n", 0o755)
        self.assert_fails(self.check("check_standalone.py"), "executable without")

    def test_link_out_of_the_tree_fails(self):
        (self.root / "b").symlink_to("/etc/hostname")
        self.assert_fails(self.check("check_standalone.py"), "link out of the repository")


class Tidy(LintTest):
    def setUp(self):
        super().setUp()
        shutil.copy(REPOSITORY / ".clang-tidy", self.root)
        self.write(".gitignore", "build/\n")
        self.git("init", "-q")
        self.write("common/a.cpp", "int twice(int n) { return 2 * n; }\n")
        self.write("common/b.cpp", "int BadName(int n) { return 2 * n; }\n")
        self.git("add", ".")
        self.git("commit", "-qm", "one")
        self.write("common/a.cpp", "int thrice(int n) { return 3 * n; }\n")
        self.git("commit", "-qam", "two")

    def git(self, *command):
        settings = ("user.name=t", "user.email=t@example.org", "commit.gpgsign=false",
                    "core.hooksPath=/dev/null")
        options = [part for setting in settings for part in ("-c", setting)]
        subprocess.run(["git", "-C", str(self.root), *options, *command], check=True,
                       env=ENVIRONMENT)

    def database(self):
        entries = [{"directory": str(self.root), "file": name,
                    "command": f"c++ -std=c++20 -I. -c {name}"}
                   for name in ("common/a.cpp", "common/b.cpp")]
        self.write("build/tidy/compile_commands.json", json.dumps(entries))

    def test_without_a_compile_database_it_says_so_and_skips(self):
        code, output = self.check("check_tidy.py")
        self.assertEqual(code, 77)
        self.assertIn("SKIPPED", output)

    def test_only_what_changed_is_checked(self):
        self.database()
        outcome = self.check("check_tidy.py")
        self.assert_passes(outcome)
        self.assertIn("1 of 1 sources", outcome[1])

    def test_a_wrong_name_fails(self):
        self.database()
        self.assert_fails(self.check("check_tidy.py", "--all"), "common/b.cpp", "BadName")

    def test_a_function_over_70_lines_fails(self):
        self.database()
        self.write("common/a.cpp", "int sum(int n) {\n" + "  n += n;\n" * 75 + "  return n;\n}\n")
        self.assert_fails(self.check("check_tidy.py"), "readability-function-size")


if __name__ == "__main__":
    unittest.main()
