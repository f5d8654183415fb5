"""Fixtures of the site tests. Each test has a site of its own; what every test must leave behind,
a clean wire and a balanced ledger, is checked here and not in the tests."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from sluice_site import Site  # noqa: E402


@pytest.fixture
def make_site(request):
    """make_site(...) makes further sites of the test, with options; the last made is checked too."""
    made = []

    def make(**options):
        # Short: it becomes part of namespace names and of file names in hugetlbfs and bpffs.
        site = Site(f"t{os.getpid()}-{len(made)}", **options)
        made.append(site)
        site.up()
        return site

    yield make
    stubborn = []
    for site in made:
        stubborn += site.down()
    assert not stubborn, f"did not end by themselves: {stubborn}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    # Fixtures look here: a test that failed already needs no further complaints.
    report = (yield).get_result()
    setattr(item, f"report_{report.when}", report)


def has_failed(request):
    report = getattr(request.node, "report_call", None)
    return report is None or report.failed
