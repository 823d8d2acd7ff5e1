#!/usr/bin/env python3
"""Checks which folder includes which, and that the engine stays free of I/O, clocks and chance.

The table below is the rule. A file belongs to the longest folder that matches; a folder may always
include itself. Files straight in broker/ (main, app) see everything: they put the parts together.
"""

import re

import lint_files

ALL = None

# folder -> what it may include besides itself: folders, or single headers.
LAYERS = {
    "common": [],
    "broker": ALL,
    "broker/engine": ["common"],
    "broker/store": ["common", "broker/engine"],
    "broker/front": ["common", "broker/engine"],
    "broker/admin": ["common", "broker/engine", "broker/store/query.h"],
    "broker/http": ["common", "broker/admin", "broker/store/query.h"],
    "worker": ["common"],
    "producer": ["common"],
}

# Even what a layer may see at large can have corners it may not.
FORBIDDEN_INCLUDES = {
    "broker/engine": ["common/net"],
}

# What the engine may not name: it decides from its arguments alone.
ENGINE = "broker/engine"
ENGINE_HEADERS = re.compile(
    r"^(zmq|sqlite3|curl|thread$|mutex$|shared_mutex$|condition_variable$|future$|fstream$|iostream$"
    r"|filesystem$|random$|ctime$|sys/|unistd\.h$|time\.h$)"
)
ENGINE_WORDS = re.compile(
    r"\b(zmq\w*|sqlite3\w*|curl\w*|\w*_clock\s*::\s*now|random_device|std\s*::\s*j?thread"
    r"|std\s*::\s*\w*mutex|getenv)\b"
)
# Libraries that must not reach the engine through a header of common either.
ENGINE_LIBRARIES = re.compile(r"^(zmq|sqlite3|curl)")

GENERATED = {"millrace_version.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)
COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL
)


def within(name, folder):
    return name == folder or name.startswith(folder + "/")


def layer_of(name):
    """The folder of LAYERS that holds the file, or None for one that is not ruled (tests, bench)."""
    holding = [folder for folder in LAYERS if within(name, folder)]
    layer = max(holding, key=len, default=None)
    if layer == "broker" and name.count("/") > 1:
        return "broker/" + name.split("/")[1]
    return layer


def blanked(match):
    return re.sub(r"[^\n]", " ", match.group(0))


class Tree:
    def __init__(self, root):
        self.root = root
        self.names = set(lint_files.files(root, (".h", ".cpp")))
        self.texts = {name: lint_files.text(root / name) or "" for name in self.names}

    def installed(self, header):
        """File behind `#include <millrace/...>`, if it is one of ours."""
        for folder in ("producer/include/", "worker/include/"):
            if folder + header in self.names:
                return folder + header
        return None

    def includes(self, name):
        """(line, header, quoted) of each include."""
        text = self.texts[name]
        for match in INCLUDE.finditer(text):
            line = text.count("\n", 0, match.start(1 if match.group(1) else 2)) + 1
            yield line, match.group(1) or match.group(2), match.group(1) is not None

    def reaches(self, name, seen):
        """Libraries that `name` includes through our own headers, with the header that does."""
        for _, header, _ in self.includes(name):
            if ENGINE_LIBRARIES.match(header):
                yield name, header
            elif header in self.names and header not in seen:
                seen.add(header)
                yield from self.reaches(header, seen)


def check_includes(tree, name, layer):
    allowed = LAYERS[layer]
    for line, header, quoted in tree.includes(name):
        target = header if quoted else tree.installed(header)
        if target is None or target in GENERATED:
            continue
        if target not in tree.names:
            yield f"{name}:{line}: no file {target}; write includes from the repository root"
            continue
        if allowed is ALL or within(target, layer):
            continue
        forbidden = any(within(target, f) for f in FORBIDDEN_INCLUDES.get(layer, []))
        if forbidden or not any(within(target, a) for a in allowed):
            yield f"{name}:{line}: {layer} may not include {target} (see LAYERS in check_layers.py)"


def check_engine(tree, name):
    for line, header, _ in tree.includes(name):
        if ENGINE_HEADERS.match(header):
            yield f"{name}:{line}: the engine may not include <{header}>"
    code = COMMENT_OR_STRING.sub(blanked, tree.texts[name])
    for match in ENGINE_WORDS.finditer(code):
        line = code.count("\n", 0, match.start()) + 1
        yield f"{name}:{line}: the engine may not name {match.group(0)}"
    for through, header in tree.reaches(name, set()):
        if through != name:
            yield f"{name}: the engine reaches <{header}> through {through}"


def main():
    options = lint_files.arguments(__doc__)
    tree = Tree(options.root)
    problems = []
    checked = 0
    for name in sorted(tree.names):
        layer = layer_of(name)
        if layer is None:
            continue
        checked += 1
        if layer not in LAYERS:
            problems.append(f"{name}: folder {layer} has no row in LAYERS of check_layers.py")
            continue
        problems += check_includes(tree, name, layer)
        if layer == ENGINE:
            problems += check_engine(tree, name)
    lint_files.report("layers", problems, f"{checked} files")


if __name__ == "__main__":
    main()
