"""Which files belong to the repository; shared by the checks of this folder."""

import argparse
import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Folders that are never ours when the tree carries no git data (a source archive).
NOT_OURS = {".git", "build", "demo-data", "__pycache__", ".cache"}


def arguments(doc, **options):
    """Parses the options every check has; more come as name=dict(add_argument options)."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=pathlib.Path, default=REPOSITORY, help="tree to check (default: this one)"
    )
    for name, keywords in options.items():
        parser.add_argument("--" + name.replace("_", "-"), **keywords)
    parsed = parser.parse_args()
    parsed.root = parsed.root.resolve()
    return parsed


def _git_files(root):
    """Tracked files and new ones that are not ignored, or None where `root` is no git work tree."""
    listing = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z", "--cached", "--others",
         "--exclude-standard", "--full-name"],
        capture_output=True,
        check=False,
    )
    top = root / ".git"
    if listing.returncode != 0 or not top.exists():
        return None
    return [name for name in os.fsdecode(listing.stdout).split("\0") if name]


def files(root, suffixes=None):
    """Paths of the repository relative to `root`, sorted; only those with one of `suffixes`."""
    names = _git_files(root)
    if names is None:
        names = []
        for folder, folders, entries in os.walk(root):
            folders[:] = [f for f in folders if f not in NOT_OURS]
            names += [os.path.relpath(os.path.join(folder, e), root) for e in entries]
    wanted = (name for name in set(names) if (root / name).is_file())
    return sorted(n for n in wanted if suffixes is None or n.endswith(tuple(suffixes)))


def text(path):
    """Content of a text file, or None for a binary one."""
    data = path.read_bytes()
    if b"\0" in data[:8192]:
        return None
    return data.decode("utf-8", errors="replace")


def report(check, problems, checked):
    """Prints the outcome and leaves the program: 0 without problems, else 1."""
    for problem in problems:
        print(problem)
    verdict = f"{len(problems)} problems" if problems else "no problems"
    print(f"{check}: {checked}, {verdict}")
    sys.exit(1 if problems else 0)
