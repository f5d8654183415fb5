"""SNAT ports and flow records run out: exactly at their number, by name, and not for ever."""

import itertools

import pytest

from sluice_site import host, layout, objects
from sluice_site.network import extra_sources

FLOWS = f"{layout.vip(2)}:7000"
ONE_ORIGIN = layout.ORIGINS[:1]


def small_pool(**options):
    return [objects.node(snat_ports=(40000, 40099),
                         timeouts={"tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s",
                                   "tcp_reset": "1s"}, **options),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=ONE_ORIGIN)]


def wait_ended(site, remaining):
    """Until the records of closed flows are free. Trying would only make new ones."""
    host.wait_for(lambda: site.ask_dataplane("status")["flows_in_use"] <= remaining,
                  "the closed flows to be forgotten", 20)


def test_snat_ports_run_out_exactly_at_their_number_and_are_named(site):
    site.apply(small_pool())
    full = site.flows(FLOWS, count=100, interval_ms=200)
    assert full.event("ready")["established"] == 100
    over = site.flows(FLOWS, "client-2", count=10, open_timeout_ms=1500)
    assert over.event("ready")["failed_to_open"] == 10
    assert site.drops()["drop.snat_ports_exhausted"] >= 10
    over.finish()
    ended = full.finish()
    assert ended["broken"] == ended["wrong_flow"] == 0, ended
    served = site.origins["web-1"].flows.finish()
    assert (served["wrong_flow"], served["wrong_bytes"]) == (0, 0), served


def test_snat_ports_come_back_when_flows_end(site):
    site.apply(small_pool())
    full = site.flows(FLOWS, count=90, interval_ms=200)
    ten = site.flows(FLOWS, "client-2", count=10, interval_ms=200)
    assert ten.event("ready")["established"] == 10
    ten.finish()

    wait_ended(site, 90)
    again = site.flows(FLOWS, "client-2", count=10, interval_ms=200)
    assert again.finish()["established"] == 10
    ended = full.finish()
    assert ended["broken"] == ended["wrong_flow"] == 0, ended


def test_a_full_flow_table_refuses_new_flows_by_name_and_keeps_the_old(site):
    site.apply([objects.node(capacity=1024, timeouts={
                    "tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s",
                    "tcp_reset": "1s"}),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT)])
    capacity = site.ask_dataplane("status")["flows_capacity"]
    assert 1024 <= capacity <= 4096, capacity
    first = site.flows(FLOWS, count=900, interval_ms=500)
    assert first.event("ready")["established"] == 900
    over = site.flows(FLOWS, "client-2", count=capacity, open_timeout_ms=1500)
    ready = over.event("ready")
    assert ready["established"] == capacity - 900, ready
    assert ready["failed_by"] == {"ETIMEDOUT": 900}, ready
    assert site.drops()["drop.flows_full"] >= 900
    over.finish()

    wait_ended(site, 900)
    again = site.flows(FLOWS, "client-2", count=50)
    assert again.finish()["established"] == 50
    ended = first.finish()
    assert ended["broken"] == ended["wrong_flow"] == 0, ended


# Each endpoint and family has the thousand ports for itself. A port is free again a second after both FINs, and the sweep sees
# it up to two seconds later: 333 connections a second at least. The endpoint closes first, so that its TIME_WAIT (60 s) outlives
# that by far, and every SYN of the later connections meets one.
CHURN_PORTS = (40000, 40999)
CHURN_RATE = 250  # of each endpoint and family


def churn(site, connections):
    """That many connections, over as few ports as that; the results of the four that opened them."""
    origins = layout.ORIGINS[:2]
    for machine in ("client-1", "client-2", *(origin.name for origin in origins)):
        host.run_in(site.network.namespace(machine), "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=0", "net.ipv4.tcp_rfc1337=0")
    timeouts = {"tcp_opening": "2s", "tcp_closing": "2s", "tcp_closed": "1s", "tcp_reset": "1s"}
    site.apply([objects.node(snat_ports=CHURN_PORTS, timeouts=timeouts),
                *objects.service("web", 1, 80, layout.ANSWER_PORT, origins=origins),
                *objects.service("web6", 1, 80, layout.ANSWER_PORT, origins=origins, family=6)])
    # Two clients of ten addresses each: hardly ever does the same address meet its own old connection.
    tools = []
    for client, family in itertools.product(("client-1", "client-2"), (4, 6)):
        tools.append(site.cps(layout.host_port(layout.vip(1, family), 80), client, count=connections // 4, rate=CHURN_RATE,
                              concurrency=128, timeout_ms=10000, source=extra_sources(site.clients[client], family)))
    seconds = connections / 4 / CHURN_RATE
    host.wait_for(lambda: all(tool.progress()["succeeded"] > min(connections / 8, 10 * CHURN_RATE) for tool in tools),
                  "half of it", seconds)
    waiting = [host.run_in(site.network.namespace(origin.name), "ss", "-Htan", "state", "time-wait").stdout.count("\n")
               for origin in origins]
    return [tool.result(seconds * 2 + 60) for tool in tools], waiting


def judge_churn(site, connections):
    results, waiting = churn(site, connections)
    print("in TIME_WAIT at the endpoints:", waiting, *(f"{r['target']}: {r['succeeded']} {r['failed_by']} {r['rate']:.0f}/s"
                                                       for r in results), sep="\n")
    assert min(waiting) > 1500, "the endpoints' TIME_WAIT was not met"
    assert sum(result["succeeded"] + result["failed"] for result in results) == connections
    assert sum(result["failed"] for result in results) < connections / 10_000, [result["failed_by"] for result in results]
    assert "drop.snat_ports_exhausted" not in site.drops() or site.drops()["drop.snat_ports_exhausted"] == 0
    host.wait_for(lambda: site.ask_dataplane("status")["flows_in_use"] == 0, "all flows to be forgotten", 20)


def test_ports_are_used_again_within_the_endpoints_time_wait_and_nobody_fails(site):  # SN-03
    judge_churn(site, 20_000)


@pytest.mark.long
def test_a_million_connections_over_a_thousand_ports(make_site):  # SN-03
    site = make_site(capture=False)
    site.start_appliance()
    judge_churn(site, 1_000_000)
