"""SNAT ports: what happens when they run out, and with more than one worker."""

import json

import pytest

from sluice_site import host, layout, objects

FLOWS = f"{layout.vip(2)}:7000"
WEB = f"{layout.vip(1)}:80"
ONE_ORIGIN = layout.ORIGINS[:1]


def small_pool(**options):
    return [objects.node(snat_ports=(40000, 40099),
                         timeouts={"tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s",
                                   "tcp_reset": "1s"}, **options),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=ONE_ORIGIN)]


def test_snat_ports_run_out_exactly_at_their_number_and_are_named(site):
    site.apply(small_pool())
    full = site.flows(FLOWS, count=100, interval_ms=200)
    assert full.event("ready")["established"] == 100
    over = site.flows(FLOWS, "client-2", count=10, open_timeout_ms=1500)
    assert over.event("ready")["failed_to_open"] == 10
    assert site.drops()["drop.snat_ports_exhausted"] >= 10
    over.finish()
    ended = full.finish()
    assert ended["broken"] == ended["stalled"] == ended["wrong_flow"] == 0, ended
    served = site.origins["web-1"].flows.finish()
    assert (served["wrong_flow"], served["wrong_bytes"]) == (0, 0), served


def test_snat_ports_come_back_when_flows_end(site):
    site.apply(small_pool())
    full = site.flows(FLOWS, count=90, interval_ms=200)
    ten = site.flows(FLOWS, "client-2", count=10, interval_ms=200)
    assert ten.event("ready")["established"] == 10
    ten.finish()

    def again():
        tool = site.flows(FLOWS, "client-2", count=10, open_timeout_ms=1500)
        return tool.finish()["established"] == 10
    host.wait_for(again, "ten connections to open again", 20)
    ended = full.finish()
    assert ended["broken"] == ended["stalled"] == ended["wrong_flow"] == 0, ended


@pytest.fixture
def two_workers(make_site):
    """Two lcores on af_packet ports with two queues, which spread flows without asking us."""
    site = make_site()
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
            "broken", "stalled", "wrong_bytes", "wrong_flow", "moved", "lost")), ended
    ledger = site.ask_dataplane("ledger")
    assert ledger["handed_in"] > 0, ledger
    drops = site.drops()
    assert drops["drop.handoff_full"] == drops["drop.no_flow"] == 0, drops


def test_no_two_live_flows_of_two_workers_share_a_snat_port(two_workers):
    site = two_workers
    tool = site.flows(FLOWS, count=2000, interval_ms=1000)
    assert tool.event("ready")["established"] == 2000
    listed = json.loads(site.shell("show", "flows", "--limit", "10000", "--json").stdout)["flows"]
    owners = {flow["lcore"] for flow in listed}
    places = [(flow["snat"], flow["endpoint"]) for flow in listed if flow.get("snat")]
    assert len(owners) == 2 and len(places) >= 2000 and len(set(places)) == len(places)
    assert tool.finish()["broken"] == 0
