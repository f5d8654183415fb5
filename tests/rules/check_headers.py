#!/usr/bin/python3
"""Every header compiles alone: each gets a translation unit of its own, compiled with the flags of its
neighbours, a few at a time, through ccache where there is one.

check_headers.py ROOT BUILD
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from tap import Report

FOLDERS = ("dataplane", "mgmt", "tests", "perf")
DROP_WITH_NEXT = {"-o", "-MQ", "-MF", "-MT"}
SUFFIXES = (".cc", ".cpp")
DROP = {"-c", "-MD", "-MMD", "-g", "-O0", "-O1", "-O2", "-O3"}


def flags_by_folder(root, build):
    """The compiler and flags with which the first C++ file of each folder is built."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if source.suffix not in SUFFIXES or root not in source.parents:
            continue
        folder = source.parent
        if folder.suffix == ".p":  # several files compiled together, in the build folder's image of their own folder
            folder = root / folder.parent.relative_to(build)
        words = shlex.split(entry["command"])
        kept, skip = [], False
        for word in words:
            if skip:
                skip = False
            elif word in DROP_WITH_NEXT:
                skip = True
            elif word not in DROP and not word.endswith(SUFFIXES) and not word.startswith("-fsanitize"):
                kept.append(word)
        if "ccache" in kept[0]:
            kept = kept[1:]
        found.setdefault(folder, kept)
    return found


def flags_for(header, flags, root):
    folder = header.parent
    while folder != root:
        if folder in flags:
            return flags[folder]
        folder = folder.parent
    below = (words for where, words in flags.items() if header.parent in where.parents)
    # Where other commands than meson's compile (../fuzz): the flags of what it includes.
    included = (flags.get(root / folder) for folder in re.findall(r'#include "([^"]+)/[^"]+"', header.read_text()))
    return next(below, None) or next(filter(None, included), None)


def compile_alone(header, root, build, words):
    if words is None:
        return f"{header.relative_to(root)}: nothing beside it is compiled, so its flags are unknown"
    scratch = build / "headers"
    name = str(header.relative_to(root)).replace("/", "_")
    source = scratch / f"{name}.cc"
    text = f'#include "{header.relative_to(root)}"\n'
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    ccache = ["ccache"] if shutil.which("ccache") else []
    # Objects, not -fsyntax-only: those are what ccache keeps.
    done = subprocess.run([*ccache, *words, "-O0", "-g0", "-c", str(source), "-o", str(scratch / f"{name}.o")],
                          cwd=build, capture_output=True, text=True)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
    return f"{header.relative_to(root)}: {errors[0] if errors else 'does not compile'}"


def main():
    root, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    (build / "headers").mkdir(exist_ok=True)
    flags = flags_by_folder(root, build)
    headers = [path for folder in FOLDERS if (root / folder).is_dir() for path in sorted((root / folder).rglob("*.h"))
               if not path.name.endswith(".bpf.h")]  # C for another machine, included by *.bpf.c only
    report = Report()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = pool.map(lambda header: compile_alone(header, root, build, flags_for(header, flags, root)), headers)
        report.rule(f"every header compiles alone ({len(headers)} of them)", [fault for fault in faults if fault])
    report.rule("there are headers", [] if len(headers) > 50 else [f"only {len(headers)} were found"])
    report.end()


main()
