"""Floods on the wire. The generator, the balancer and the kernels at both ends share this machine's cores: each test prints
what the generator really sent, and what of it the balancer has seen."""

import contextlib
import json
import signal
import time

import pytest

from sluice_site import host, layout, objects
from sluice_site.process import Process

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"
OTHER = f"{layout.vip(3)}:81"
SOURCES = {"sources": "11.0.0.0", "source_count": 1 << 24}
SPOOFED = {"prefix": "11.0.0.0/8", "next_hop": layout.CLIENTS[1].v4}  # so that answers to them leave the balancer


def virtual_host(items, **sluice):
    for item in items:
        if item["kind"] == "virtual_host":
            item["spec"]["sluice"] = sluice
    return items


@pytest.fixture
def flood_site(make_site):
    made = make_site(capture=False)  # of nothing but the flood
    made.start_appliance()
    return made


def configure(site, node={}, **web):
    lb = objects.node(routes=[SPOOFED], timeouts={"tcp_opening": "2s"})
    lb["spec"]["workers"] = node.get("workers", lb["spec"]["workers"])
    lb["spec"]["ports"] += node.get("ports", [])
    site.apply([lb,
                *virtual_host(objects.service("web", 1, 80, layout.ANSWER_PORT), **web),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT),
                *objects.service("other", 3, 81, layout.ANSWER_PORT)])


def received(site):
    return site.ask_dataplane("ledger")["received"]


def measure(site, kind, address=WEB, count=300, **given):
    """A flood of a kind at an address while honest clients ask there and at another VIP: what was sent, what arrived, and
    the honest clients' results."""
    before = received(site)
    flood = site.below("flood", "client-2", connect=address, kind=kind, **{**SOURCES, **given})
    host.wait_for(lambda: received(site) > before + 5000, "the flood to arrive")
    began, at_begin = time.monotonic(), flood.progress()
    same = site.cps(WEB, count=count, concurrency=8, timeout_ms=10_000)
    other = site.cps(OTHER, count=count, concurrency=8, timeout_ms=10_000)
    results = {"same": same.result(), "other": other.result()}
    assert flood.is_running(), "the flood was over before the honest clients were"
    sent, seconds = flood.progress()["sent"] - at_begin["sent"], time.monotonic() - began
    ended = flood.finish()
    results.update(sent=ended["sent"], arrived=received(site) - before)
    honest = {name: f"{results[name]['succeeded']} of {count}, connected in {results[name]['connect_us']['p50'] / 1e3:.1f} ms, p99 "
                    f"{results[name]['connect_us']['p99'] / 1e3:.0f} ms" for name in ("same", "other")}
    print(f"{kind}: {sent / seconds:,.0f}/s sent, {results['arrived']:,} packets received beside {ended['sent']:,} of the flood; {honest}")
    return results


def test_a_syn_flood_makes_no_flows_and_keeps_nobody_out(flood_site):  # OV-01
    site = flood_site
    configure(site, syn_cookies="ALWAYS")
    tool = site.flows(FLOWS, count=200, interval_ms=200)
    results = measure(site, "syn", count=500)
    assert results["same"]["succeeded"] >= 495 and results["other"]["succeeded"] >= 495, results
    status = site.ask_dataplane("status")
    assert status["flows_in_use"] < 200 + 2 * 500 + 50, status
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["lost"] == 0, ended


def cookies_sent(site):
    return next(line["count"] for line in site.ask_dataplane("splices")["splices"] if line["name"] == "cookie_sent")


@contextlib.contextmanager
def shared_memory_flood(site, rate):
    """sluice-pktgen behind a memif port of its own, which takes more packets than any kernel sends: SYNs of ever new
    five-tuples at WEB. Its port, for the node; and a function for how many it has sent, which ends it."""
    socket, report = site.directory / "flood.sock", site.directory / "flood.json"
    flood = Process("flood", [site.build / "perf" / "sluice-pktgen", "--port",
                              f"net_memif0,role=server,socket={socket},socket-abstract=no,id={len(layout.SUBNETS)}", "--cpu", 0, "--gateway", "10.77.0.1",
                              "--vip", WEB, "--clients", "10.77.0.10+200", "--traffic", "syn", "--rate", rate,
                              "--wait", 30, "--seconds", 120, "--json", report], site.directory).start()

    def sent():
        assert flood.is_running(), flood.log_tail()
        flood.signal(signal.SIGINT)
        assert flood.wait(10) == 0, flood.output_text()
        return json.loads(report.read_text())["steps"][0]

    try:
        host.wait_for(socket.exists, "the generator to listen", 20)
        yield {"name": "flood", "profile": "memif", "device": str(socket), "addresses": ["10.77.0.1/16"]}, sent
    finally:
        flood.stop()


def test_half_a_million_syns_a_second_keep_nobody_out(flood_site):  # OV-01
    site = flood_site
    with shared_memory_flood(site, "500k") as (port, sent):
        configure(site, syn_cookies="ALWAYS", node={"workers": [1], "ports": [port]})
        tool = site.flows(FLOWS, count=200, interval_ms=200)
        host.wait_for(lambda: cookies_sent(site) > 100_000, "the flood to arrive", 40)
        results = [site.cps(address, count=500, concurrency=8, timeout_ms=10_000) for address in (WEB, OTHER)]
        honest = [result.result() for result in results]
        assert min(result["succeeded"] for result in honest) >= 495, honest
        assert site.ask_dataplane("status")["flows_in_use"] < 200 + 2 * 500 + 50
        ended = tool.finish()
        assert ended["broken"] == ended["wrong_bytes"] == ended["lost"] == 0, ended
        step = sent()
        print(f"{step['counts']['sent'] / step['microseconds'] * 1e6:,.0f} SYNs a second; honest clients connected in "
              f"{[result['connect_us']['p50'] / 1e3 for result in honest]} ms")


def test_cookies_come_with_a_flood_and_go_after_it(flood_site):  # OV-03
    site = flood_site
    configure(site, syn_cookies="ON_THRESHOLD", syn_cookie_threshold=200)

    def cookies():
        shown = json.loads(site.shell("show", "virtual-hosts", "--json").stdout)["virtual_hosts"]
        return next(row["syn_cookies"] for row in shown if row["name"] == "web")

    assert cookies() == "off"
    flood = site.below("flood", "client-2", connect=WEB, kind="syn", **SOURCES)
    host.wait_for(lambda: flood.progress()["sent"] > 0, "the flood to begin")
    host.wait_for(lambda: cookies() == "on", "cookies to be on", 1)
    result = site.cps(WEB, count=300, concurrency=8, timeout_ms=10_000).result()
    assert result["succeeded"] >= 297, result
    assert cookies() == "on"
    flood.finish()
    assert site.ask_dataplane("status")["flows_in_use"] < 300 + 200 + 64
    # The flood's half-open connections last two seconds; then come ten quiet ones.
    host.wait_for(lambda: cookies() == "off", "cookies to be off again", 25)
    assert site.cps(WEB, count=100).result()["failed"] == 0


def test_floods_of_other_packets_break_no_flow(flood_site):  # OV-02
    site = flood_site
    for cookies in ("NEVER", "ALWAYS"):
        configure(site, syn_cookies=cookies)
        tool = site.flows(FLOWS, count=200, interval_ms=200)
        for kind in ("ack", "rst", "udp", "fragment", "middle"):
            results = measure(site, kind)
            assert results["same"]["succeeded"] >= 297 and results["other"]["succeeded"] >= 297, (kind, results)
        # At the VIP and port of the flows themselves.
        for kind in ("ack", "rst"):
            measure(site, kind, FLOWS)
        ended = tool.finish()
        assert ended["broken"] == ended["wrong_bytes"] == ended["lost"] == 0, ended


def test_a_syn_flood_without_cookies_fills_the_table_and_breaks_no_flow(flood_site):  # FT-01, OV-01
    site = flood_site
    configure(site)
    tool = site.flows(FLOWS, count=200, interval_ms=200)
    flood = site.below("flood", "client-2", connect=WEB, kind="syn", **SOURCES)
    host.wait_for(lambda: site.drops().get("drop.flows_full", 0) > 10_000, "the table to be full", 30)
    print(f"flood: {flood.finish()}")
    # What the flood opened expires in tcp_opening, 2 s; then there is room again.
    host.wait_for(lambda: site.ask_dataplane("status")["flows_in_use"] < 300, "the flood's flows to be forgotten", 10)
    result = site.cps(OTHER, count=300, timeout_ms=3000).result()
    assert result["failed"] == 0, result
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["lost"] == 0, ended


def test_botnets_that_complete_handshakes_meet_their_limits(flood_site):  # OV-04
    site = flood_site
    # One source.
    configure(site, syn_cookies="ALWAYS", new_connections_per_source={"total_number": 100})
    results = measure(site, "handshake", count=80, source_count=1, rate=20_000)
    assert results["same"]["succeeded"] >= 79 and results["other"]["succeeded"] >= 79, results
    assert site.drops()["drop.rate_source_connections"] > 1000, site.drops()
    # A hundred thousand of them, one or two connections each: the VIP has its limit, and the other one nothing to do with it.
    configure(site, syn_cookies="ALWAYS", connection_limit=1000)
    results = measure(site, "handshake", source_count=100_000, rate=20_000)
    assert results["other"]["succeeded"] >= 297, results
    assert site.drops()["reject.connection_limit"] > 1000, site.drops()
    assert site.ask_dataplane("status")["flows_in_use"] < 5000
