#!/usr/bin/python3
"""perf/compare, as somebody with two runs calls it: what is beyond the noise, what is not, and files that are no runs.

check_compare.py ROOT
"""

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1]).resolve()
sys.path.insert(0, str(ROOT / "tests" / "rules"))
sys.path.insert(0, str(ROOT / "perf" / "lib"))
sys.dont_write_bytecode = True
import results  # noqa: E402
from tap import Report  # noqa: E402

RUN = {"facts": {"machine": "one", "tsc_mhz": "2099.99"},
       "rows": [results.row("path", "ratio", [1.2, 1.3, 1.4], "x"), results.row("refused", "no VIP", [3.1e7, 3.3e7], "1/s", "higher")]}


def compare(*runs):
    """What it says of the runs, each a document or the text of a file."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder) / f"{number}.json" for number in range(len(runs))]
        for path, run in zip(paths, runs):
            path.write_text(run if isinstance(run, str) else json.dumps(run), encoding="utf-8")
        done = subprocess.run([ROOT / "perf" / "compare", *paths], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines(), done.stderr.replace(f"{folder}/", "")


def with_row(index, samples):
    run = copy.deepcopy(RUN)
    old = run["rows"][index]
    run["rows"][index] = results.row(old["group"], old["name"], samples, old["unit"], old["better"])
    return run


report = Report()
status, said, _ = compare(RUN, RUN)
report.rule("a run beside itself", [] if (status, said) == (0, ["0 rows changed beyond the noise, 2 did not."]) else said)

status, said, _ = compare(RUN, with_row(0, [1.35, 1.5, 1.6]))
report.rule("ranges that touch are noise", [] if said == ["0 rows changed beyond the noise, 2 did not."] else said)

status, said, _ = compare(RUN, with_row(0, [1.0, 1.04, 1.1]))
expected = "better    -20.0 %      1.30 -> 1.04     x       path: ratio"
report.rule("a lower ratio is better", [] if said[:1] == [expected] else said)

status, said, _ = compare(RUN, with_row(1, [2.0e7, 2.2e7]))
expected = "worse     -34.4 %    32.00M -> 21.00M   1/s     refused: no VIP"
report.rule("a lower rate is worse", [] if said[:1] == [expected] else said)

moved = copy.deepcopy(RUN)
moved["facts"] = {"machine": "another", "tsc_mhz": "2100.00"}
status, said, _ = compare(RUN, moved)
report.rule("another machine is said, the clock's last digit is not", [] if said[0] == "machine: one before, another after" and len(said) == 2 else said)

short = copy.deepcopy(RUN)
del short["rows"][1]
status, said, _ = compare(RUN, short)
report.rule("a row that is gone", [] if said[-1] == "only before: refused: no VIP" else said)

for text in ("{", "{}", "[]", "no JSON"):
    status, _, error = compare(RUN, text)
    fits = (status, error) == (1, "perf/compare: 1.json: not the JSON of a run of perf/run\n")
    report.rule(f"{text} is no run", [] if fits else [error])
done = subprocess.run([ROOT / "perf" / "compare", "none.json", "none.json"], capture_output=True, text=True, check=False)
report.rule("a file that is not there", [] if done.stderr == "perf/compare: none.json: No such file or directory\n" else [done.stderr])
report.end()
