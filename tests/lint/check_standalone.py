#!/usr/bin/env python3
"""Checks that the repository stands alone: it names no path of the machine it was written on, and
its files are clean enough to travel (line ends, merge marks, executable bits, links, size)."""

import os
import pathlib
import re
import stat

import lint_files

SIZE_MAX = 1 << 20

# Folders of a person, wherever the repository lies.
PERSONAL = re.compile(r"(?<![\w.$}-])/(?:home|Users)/[\w.-]+|(?<![\w.$}/-])/root/[\w.-]+")
# Parents of a repository that are too common a word to be anyone's.
COMMON_PARENTS = {"/", "/home", "/root", "/tmp", "/usr", "/usr/src", "/var", "/opt", "/srv", "/mnt",
                  "/src", "/data", "/build", "/app"}
MERGE_MARK = re.compile(r"^(?:<{7} |>{7} |={7}$)", re.MULTILINE)


def machine_paths(root):
    """A pattern for the place where this repository lies, and for what lies beside it."""
    parts = [str(root)]
    if str(root.parent) not in COMMON_PARENTS:
        parts.append(str(root.parent))
    choices = "|".join(re.escape(p) for p in parts if p not in COMMON_PARENTS)
    return re.compile(rf"(?<![\w.$}}/-])(?:{choices})(?![\w.-])") if choices else None


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def check_text(name, text, machine):
    for pattern in (PERSONAL, machine):
        for match in pattern.finditer(text) if pattern else ():
            yield f"{name}:{line_of(text, match.start())}: path of one machine: {match.group(0)}"
    for match in MERGE_MARK.finditer(text):
        if not name.endswith(".md"):
            yield f"{name}:{line_of(text, match.start())}: mark of an unfinished merge"
    if "\r\n" in text:
        yield f"{name}: line ends of DOS"
    if text and not text.endswith("\n"):
        yield f"{name}: no newline at the end"
    for match in re.finditer(r"[ \t]+$", text, re.MULTILINE):
        if name.endswith((".h", ".cpp", ".cmake", ".txt", ".sh", ".py", ".json", ".yml")):
            yield f"{name}:{line_of(text, match.start())}: space at the end of the line"


def check_mode(name, path, text):
    executable = bool(path.stat().st_mode & stat.S_IXUSR)
    shebang = text is not None and text.startswith("#!")
    if executable and not shebang:
        yield f"{name}: executable without a #! line"
    if shebang and not executable:
        yield f"{name}: has a #! line and is not executable"


def main():
    options = lint_files.arguments(__doc__)
    machine = machine_paths(options.root)
    problems = []
    names = lint_files.files(options.root)
    for name in names:
        path = options.root / name
        if path.is_symlink():
            target = pathlib.Path(os.path.realpath(path))
            if os.path.isabs(os.readlink(path)) or not target.is_relative_to(options.root):
                problems.append(f"{name}: link out of the repository")
            continue
        if path.stat().st_size > SIZE_MAX:
            problems.append(f"{name}: larger than {SIZE_MAX} bytes")
        text = lint_files.text(path)
        problems += check_mode(name, path, text)
        # Golden files hold bytes as they are.
        if text is not None and "/golden/" not in name:
            problems += check_text(name, text, machine)
    lint_files.report("standalone", problems, f"{len(names)} files")


if __name__ == "__main__":
    main()
