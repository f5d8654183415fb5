"""Endpoints die, return, are drained and removed; the flows of others never notice."""

import time

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"

# The check of interval 1 s with 10 % jitter fails twice; each failure may take its timeout of 1 s.
NOTICED_MS = 2 * (1100 + 1000) + 300


def services(**options):
    return [objects.node(), objects.health_check(),
            *objects.service("web", 1, 80, layout.ANSWER_PORT, health="tcp", **options),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT, health="tcp",
                             algorithm="MAGLEV")]


def ms_into(result, moment):
    """A time.monotonic() as milliseconds after the begin of a cps run."""
    return moment * 1000 - result["begin_monotonic_ms"]


def test_new_connections_avoid_a_killed_endpoint_within_the_health_interval(site):
    site.apply(services())
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=300, interval_ms=200)
    theirs = flows.event("ready")["by_server"]
    cps = site.cps(WEB, "client-2", rate=300, seconds=60)
    host.wait_for(lambda: cps.progress()["succeeded"] > 300, "traffic")
    killed = time.monotonic()
    site.origins["web-2"].kill()
    site.wait_endpoints(4)
    noticed = time.monotonic()
    host.wait_for(lambda: cps.progress()["seconds"] * 1000 >
                  ms_into(cps.event("progress"), noticed) + 2000, "two more seconds of traffic")
    result = cps.finish()
    assert noticed - killed < NOTICED_MS / 1000
    assert 0 < result["failed"] and set(result["failed_by"]) <= {"ECONNREFUSED", "ECONNRESET",
                                                                 "ENODATA"}, result
    assert result["first_failure_ms"] >= ms_into(result, killed) - 50, result
    assert result["last_failure_ms"] <= ms_into(result, noticed) + 100, result
    ended = flows.finish()
    assert ended["broken_by_server"] == {"web-2": theirs["web-2"]}, ended
    assert ended["wrong_flow"] == 0, ended


def test_an_endpoint_that_returns_gets_new_connections_again(site):
    site.apply(services())
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=150, interval_ms=200)
    site.origins["web-3"].answer.kill()
    site.wait_endpoints(5)
    assert "web-3" not in site.cps(WEB, count=300).result()["by_server"]
    site.origins["web-3"].answer.start()
    site.wait_endpoints(6)
    result = site.cps(WEB, count=300).result()
    assert result["failed"] == 0 and result["by_server"]["web-3"]["count"] >= 90, result
    ended = flows.finish()
    assert ended["broken"] == 0, ended


def test_an_endpoint_drained_under_load_fails_nobody_and_gets_nothing_new(site):
    site.apply(services())
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=300, interval_ms=200)
    cps = site.cps(WEB, "client-2", rate=300, seconds=60)
    host.wait_for(lambda: cps.progress()["succeeded"] > 300, "traffic")
    site.shell("drain", "endpoint", "web-web-1")
    site.shell("drain", "endpoint", "flows-web-1")
    drained = time.monotonic()
    host.wait_for(lambda: ms_into(cps.progress(), drained) + 3000 <
                  cps.event("progress")["seconds"] * 1000, "three seconds of drain")
    late = cps.event("progress")
    assert late["by_server"]["web-1"]["last_ms"] <= ms_into(late, drained) + 100, late
    newer = site.flows(FLOWS, count=60).finish()
    assert "web-1" not in newer["by_server"] and newer["established"] == 60, newer
    site.shell("undrain", "endpoint", "web-web-1")
    host.wait_for(lambda: cps.progress()["by_server"]["web-1"]["last_ms"] >
                  late["by_server"]["web-1"]["last_ms"] + 1000, "web-1 to be asked again")
    result = cps.finish()
    assert result["failed"] == 0, result
    ended = flows.finish()
    assert ended["broken"] == ended["moved"] == 0, ended
    assert ended["by_server"]["web-1"] > 0


def test_removing_one_endpoint_of_three_breaks_no_flow_of_the_others(site):
    site.apply(services())
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=2000, interval_ms=1000)
    theirs = flows.event("ready")["by_server"]
    remaining = [origin for origin in layout.ORIGINS if origin.name != "web-2"]
    site.apply([objects.health_check(), *objects.service(
        "flows", 2, 7000, layout.FLOWS_PORT, health="tcp", algorithm="MAGLEV",
        origins=remaining)])
    done = flows.progress()["messages"]
    host.wait_for(lambda: flows.progress()["messages"] > done + 4000, "two more rounds")
    ended = flows.finish()
    assert set(ended["broken_by_server"]) <= {"web-2"}, ended
    assert ended["moved"] == ended["wrong_flow"] == 0, ended
    assert sum(theirs.values()) == 2000
