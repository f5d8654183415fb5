"""How flows and endpoints go and come: blocked sources, dead endpoints, slow starts, idle connections."""

import time

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"
ONE_ORIGIN = layout.ORIGINS[:1]


def with_options(items, kind, name, **options):
    """The objects with options under the key of our own additions."""
    for item in items:
        if item["kind"] == kind and item["metadata"]["name"] == name:
            item["spec"].setdefault("sluice", {}).update(options)
    return items


def drops_of_pipeline(site, name):
    """What the lcores dropped: not what the XDP programs did before them."""
    found = [drop for drop in site.ask_dataplane("drops")["drops"] if drop["name"] == name]
    return sum(found[0]["lcores"])


def test_a_blocked_source_is_dropped_before_it_reaches_an_lcore(site):
    web = objects.service("web", 1, 80, layout.ANSWER_PORT)
    site.apply([objects.node(blocklist=[f"{layout.CLIENTS[0].v4}/32", "2001:db8::/32"]), *web])
    assert site.curl(f"http://{WEB}/", "--connect-timeout", "1", check=False).returncode == 28
    assert site.curl(f"http://{WEB}/", client="client-2").returncode == 0
    assert site.drops()["drop.blocklisted"] >= 1
    assert drops_of_pipeline(site, "drop.blocklisted") == 0
    # What the host's kernel serves is not ours to block.
    kernel = f"{layout.OUTSIDE.v4}.{layout.KERNEL_NUMBER}"
    host.run_in(site.network.namespace("client-1"), "ping", "-c1", "-W2", kernel)

    site.apply([objects.node()])
    assert site.curl(f"http://{WEB}/").returncode == 0


def test_flows_of_a_dead_endpoint_are_reset_when_the_cluster_says_so(site):
    items = objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=layout.ORIGINS[:2], health="tcp")
    for item in items:  # the check watches another server of the same machine, so that flows outlive it
        if item["kind"] == "endpoint":
            item["spec"]["health_check_port"] = layout.ANSWER_PORT
    site.apply([objects.node(), objects.health_check(),
                *with_options(items, "cluster", "flows", on_endpoint_down="RESET")])
    site.wait_endpoints(2)
    tool = site.flows(FLOWS, count=40, interval_ms=100)
    assert tool.event("ready")["established"] == 40
    site.origins["web-1"].answer.kill()
    site.wait_endpoints(1)
    host.wait_for(lambda: tool.progress()["broken"] >= 20, "the flows of the dead endpoint to be reset", 15)
    ended = tool.finish()
    assert ended["broken"] == 20 and ended["wrong_bytes"] == ended["moved"] == 0, ended
    assert site.ask_dataplane("ledger")["verdicts"]["reject_flow_ended"] >= 20


def test_an_endpoint_that_comes_up_is_let_in_slowly(site):
    items = objects.service("web", 1, 80, layout.ANSWER_PORT, origins=layout.ORIGINS[:2], health="tcp")
    site.origins["web-2"].answer.kill()
    site.apply([objects.node(), objects.health_check(),
                *with_options(items, "cluster", "web", slow_start="8s")])
    site.wait_endpoints(1)

    def opened():
        return {e["name"]: e["flows_opened"] for e in site.ask_dataplane("endpoints")["endpoints"]}

    def share():
        before = opened()
        assert site.cps(WEB, count=100).result()["failed"] == 0
        after = opened()
        return (after["web-web-2"] - before["web-web-2"]) / 100
    first_up = time.monotonic()
    assert share() == 0
    host.wait_for(lambda: time.monotonic() - first_up > 9, "the first endpoint to have its full share", 30)
    site.origins["web-2"].answer.start()
    site.wait_endpoints(2)
    early = share()
    assert 0 < early < 0.45, early
    host.wait_for(lambda: share() >= 0.45, "the endpoint to have its full share", 40)


def test_an_idle_connection_is_reset_on_both_sides_when_it_expires(site):
    items = objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=ONE_ORIGIN, idle_timeout="2s")
    site.apply([objects.node(), *with_options(items, "virtual_host", "flows", reset_on_expiry=True)])
    tool = site.flows(FLOWS, count=10, interval_ms=60_000)
    assert tool.event("ready")["established"] == 10
    host.wait_for(lambda: tool.progress()["broken"] == 10, "the client's side to be reset", 20)
    host.wait_for(lambda: not established(site, "web-1"), "the endpoint's side to be reset", 10)
    tool.finish()


def established(site, machine):
    done = host.run_in(site.network.namespace(machine), "ss", "-Htn", "state", "established",
                       f"sport = :{layout.FLOWS_PORT}")
    return done.stdout.strip()


RESETTER = """
import socket, struct, sys
for _ in range(int(sys.argv[3])):
    client = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5)
    client.sendall(b"data that is on its way")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # with a RST
"""


def test_flows_that_clients_reset_are_forgotten_soon_for_the_endpoints_kernel_confirms_it(site):  # FT-06
    site.apply([objects.node(timeouts={"tcp_reset": "1s"}),
                *objects.service("echo", 1, 80, layout.ECHO_PORT), *objects.service("echo6", 1, 80, layout.ECHO_PORT, family=6)])
    for family in (4, 6):
        host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", RESETTER, layout.vip(1, family), 80, 20)
    # Idle, they would last for the idle timeout, which is longer than that.
    host.wait_for(lambda: site.ask_dataplane("status")["flows_in_use"] == 0, "the flows to be forgotten", 8)
    assert site.ask_dataplane("ledger")["verdicts"]["absorb"] >= 40
