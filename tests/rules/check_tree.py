#!/usr/bin/python3
"""The rules of the house that can be read off the files: who may include whom, which words and calls are
where, that folders explain themselves and that every verdict is tested. A fault names file and line.

check_tree.py ROOT [--self-test]
"""

import pathlib
import re
import sys

from tap import Report

DATAPLANE = ["base", "net", "tables", "flow", "pipeline", "io", "lcore"]
MGMT = ["api", "model", "text", "schema", "health", "commit", "compile", "publish", "stats", "server", "shell"]
MGMT_MAY_USE = {layer: {"base", "net"} for layer in MGMT}
for _layer in ("compile", "publish", "stats", "server"):
    MGMT_MAY_USE[_layer] = {"base", "net", "tables"}

# Verdicts that the pipeline cannot reach, and the test that does.
TESTED_OUTSIDE_TRACES = {
    "undecided": "tests/traces/bed.cc",  # every step asserts that no packet is
    "drop_tx_full": "tests/unit/io/settle_test.cc",
    "drop_link_down": "tests/unit/io/settle_test.cc",
    "drop_handoff_full": "tests/unit/io/settle_test.cc",
    "drop_segmented": "tests/unit/dataplane/pipeline_test.cc",
    "drop_descriptor_invalid": "tests/unit/io/received_test.cc",
    "drop_pending_full": "tests/unit/dataplane/splice_test.cc",
    "drop_hello_memory_full": "tests/unit/dataplane/splice_test.cc",
    "drop_no_buffer": "tests/unit/dataplane/pipeline_test.cc",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)')
FORBIDDEN_WORDS = re.compile(r"\b(backends?|real[ _]servers?|sessions?)\b", re.IGNORECASE)
QUOTED_FORMATS = re.compile(r"pgrp session tty")  # proc(5) calls it so
CLOCKS = re.compile(r"\b(clock_gettime|gettimeofday|rte_rdtsc\w*|rte_get_\w*cycles|__rdtsc|\w+_clock::now|std::time|time\(nullptr\))\b")
EXCEPTIONS = re.compile(r"\b(throw\b|try\s*\{|catch\s*\()")
DPDK_OF_IO = ("rte_ethdev.h", "rte_mempool.h", "rte_lcore.h", "rte_mbuf.h", "rte_eal.h")
LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def sources(root, *folders):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cc", ".c") and path.is_file():
                yield path


def lines_of(path):
    return enumerate(path.read_text(errors="replace").splitlines(), 1)


def without_comment(line):
    return line.split("//", 1)[0]


def include_fault(folder, includer_layer, included):
    """Why a file of `folder`/`includer_layer` may not include this; None when it may. Layer None: main.cc."""
    parts = included.split("/")
    top = parts[0]
    if top in ("tests", "perf"):
        return "the product includes nothing of its tests"
    if folder == "dataplane":
        if top == "mgmt":
            return "the dataplane knows nothing of mgmt"
        if top == "dataplane" and includer_layer is not None and len(parts) > 2:
            if parts[1] not in DATAPLANE:
                return f"dataplane/{parts[1]} is on no map"
            if DATAPLANE.index(parts[1]) > DATAPLANE.index(includer_layer):
                return f"{includer_layer} stands below {parts[1]}"
    if folder == "mgmt" and includer_layer is not None:
        if top == "dataplane" and parts[1] not in MGMT_MAY_USE[includer_layer]:
            return f"mgmt/{includer_layer} may use of the dataplane only {', '.join(sorted(MGMT_MAY_USE[includer_layer]))}"
        if top == "mgmt" and len(parts) > 2:
            if parts[1] not in MGMT:
                return f"mgmt/{parts[1]} is on no map"
            if MGMT.index(parts[1]) > MGMT.index(includer_layer):
                return f"{includer_layer} stands below {parts[1]}"
    return None


def include_directions(root):
    for folder, layers in (("dataplane", DATAPLANE), ("mgmt", MGMT)):
        for path in sources(root, folder):
            relative = path.relative_to(root)
            layer = relative.parts[1] if len(relative.parts) > 2 else None
            if layer is not None and layer not in layers:
                yield f"{relative}: {folder}/{layer} is on no map: add it to the layers here"
                continue
            for number, line in lines_of(path):
                match = INCLUDE.match(line)
                if not match:
                    continue
                quoted, angled = match.groups()
                if quoted:
                    if "/" not in quoted and not quoted.endswith((".skel.h", ".pb.h", ".bpf.h")):
                        yield f"{relative}:{number}: includes are written from the root: {quoted}"
                    fault = include_fault(folder, layer, quoted)
                    if fault:
                        yield f"{relative}:{number}: {quoted}: {fault}"
                elif angled in DPDK_OF_IO and layer not in ("io", "lcore", None):
                    yield f"{relative}:{number}: {angled} belongs to dataplane/io and lcore"
                elif angled.startswith("rte_") and folder == "mgmt":
                    yield f"{relative}:{number}: {angled}: mgmt runs without DPDK"


def matching(root, pattern, *folders, ignore=None, in_comments=True):
    for path in sources(root, *folders):
        for number, line in lines_of(path):
            text = line if in_comments else without_comment(line)
            if pattern.search(text) and not (ignore and ignore.search(text)):
                yield f"{path.relative_to(root)}:{number}: {line.strip()}"


def folders_without_readme(root):
    for top in ("dataplane", "mgmt", "tests", "perf", "nic_profiles", "scripts"):
        if not (root / top).is_dir():
            continue
        for folder in [root / top, *sorted((root / top).iterdir())]:
            if not folder.is_dir() or folder.name in ("__pycache__", "build") or (folder / "README.md").exists():
                continue
            parents = folder.parent / "README.md"  # a small folder may be told of one level up
            if folder.parent == root or not parents.exists() or f"{folder.name}/" not in parents.read_text():
                yield f"{folder.relative_to(root)}: no README.md: what is here, what is not, who may call it, where to start"


def verdict_names(root):
    text = (root / "dataplane/pipeline/verdict.h").read_text()
    return re.findall(r"^\s*X\((\w+),", text, re.MULTILINE)


def untested_verdicts(root):
    traces = {}
    for path in sorted((root / "tests/traces").glob("*.trace")):
        for _, line in lines_of(path):
            words = line.split("#", 1)[0].split()
            if words[:1] == ["verdict"]:
                traces.update({word: path.name for word in words[1:]})
            if words[:1] == ["count"] and len(words) > 2 and words[-1] != "0":
                traces[words[1]] = path.name
    names = verdict_names(root)
    if len(names) < 20:
        yield "dataplane/pipeline/verdict.h: the list of verdicts was not found"
    for name in names:
        elsewhere = TESTED_OUTSIDE_TRACES.get(name)
        if elsewhere:
            path = root / elsewhere
            if not path.exists() or name not in path.read_text():
                yield f"{name}: is said to be tested in {elsewhere}, and is not"
        elif name not in traces:
            yield f"{name}: no trace in tests/traces ends in it"


def traces_without_sentence(root):
    for path in sorted((root / "tests/traces").glob("*.trace")):
        if not path.read_text().startswith("# "):
            yield f"{path.relative_to(root)}: the first line must say in one sentence what is shown"


def tests_that_are_not_there(root):
    text = "\n".join(path.read_text() for suffix in ("cc", "py") for path in (root / "tests").rglob(f"*_test.{suffix}"))
    text += "\n".join(path.read_text() for path in (root / "tests").rglob("test_*.py"))
    for name in re.findall(r"`([\w.]+)`", (root / "tests/catalogue.md").read_text()):
        is_there = (root / "tests/traces" / name).exists() if name.endswith(".trace") else name in text
        if not is_there and name != "name.trace":
            yield f"tests/catalogue.md: no test is called {name}"


def self_test(report):
    """The checks find what they are there to find."""
    cases = [
        ("dataplane", "net", "dataplane/tables/snapshot.h", True), ("dataplane", "tables", "dataplane/net/parse.h", False),
        ("dataplane", "lcore", "mgmt/model/objects.h", True), ("dataplane", None, "dataplane/lcore/engine.h", False),
        ("mgmt", "schema", "mgmt/compile/compile.h", True), ("mgmt", "compile", "dataplane/tables/snapshot.h", False),
        ("mgmt", "schema", "dataplane/tables/snapshot.h", True), ("mgmt", "server", "dataplane/flow/conntrack.h", True),
        ("mgmt", "model", "tests/traces/bed.h", True), ("dataplane", "flow", "dataplane/unheard/of.h", True),
    ]
    report.rule("the include rule tells right from wrong",
                [f"{case}" for case in cases if bool(include_fault(*case[:3])) != case[3]])
    words = [("a backend", True), ("real_server", True), ("the session", True), ("frontend", False), ("obsession", False)]
    report.rule("the word rule tells right from wrong",
                [text for text, is_wrong in words if bool(FORBIDDEN_WORDS.search(text)) != is_wrong])


def main():
    root = pathlib.Path(sys.argv[1]).resolve()
    report = Report()
    self_test(report)
    report.rule("no layer includes one that stands to its right (style, the map)", include_directions(root))
    report.rule("the dataplane keeps to its words (style 14)",
                matching(root, FORBIDDEN_WORDS, "dataplane", ignore=QUOTED_FORMATS))
    report.rule("no exceptions in the dataplane (style 11)", matching(root, EXCEPTIONS, "dataplane", in_comments=False))
    report.rule("time is an argument up to the pipeline (style 7)",
                matching(root, CLOCKS, *(f"dataplane/{layer}" for layer in ("net", "tables", "flow", "pipeline")), in_comments=False))
    report.rule("nothing is left for later", matching(root, LEFT_OVER, "dataplane", "mgmt", "tests", "perf"))
    report.rule("every folder explains itself (style 15)", folders_without_readme(root))
    report.rule("every verdict is tested (style 15)", untested_verdicts(root))
    report.rule("every test that earns a row exists", tests_that_are_not_there(root))
    report.rule("every trace says what it shows (style 13)", traces_without_sentence(root))
    report.end()


main()
