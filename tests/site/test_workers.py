"""Two workers: a packet that arrives on the wrong one reaches its flow's owner."""

import collections
import json

import pytest

from sluice_site import host, layout, objects

FLOWS = f"{layout.vip(2)}:7000"
WEB = f"{layout.vip(1)}:80"


@pytest.fixture
def two_workers(make_site):
    """Two lcores on af_packet ports with two queues, which spread flows without asking us."""
    site = make_site(profile="af_packet")
    site.start_appliance()
    site.apply([objects.node(workers=(0, 1), profile="af_packet", port_options={"queues": 2}),
                *objects.service("web", 1, 80, layout.ANSWER_PORT),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT, algorithm="MAGLEV"),
                *objects.service("flows-v6", 2, 7000, layout.FLOWS_PORT, family=6),
                *objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, "UDP")])
    return site


def test_replies_on_the_wrong_worker_reach_the_flows_owner(two_workers):
    site = two_workers
    assert site.ask_dataplane("status")["workers"] == 2
    tools = [site.flows(FLOWS, count=400, interval_ms=200),
             site.flows(f"[{layout.vip(2, 6)}]:7000", "client-2", count=400, interval_ms=200),
             site.flows(FLOWS, "client-2", count=200, interval_ms=200, protocol="udp")]
    result = site.cps(WEB, count=2000).result()
    assert result["failed"] == 0, result
    for tool in tools:
        host.wait_for(lambda: tool.progress()["messages"] > 10 * tool.event("ready")["flows"],
                      f"{tool.name} to echo")
    for tool in tools:
        ended = tool.finish()
        assert ended["established"] == ended["flows"], ended
        assert not any(ended[fault] for fault in (
            "broken", "wrong_bytes", "wrong_flow", "moved", "lost")), ended
    ledger = site.ask_dataplane("ledger")
    assert ledger["handed_in"] > 0, ledger
    # The kernel spreads by a secret of its own: nothing better than the ring is to be had, and it is said.
    inside = [port for port in site.ask_dataplane("ports")["ports"] if port["name"] != "outside"]
    assert all(port["steering"] == "HANDOFF" and port["steering_reason"] for port in inside), inside
    assert sum(port["first_replies_handed"] for port in inside) > 0, inside
    drops = site.drops()
    assert drops["drop.handoff_full"] == drops["drop.no_flow"] == 0, drops
    # What any worker learned is listed, and once.
    neighbors = [neighbor["address"] for neighbor in site.ask_dataplane("neighbors")["neighbors"]]
    assert len(set(neighbors)) == len(neighbors), neighbors
    assert {origin.v4 for origin in layout.ORIGINS} <= set(neighbors), neighbors


def test_no_two_live_flows_of_two_workers_share_a_snat_port(two_workers):
    site = two_workers
    tool = site.flows(FLOWS, count=2000, interval_ms=1000)
    assert tool.event("ready")["established"] == 2000
    listed = json.loads(site.shell("show", "flows", "--limit", "10000", "--json").stdout)["flows"]
    owners = {flow["lcore"] for flow in listed}
    places = [(flow["snat"], flow["endpoint"]) for flow in listed if flow.get("snat")]
    assert len(owners) == 2 and len(places) >= 2000 and len(set(places)) == len(places)
    assert tool.finish()["broken"] == 0


def test_a_connection_limit_is_reached_exactly_over_both_workers(two_workers):
    site = two_workers
    limit = 501  # no half of it is a whole number
    flows = objects.service("flows", 2, 7000, layout.FLOWS_PORT)
    flows[0]["spec"]["sluice"] = {"connection_limit": limit}
    site.apply(flows)
    tools = [site.flows(FLOWS, client, count=400, interval_ms=1000) for client in ("client-1", "client-2")]
    assert sum(tool.event("ready")["established"] for tool in tools) == limit
    listed = json.loads(site.shell("show", "flows", "--limit", "10000", "--json").stdout)["flows"]
    by_worker = collections.Counter(flow["lcore"] for flow in listed)
    assert by_worker.total() == limit and len(by_worker) == 2, by_worker
    assert site.drops()["reject.connection_limit"] >= 2 * 400 - limit
    for tool in tools:
        assert tool.finish()["broken"] == 0
