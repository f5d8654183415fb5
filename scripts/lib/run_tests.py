"""The part of scripts/test that comes after building: runs the runners and adds up what they say."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
BUILD_SANITIZED = ROOT / "build-sanitized"
SUITES = ("unit", "traces", "rules", "fuzz")
SANITIZED_SUITES = ("unit", "traces")
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
}


# With --long; what the unit tests send without it is in storm_test.cc.
STORM_PACKETS = 1_000_000_000
STORM_PACKETS_SANITIZED = 10_000_000


class Tally:
    def __init__(self):
        self.passed = 0
        self.failed = []
        self.reasons = {}  # of some that failed: their last words

    def add_junit(self, path, runner, status):
        """Counts the test cases of a JUnit file. A runner that fails without a failed case counts
        as one: a crash, an empty run or a file that is not there must not pass."""
        before = len(self.failed)
        cases = []
        if path.exists():
            cases = list(xml.etree.ElementTree.parse(path).getroot().iter("testcase"))
        for case in cases:
            name = f"{runner}: {case.get('classname')}.{case.get('name')}"
            # A test that did not run has not passed.
            if any(case.find(tag) is not None for tag in ("failure", "error", "skipped")):
                self.failed.append(name)
                self.reasons[name] = last_words(case)
            else:
                self.passed += 1
        if (status != 0 or not cases) and len(self.failed) == before:
            self.failed.append(f"{runner}: status {status}, {len(cases)} test cases")


def last_words(case, lines_max=12):
    """The end of what pytest, or the test itself, said of a failed case."""
    texts = [element.text for tag in ("failure", "error", "system-err", "system-out")
             for element in case.iter(tag) if element.text and element.text.strip()]
    return [line[:200] for line in texts[0].strip().splitlines()[-lines_max:]] if texts else []


def headline(text):
    print(f"\n== {text}", flush=True)


def run(command, **options):
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL,
                          **options).returncode


def existing_suites(build, tally):
    """The suites that have tests; a test that is in none of them would never run, so it fails."""
    listed = subprocess.run(["meson", "introspect", "--tests", build], capture_output=True,
                            text=True, check=True).stdout
    found = set()
    for test in json.loads(listed):
        its = {suite.rpartition(":")[2] for suite in test["suite"]} & set(SUITES)
        if not its:
            tally.failed.append(f"{test['name']}: in none of the suites {', '.join(SUITES)}")
        found |= its
    return [suite for suite in SUITES if suite in found]


def build_fuzzers(tally):
    headline("fuzz targets")
    if run(["ninja", "-C", BUILD, "fuzzers"], stdout=subprocess.DEVNULL) != 0:
        tally.failed.append("fuzz: ninja fuzzers")


def run_meson(build, suites, tally, label, environment=None):
    report = build / "meson-logs" / "testlog.junit.xml"
    report.unlink(missing_ok=True)
    command = ["meson", "test", "-C", build, "--print-errorlogs"]
    for suite in suites:
        command += ["--suite", suite]
    headline(f"{label}: {', '.join(suites)}")
    status = run(command, env={**os.environ, **(environment or {})})
    tally.add_junit(report, label, status)


def run_sanitized(suites, tally):
    headline("AddressSanitizer and UndefinedBehaviorSanitizer build")
    if not (BUILD_SANITIZED / "build.ninja").exists():
        # Optimized less: g++ takes minutes and most of a gigabyte for some files with -O2 and both.
        status = run(["meson", "setup", BUILD_SANITIZED, ROOT, "-Db_sanitize=address,undefined",
                      "-Db_lundef=false", "-Doptimization=1", "-Ddebug=false", "-Dc_args=-g1",
                      "-Dcpp_args=-g1"], stdout=subprocess.DEVNULL)
        if status != 0:
            tally.failed.append("sanitized: meson setup")
            return
    run_meson(BUILD_SANITIZED, suites, tally, "sanitized", SANITIZER_ENVIRONMENT)


def run_storm(build, count, tally, label, environment=None):
    """`count` packets of the storm, in one process for each CPU; each has a seed of its own, and says it."""
    headline(f"{label}: a storm of {count:,} packets")
    if run(["ninja", "-C", build, "tests/tools/storm"], stdout=subprocess.DEVNULL) != 0:
        tally.failed.append(f"{label}: the storm is not built")
        return
    parts = os.cpu_count()
    command = [str(build / "tests" / "tools" / "storm"), "--count", str(-(-count // parts))]
    storms = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, **(environment or {})}) for _ in range(parts)]
    for storm in storms:
        lines = storm.communicate()[0].splitlines() or ["said nothing"]
        if storm.returncode == 0:
            tally.passed += 1
            print(f"{lines[0]}: {lines[-1]}", flush=True)
        else:
            tally.failed.append(f"{label}: {lines[0]}: status {storm.returncode}")
            print("\n".join(lines), flush=True)


def run_site(expression, is_long, tally):
    headline("site")
    report = BUILD / "site.junit.xml"
    report.unlink(missing_ok=True)
    command = ["/usr/bin/python3", "-m", "pytest", ROOT / "tests" / "site", "-q", "--tb=short",
               "--durations=8", "-p", "no:cacheprovider", f"--junitxml={report}"]
    if expression:
        command += ["-k", expression]
    if is_long:
        command += ["--long"]
    status = run(command, env={**os.environ, "SLUICE_BUILD": str(BUILD)})
    tally.add_junit(report, "site", status)


def main():
    parser = argparse.ArgumentParser(prog="scripts/test")
    parser.add_argument("suites", nargs="*", help="unit, traces, rules, fuzz, site; default: all")
    parser.add_argument("-k", dest="expression", help="site tests that match, as in pytest")
    parser.add_argument("--long", action="store_true", help="also the site tests that take minutes, and the long storms")
    parser.add_argument("--no-sanitizers", action="store_true")
    arguments = parser.parse_args()
    wanted = [{"trace": "traces", "rule": "rules"}.get(suite, suite)
              for suite in arguments.suites] or [*SUITES, "site"]
    unknown = set(wanted) - {*SUITES, "site"}
    if unknown:
        parser.error(f"no such suite: {', '.join(sorted(unknown))}")

    begin = time.monotonic()
    tally = Tally()
    present = existing_suites(BUILD, tally)
    suites = [suite for suite in wanted if suite in present]
    for suite in wanted:
        if suite != "site" and suite not in present:
            tally.failed.append(f"{suite}: no tests of this suite are built")
    if "fuzz" in suites:
        build_fuzzers(tally)
    if suites:
        run_meson(BUILD, suites, tally, "plain")
    sanitized = [suite for suite in suites if suite in SANITIZED_SUITES]
    if sanitized and not arguments.no_sanitizers:
        run_sanitized(sanitized, tally)
    if arguments.long and "unit" in suites:
        run_storm(BUILD, STORM_PACKETS, tally, "plain")
        if not arguments.no_sanitizers:
            run_storm(BUILD_SANITIZED, STORM_PACKETS_SANITIZED, tally, "sanitized", SANITIZER_ENVIRONMENT)
    if "site" in wanted:
        run_site(arguments.expression, arguments.long, tally)

    headline(f"all, in {time.monotonic() - begin:.0f} s")
    for name in tally.failed:
        print("\n".join([f"FAILED {name}", *(f"    {line}" for line in tally.reasons.get(name, []))]))
    print(f"{tally.passed} passed, {len(tally.failed)} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
