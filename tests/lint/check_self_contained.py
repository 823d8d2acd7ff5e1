#!/usr/bin/env python3
"""Compiles each header alone: whoever includes one needs to include nothing before it.

With ccache, a header that did not change costs next to nothing.
"""

import concurrent.futures
import os
import pathlib
import shutil
import subprocess

import lint_files

# Deprecated declarations and the like are the business of the build; here only errors count.
FLAGS = ["-std=c++20", "-O0", "-w", "-pthread"]


def compile_alone(options, compiler, name):
    """Returns the compiler's complaints, or None."""
    unit = options.work / (name.replace("/", "_") + ".cpp")
    content = f'#include "{name}"\n'
    if not unit.exists() or unit.read_text() != content:
        unit.write_text(content)
    includes = [options.root, options.generated, options.root / "producer/include",
                options.root / "worker/include"]
    done = subprocess.run(
        [*compiler, *FLAGS, *(f"-I{folder}" for folder in includes), "-c", str(unit), "-o",
         str(unit.with_suffix(".o"))],
        capture_output=True, text=True, check=False,
    )
    return None if done.returncode == 0 else f"{name} does not compile alone:\n{done.stderr}"


def main():
    options = lint_files.arguments(
        __doc__,
        compiler=dict(default="g++"),
        generated=dict(type=pathlib.Path, default=lint_files.REPOSITORY / "build/release/generated",
                       help="folder of the generated headers"),
        work=dict(type=pathlib.Path, default=lint_files.REPOSITORY / "build/self_contained"),
        jobs=dict(type=int, default=os.cpu_count() or 1),
    )
    options.work.mkdir(parents=True, exist_ok=True)
    compiler = [options.compiler]
    if shutil.which("ccache"):
        compiler.insert(0, "ccache")
    headers = [
        name for name in lint_files.files(options.root, (".h",))
        if name.split("/")[0] in ("common", "broker", "worker", "producer", "tests", "bench")
    ]
    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs) as pool:
        outcomes = pool.map(lambda name: compile_alone(options, compiler, name), headers)
        problems = [text for text in outcomes if text]
    for name in headers:
        if "#pragma once" not in (lint_files.text(options.root / name) or ""):
            problems.append(f"{name}: no #pragma once")
    lint_files.report("self_contained", problems, f"{len(headers)} headers")


if __name__ == "__main__":
    main()
