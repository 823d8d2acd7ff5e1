#!/usr/bin/env python3
"""Runs clang-tidy over the C++ sources that changed: those of the work tree that are not committed,
and those of the last commit (or of everything since --base). --all takes every source.

A changed header is checked through the source beside it, or else through one source that includes
it. A source that passed once is not run again until it, a header of ours that it includes, or
.clang-tidy changes. Exit 77: no compile database (cmake --preset tidy writes one).
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import lint_files

# Bump when this script changes what a pass means.
STAMP_VERSION = "1"
# The empty tree of every git repository: the base of a history with one commit.
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def git(root, *command):
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(root), *command],
        capture_output=True, text=True, check=False,
    )
    return done.stdout.splitlines() if done.returncode == 0 else None


def changed_files(root, base):
    """Names that differ from `base`, committed or not, with new files that are not ignored."""
    if base is None:
        # A clone of depth 1, or the first commit, has no parent.
        base = "HEAD~1" if git(root, "rev-parse", "-q", "--verify", "HEAD~1") else EMPTY_TREE
    names = git(root, "diff", "--name-only", "--diff-filter=d", base)
    if names is None:
        return None
    return set(names) | set(git(root, "ls-files", "--others", "--exclude-standard") or [])


def database(options):
    candidates = [options.build] if options.build else [
        options.root / "build" / preset for preset in ("tidy", "dev", "release")
    ]
    for folder in candidates:
        if (folder / "compile_commands.json").is_file():
            return folder
    return None


class Sources:
    """The sources that the compile database knows, and which headers of ours each one includes."""

    def __init__(self, root, folder):
        self.root = root
        entries = json.loads((folder / "compile_commands.json").read_text())
        paths = {(pathlib.Path(e["directory"]) / e["file"]).resolve() for e in entries}
        ours = set(lint_files.files(root, (".cpp",)))
        self.names = sorted(
            n for n in (os.path.relpath(p, root) for p in paths) if n in ours
        )
        self.closures = {}

    def closure(self, name):
        """`name` and all headers of ours below it."""
        if name not in self.closures:
            seen, todo = set(), [name]
            while todo:
                current = todo.pop()
                if current in seen or not (self.root / current).is_file():
                    continue
                seen.add(current)
                todo += INCLUDE.findall((self.root / current).read_text(errors="replace"))
            self.closures[name] = seen
        return self.closures[name]

    def touched_by(self, changed):
        wanted = {name for name in self.names if name in changed}
        for header in (name for name in changed if name.endswith(".h")):
            beside = header[:-2] + ".cpp"
            users = [n for n in self.names if header in self.closure(n)]
            if beside in self.names:
                wanted.add(beside)
            elif users and not wanted.intersection(users):
                wanted.add(min(users, key=lambda n: len(self.closure(n))))
        return sorted(wanted)

    def fingerprint(self, name):
        digest = hashlib.sha256(STAMP_VERSION.encode())
        digest.update((self.root / ".clang-tidy").read_bytes())
        for part in sorted(self.closure(name)):
            digest.update(part.encode() + b"\0" + (self.root / part).read_bytes())
        return digest.hexdigest()


def tidy(binary, root, folder, name):
    done = subprocess.run(
        [binary, "-p", str(folder), "--quiet", f"--config-file={root / '.clang-tidy'}",
         # A database of g++ names options that clang does not know.
         "--extra-arg=-Wno-unknown-warning-option", str(root / name)],
        capture_output=True, text=True, check=False,
    )
    # Every run counts the warnings of system headers on stderr, which says nothing.
    complaints = [line for line in done.stderr.splitlines() if " generated." not in line]
    return done.returncode == 0, done.stdout + "\n".join(complaints)


def main():
    options = lint_files.arguments(
        __doc__,
        all=dict(action="store_true", help="every source, not only the changed ones"),
        base=dict(help="commit to compare with (default: the parent of HEAD)"),
        build=dict(type=pathlib.Path, help="folder with compile_commands.json"),
        seconds=dict(type=float, default=float("inf"),
                     help="start no further source after this long, and say how many are left"),
        jobs=dict(type=int, default=os.cpu_count() or 1),
    )
    folder = database(options)
    if folder is None:
        print("tidy: SKIPPED, no compile_commands.json; write one by: cmake --preset tidy")
        sys.exit(77)
    binary = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")
    if binary is None:
        print("tidy: clang-tidy is missing (deps/test.txt)")
        sys.exit(1)

    sources = Sources(options.root, folder)
    changed = None if options.all else changed_files(options.root, options.base)
    wanted = sources.names if changed is None else sources.touched_by(changed)
    stamps = folder / "tidy-stamps"
    stamps.mkdir(exist_ok=True)
    started = time.monotonic()
    problems, left = [], []

    def run(name):
        stamp = stamps / sources.fingerprint(name)
        if stamp.exists():
            return
        if time.monotonic() - started > options.seconds:
            left.append(name)
            return
        passed, output = tidy(binary, options.root, folder, name)
        if passed:
            stamp.write_text(name + "\n")
        else:
            problems.append(f"{name}:\n{output}")

    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        list(pool.map(run, wanted))
    if left:
        print(f"tidy: NOT CHECKED after {options.seconds:.0f} s, the next run goes on there: "
              + " ".join(sorted(left)))
    lint_files.report("tidy", sorted(problems), f"{len(wanted) - len(left)} of {len(wanted)} sources")


if __name__ == "__main__":
    main()
