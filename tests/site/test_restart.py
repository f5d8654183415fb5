"""Processes are killed and started again. Traffic goes on, and while the data plane is down the
wire is silent."""

import time
from concurrent.futures import ThreadPoolExecutor

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"
FLOWS_V6 = f"[{layout.vip(2, 6)}]:7000"


def configuration(**options):
    return [objects.node(**options), objects.health_check(),
            *objects.service("web", 1, 80, layout.ANSWER_PORT, health="tcp"),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT, health="tcp",
                             algorithm="MAGLEV"),
            *objects.service("flows-v6", 2, 7000, layout.FLOWS_PORT, family=6,
                             algorithm="MAGLEV"),
            *objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, "UDP", algorithm="MAGLEV"),
            *objects.service("flows-nat", 3, 7000, layout.FLOWS_PORT, algorithm="MAGLEV",
                             forwarding="NAT")]


def wait_rounds(tool, rounds, timeout=30):
    """Until each flow has echoed so many messages more, all together."""
    begin = tool.progress()
    host.wait_for(lambda: tool.progress()["messages"] >=
                  begin["messages"] + rounds * begin["established"],
                  f"{tool.name} to echo {rounds} more rounds", timeout)


def test_10000_connections_go_on_after_kill_9_of_the_dataplane(make_site):
    site = make_site(sample=16)
    site.start_appliance()
    site.apply(configuration())
    site.wait_endpoints(6)
    tools = [site.flows(FLOWS, "client-1", count=7000, interval_ms=4000),
             site.flows(FLOWS_V6, "client-2", count=1500, interval_ms=4000),
             site.flows(f"{layout.vip(3)}:7000", "client-2", count=1500, interval_ms=4000)]
    udp = site.flows(FLOWS, "client-1", count=200, interval_ms=500, protocol="udp")
    assert [tool.event("ready")["established"] for tool in tools] == [7000, 1500, 1500]
    site.dataplane.kill()
    before = udp.progress()["messages"]
    begin = time.monotonic()
    site.dataplane.start()
    host.wait_for(lambda: udp.progress()["messages"] > before, "the first echo", 10)
    print(f"first echo {time.monotonic() - begin:.2f} s after the start of the process")
    status = site.ask_dataplane("status")
    assert status["flows_adopted"] >= 10200, status
    for tool in tools:
        wait_rounds(tool, 2, 40)
    for tool in tools:
        ended = tool.finish()
        assert ended["broken"] == ended["wrong_bytes"] == ended["wrong_flow"] == 0, ended
        assert ended["moved"] == 0, ended
    ended = udp.finish()
    assert ended["moved"] == ended["wrong_flow"] == ended["broken"] == 0, ended


def test_the_first_packet_passes_within_a_second_of_the_restart(site):
    site.apply(configuration())
    udp = site.flows(FLOWS, count=50, interval_ms=20, protocol="udp", stall_ms=100)
    for _ in range(20):
        site.dataplane.kill()
        before = udp.progress()["messages"]
        begin = time.monotonic()
        site.dataplane.start()
        host.wait_for(lambda: udp.progress()["messages"] > before, "an echo", 10)
        assert time.monotonic() - begin <= 1.0
        site.wait_dataplane()
    ended = udp.finish()
    assert ended["moved"] == ended["broken"] == ended["wrong_flow"] == 0, ended


def start_draining(site, pool, *words):
    """`drain dataplane` in a thread of its own, once the dataplane says that it does."""
    draining = pool.submit(site.shell, "drain", "dataplane", *words, check=False)
    host.wait_for(lambda: site.ask_dataplane("status")["state"] == "leaving", "the dataplane to drain")
    return draining


def test_a_drained_dataplane_takes_nothing_new_and_ends_after_its_last_flow(site):
    site.apply(configuration(timeouts={"tcp_closed": "1s"}))
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=200, interval_ms=100)
    with ThreadPoolExecutor(1) as pool:
        draining = start_draining(site, pool)
        refused = site.cps(WEB, "client-2", count=20, concurrency=20, timeout_ms=1500).result()
        assert refused["succeeded"] == 0 and refused["failed"] == 20, refused
        assert site.drops()["drop.leaving"] >= 20
        assert "leaving" in site.shell("show", "version").stdout
        site.shell("undrain", "dataplane")
        assert "called off" in draining.result(10).stderr
        assert site.cps(WEB, "client-2", count=20).result()["failed"] == 0
        draining = start_draining(site, pool)
        wait_rounds(flows, 5)
        assert not draining.done()
        ended = flows.finish()
        assert ended["broken"] == ended["moved"] == 0, ended
        assert "The dataplane has ended; no flow was left." in draining.result(30).stdout
    assert site.dataplane.wait(10) == 0
    site.start_dataplane()
    assert site.cps(WEB, "client-2", count=20).result()["failed"] == 0


def test_what_a_drained_dataplane_leaves_at_its_deadline_goes_on_with_the_next_one(site):
    site.apply(configuration())
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=200, interval_ms=100)
    with ThreadPoolExecutor(1) as pool:
        begin = time.monotonic()
        draining = start_draining(site, pool, "--deadline", "2")
        output = draining.result(10).stdout
        assert "ended at its deadline; 20" in output, output
        assert 2 <= time.monotonic() - begin < 4
    assert site.dataplane.wait(10) == 0
    site.start_dataplane()
    wait_rounds(flows, 3)
    ended = flows.finish()
    assert ended["broken"] == ended["moved"] == 0, ended


def test_the_wire_is_silent_while_the_dataplane_is_dead(site):
    site.apply(configuration())
    flows = site.flows(FLOWS, count=200, interval_ms=200)
    site.mgmt.kill()  # its probes come from the kernel's own address, and end with a reset
    site.dataplane.kill()
    silence = site.capture(name="silence")
    tries = [site.cps(address, timeout_ms=1500, count=20, concurrency=20, protocol=protocol)
             for address, protocol in ((WEB, "tcp"), (FLOWS_V6, "tcp"), (FLOWS, "udp"),
                                       (f"{layout.vip(1)}:81", "tcp"))]
    snat = f"{layout.INSIDE_A.v4}.{layout.SNAT_NUMBER}:5000"
    tries.append(site.cps(snat, "web-1", timeout_ms=1500, count=20, concurrency=20))
    for tool in tries:
        result = tool.result()
        assert result["failed_by"] == {"ETIMEDOUT": 20}, result
    host.wait_for(lambda: flows.progress()["longest_wait_ms"] > 3000, "flows to wait")
    report = silence.check(count=True)
    assert (report["resets"], report["unreachables"]) == (0, 0)
    site.start_dataplane()
    host.wait_for(lambda: flows.progress()["waiting"] < 100, "the flows to go on", 15)
    ended = flows.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["wrong_flow"] == 0, ended


def test_traffic_goes_on_when_mgmt_is_killed_and_nothing_flaps_when_it_returns(site):
    site.apply(configuration())
    site.wait_endpoints(6)
    flows = site.flows(FLOWS, count=500, interval_ms=500)
    cps = site.cps(WEB, "client-2", rate=300)
    generation = site.ask_dataplane("status")["generation"]
    site.mgmt.kill()
    wait_rounds(flows, 4)
    for what in ("flows", "ports", "drops"):
        assert site.shell("show", what).stdout
    down = site.shell("show", "clusters", check=False)
    assert down.returncode != 0 and "mgmt" in down.stderr, down
    site.start_mgmt()
    status = host.wait_for(lambda: (lambda reply: reply["dataplane"]["connected"] and reply)(
        site.ask_mgmt("status")), "mgmt to find the dataplane")
    site.wait_endpoints(6)
    wait_rounds(flows, 4)
    assert site.ask_mgmt("status")["generation"] == status["generation"]
    # The dataplane may be sent the same tables once more; a storm of them it must not be.
    assert site.ask_dataplane("status")["generation"] - generation <= 2
    result, ended = cps.finish(), flows.finish()
    assert result["failed"] == 0, result
    assert ended["broken"] == ended["moved"] == 0, ended


def test_a_frozen_dataplane_stalls_its_flows_and_breaks_none(site):
    import signal
    site.apply(configuration())
    flows = site.flows(FLOWS, count=200, interval_ms=200)
    site.dataplane.signal(signal.SIGSTOP)
    host.wait_for(lambda: flows.progress()["longest_wait_ms"] > 5000, "5 s of silence", 15)
    site.dataplane.signal(signal.SIGCONT)
    host.wait_for(lambda: flows.progress()["waiting"] < 100, "the flows to go on", 15)
    ended = flows.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["wrong_flow"] == 0, ended


def test_a_cold_boot_under_traffic_resets_nobody(site):
    site.apply(configuration())
    site.wait_endpoints(6)
    site.mgmt.stop()
    site.dataplane.stop()
    boot = site.capture(name="boot")
    tools = [site.cps(WEB, "client-1", concurrency=8, rate=50, timeout_ms=800),
             site.cps(FLOWS, "client-2", concurrency=8, rate=50, timeout_ms=800, protocol="udp")]
    host.wait_for(lambda: all(tool.progress()["failed"] > 8 for tool in tools), "failures")
    site.start_appliance()
    host.wait_for(lambda: tools[0].progress()["succeeded"] > 100, "answers", 30)
    for tool in tools:
        assert set(tool.finish()["failed_by"]) == {"ETIMEDOUT"}, tool.event("result")
    report = boot.check(count=True, ports=["outside"])  # what the clients were sent
    assert report["frames"] > 100
    assert (report["resets"], report["unreachables"]) == (0, 0)
