"""Fixtures of the site tests.

Each test has a site of its own, captured at all ports of the appliance. What every test must leave
behind (a clean wire, a balanced ledger, processes that end when asked) is checked here, once.
"""

import os
import pathlib
import random
import re
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from sluice_site import Site, host  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="also the tests that take minutes")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; runs with --long only")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.fixture
def make_site(request):
    """make_site(sample=None, capture=True, **options of Site): a site that is up, its appliance not
    started. Several in one test stand side by side."""
    made = []

    def make(sample=None, capture=True, **options):
        # Short: it becomes part of namespace names and of file names in hugetlbfs and bpffs.
        site = Site(f"t{os.getpid()}-{len(made)}", **options)
        made.append(site)
        site.up()
        if capture and options.get("appliance") != "kernel":
            site.capture(sample)
        return site

    yield make
    report = getattr(request.node, "call_report", None)
    has_passed = report is not None and report.passed
    try:
        if has_passed:
            for site in made:
                check_what_is_left(site)
    except BaseException:
        has_passed = False
        raise
    finally:
        stubborn = []
        for site in made:
            if not has_passed:
                keep_evidence(site, request.node.name)
            stubborn += site.down()
    assert not stubborn, f"did not end by themselves when asked to: {stubborn}"


@pytest.fixture
def site(make_site):
    """A site whose appliance runs and waits for configuration."""
    made = make_site()
    made.start_appliance()
    return made


@pytest.fixture
def dice():
    """Another order of things in each run; a failed test shows the seed, and SLUICE_SEED replays it."""
    seed = int(os.environ.get("SLUICE_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SLUICE_SEED={seed}")
    return random.Random(seed)


def check_what_is_left(site):
    if (site.dataplane and site.dataplane.is_running()
            and site.ask_dataplane("status")["state"] == "forwarding"):
        site.check_ledger()
    for capture in site.captures:
        capture.check()


def keep_evidence(site, test):
    """Logs and captures of a failed test go to build/site-failures; the logs' ends are shown too."""
    place = site.build / "site-failures" / re.sub(r"[^A-Za-z0-9_.-]", "-", test)
    for one in site.captures:
        one.stop_at_once()
    host.remove_tree(place)
    shutil.copytree(site.directory, place, ignore=lambda folder, names: [
        name for name in names if name == "files" or (pathlib.Path(folder) / name).is_socket()])
    print(f"evidence: {place}")
    for process in (site.dataplane, site.mgmt):
        if process:
            print(process.log_tail(15))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.call_report = report
