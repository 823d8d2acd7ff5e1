#!/usr/bin/env python3
"""Checks what the pages promise: links inside the repository lead somewhere, and the commands in
code blocks name scripts, presets, programs, commands and options that exist.

Options are looked up in the --help-all of the built program (--bin); without the program that part
is left out, and said.
"""

import json
import pathlib
import re
import shlex
import subprocess

import lint_files

FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*(\w*)")
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
SHELL = {"sh", "bash", "shell", "console"}
# A file of this repository: in one of its folders, or started with ./
SCRIPT = re.compile(r"^(?:\./)?((?:scripts|tests|examples|deps|cmake|docs|bench|\.ci)/[\w./-]*\w|\w[\w.-]*)$")
PROGRAM = re.compile(r"^(?:.*/)?(millrace-(?:broker|worker|producer))$")
PRESET = re.compile(r"--preset[ =](\S+)")


def split_page(text):
    """(prose lines, [(line number, language, code line)])"""
    prose, code, fence, language = [], [], None, ""
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if fence is None and match:
            fence, language = match.group(1), match.group(2).lower()
        elif fence is not None and match and match.group(1).startswith(fence) and not match.group(2):
            fence = None
        elif fence is not None:
            code.append((number, language, line))
        else:
            prose.append((number, line))
    return prose, code


def anchor(heading):
    """The anchor that code hosts give a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    plain = re.sub(r"[`*]", "", plain).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path):
    prose, _ = split_page(path.read_text(errors="replace"))
    found = set()
    for _, line in prose:
        match = HEADING.match(line)
        if match:
            base = name = anchor(match.group(1))
            count = 0
            while name in found:
                count += 1
                name = f"{base}-{count}"
            found.add(name)
        found.update(re.findall(r'(?:id|name)="([^"]+)"', line))
    return found


def check_links(root, page, prose):
    for number, line in prose:
        for target in LINK.findall(re.sub(r"`[^`]*`", "``", line)):
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            file, _, fragment = target.partition("#")
            path = (root / page).parent / file if file else root / page
            if not path.resolve().is_relative_to(root):
                yield f"{page}:{number}: {target} leads out of the repository"
            elif not path.exists():
                yield f"{page}:{number}: {target} does not exist"
            elif fragment and path.suffix == ".md" and fragment not in anchors(path):
                yield f"{page}:{number}: {file or page} has no heading #{fragment}"


class Programs:
    def __init__(self, folder):
        self.folder = folder
        self.helps = {}

    def help(self, program):
        if program not in self.helps:
            path = self.folder / program if self.folder else None
            if path is None or not path.is_file():
                self.helps[program] = None
            else:
                done = subprocess.run([str(path), "--help-all"], capture_output=True, text=True,
                                      timeout=20, check=False)
                if done.returncode:
                    done = subprocess.run([str(path), "--help"], capture_output=True, text=True,
                                          timeout=20, check=False)
                self.helps[program] = done.stdout + done.stderr
        return self.helps[program]


def shell_lines(code):
    """Commands of shell blocks, continuation lines joined, prompts and comments taken off."""
    pending, start = "", 0
    for number, language, line in code:
        if language not in SHELL:
            continue
        if language == "console" and not pending:
            if not line.lstrip().startswith("$ "):
                continue
            line = line.lstrip()[2:]
        start = start if pending else number
        pending += line.strip()
        if pending.endswith("\\"):
            pending = pending[:-1]
            continue
        yield start, pending
        pending = ""


def words_of(line):
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return line.split()


def presets(root):
    try:
        data = json.loads((root / "CMakePresets.json").read_text())
    except OSError:
        return set()
    kinds = ("configurePresets", "buildPresets", "testPresets", "workflowPresets")
    return {p["name"] for kind in kinds for p in data.get(kind, []) if not p.get("hidden")}


def check_program(page, number, program, words, programs):
    text = programs.help(program)
    if text is None:
        return
    for word in words:
        if word in ("|", ";", "&", "&&", "||", ">"):
            break
        option = word.split("=")[0]
        if re.fullmatch(r"--[a-z][a-z0-9-]*", option) and not re.search(
            re.escape(option) + r"(?![\w-])", text
        ):
            yield f"{page}:{number}: {program} has no option {option}"


def check_code(root, page, code, programs):
    known_presets = presets(root)
    for number, line in shell_lines(code):
        for preset in PRESET.findall(line):
            if preset.strip("\"'") not in known_presets and "<" not in preset:
                yield f"{page}:{number}: no preset {preset}"
        words = words_of(line)
        for position, word in enumerate(words):
            program = PROGRAM.match(word)
            if program:
                yield from check_program(page, number, program.group(1), words[position + 1:], programs)
            script = SCRIPT.match(word)
            if script and (word.startswith("./") or "/" in word):
                # What the commands themselves make (build/, data) is not in the tree.
                path = script.group(1)
                looks_ours = "/" in path or path.endswith((".sh", ".py"))
                if looks_ours and not (root / path).exists():
                    yield f"{page}:{number}: {word} does not exist"


def main():
    options = lint_files.arguments(
        __doc__, bin=dict(type=pathlib.Path, help="folder of the built programs")
    )
    programs = Programs(options.bin)
    problems = []
    pages = lint_files.files(options.root, (".md",))
    for page in pages:
        prose, code = split_page((options.root / page).read_text(errors="replace"))
        problems += check_links(options.root, page, prose)
        problems += check_code(options.root, page, code, programs)
    for program, text in sorted(programs.helps.items()):
        if text is None:
            print(f"docs: options of {program} NOT CHECKED, it is not built")
    lint_files.report("docs", problems, f"{len(pages)} pages")


if __name__ == "__main__":
    main()
