"""The exception port: traffic to the appliance's own addresses reaches the kernel of its host, and
what the kernel answers goes out through the dataplane. The kernel owns them only as long as the
dataplane lives."""

from sluice_site import host, layout, objects
from sluice_site.tools import Tool

INTERFACE = "sluice0"
PORT = 2222
OWN = {4: f"{layout.OUTSIDE.v4}.{layout.OWN_NUMBER}", 6: f"{layout.OUTSIDE.v6}::{layout.OWN_NUMBER}"}
WEB = f"{layout.vip(1)}:80"


def configuration(**spec):
    return [objects.node(exception_port={"interface": INTERFACE}, **spec),
            *objects.service("web", 1, 80, layout.ANSWER_PORT)]


def serve(site):
    """A server of the host itself, on all its addresses."""
    return Tool("host-flows", [site.tools / "flows", "--serve", "--name", "host", "--port", PORT],
                site.directory, site.network.namespace("lb")).start()


def has_interface(site):
    return host.run("ip", "-n", site.network.namespace("lb"), "link", "show", INTERFACE,
                    check=False).returncode == 0


def check_sessions(site, client):
    sessions = [site.flows(layout.host_port(OWN[family], PORT), client, count=20, interval_ms=50)
                for family in (4, 6)]
    assert site.cps(WEB, count=1000).result()["failed"] == 0
    for tool in sessions:
        ended = tool.finish()
        assert ended["established"] == 20 and ended["by_server"] == {"host": 20}, ended
        assert ended["broken"] == ended["stalled"] == ended["wrong_bytes"] == 0, ended


def test_a_server_of_the_host_answers_on_the_own_addresses(site):
    site.apply(configuration())
    server = serve(site)
    check_sessions(site, "client-1")
    for address in OWN.values():
        host.run_in(site.network.namespace("client-2"), "ping", "-n", "-c", "3", "-i", "0.05", "-W",
                    "2", address)
    assert site.ask_dataplane("ledger")["verdicts"]["punt"] > 0
    server.stop()


def test_the_kernel_owns_them_only_while_the_dataplane_lives(site):
    site.apply(configuration())
    server = serve(site)
    check_sessions(site, "client-1")
    site.dataplane.kill()
    host.wait_for(lambda: not has_interface(site), "the TAP to be gone")
    silent = host.run_in(site.network.namespace("client-1"), "ping", "-n", "-c", "2", "-i", "0.05",
                         "-W", "1", OWN[4], check=False)
    assert silent.returncode != 0 and " 0 received" in silent.stdout, silent.stdout
    site.dataplane.start()
    host.wait_for(lambda: site.ask_dataplane("status")["state"] == "forwarding", "forwarding")
    check_sessions(site, "client-2")
    rules = host.run("ip", "-n", site.network.namespace("lb"), "rule").stdout
    assert rules.count("5300:") == len(layout.SUBNETS), rules  # none left over from before
    server.stop()
