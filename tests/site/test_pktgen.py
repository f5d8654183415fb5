"""sluice-pktgen on the ports that need a kernel or a second process: what it sends comes back, all of it, and is accounted
for. (Rings and its own accounting: tests/unit/pktgen.)"""

import json
import os
import pathlib
import signal

import pytest
from sluice_site import host
from sluice_site.process import Process

PKTGEN = pathlib.Path(os.environ.get("SLUICE_BUILD", host.REPOSITORY / "build")).resolve() / "perf" / "sluice-pktgen"
# The device is no balancer here: frames of the clients reach the endpoints as they are.
CLIENTS = ["--to-mac", "02:00:00:00:00:01", "--vip", "10.9.0.1:80", "--flows", "100", "--rate", "20k", "--verify",
           "--must-not-lose"]
PACKETS_LEAST = 5_000  # of a second's 20,000: another test may have the CPU for a while


@pytest.fixture
def namespace():
    name = f"pktgen-{os.getpid()}"
    host.run("ip", "netns", "add", name)
    yield name
    host.run("ip", "netns", "del", name)


def counts_of(path):
    return json.loads(path.read_text())["steps"][0]["counts"]


def test_pktgen_between_two_af_xdp_ports(namespace, tmp_path):
    host.run("ip", "link", "add", "clients", "netns", namespace, "type", "veth", "peer", "name", "endpoints", "netns",
             namespace)
    for device in ("clients", "endpoints"):
        host.run_in(namespace, "sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1")
        host.run_in(namespace, "ip", "link", "set", device, "up")
    report = tmp_path / "report.json"
    done = host.run_in(namespace, PKTGEN, "--port", "net_af_xdp0,iface=clients", "--endpoints-port",
                       "net_af_xdp1,iface=endpoints", *CLIENTS, "--seconds", "1", "--json", report)
    counts = counts_of(report)
    assert counts["sent"] == counts["reflected"] == counts["received"] >= PACKETS_LEAST, done.stdout


def test_pktgen_between_two_processes_by_vhost_until_ctrl_c(tmp_path):
    socket = tmp_path / "vhost.sock"
    reports = {"endpoints": tmp_path / "endpoints.json", "clients": tmp_path / "clients.json"}
    endpoints = Process("endpoints", [PKTGEN, "--port", f"net_vhost0,iface={socket}", "--reflect", "--cpu", "0", "--seconds",
                                      "60", "--json", reports["endpoints"]], tmp_path).start()
    try:
        host.wait_for(socket.exists, "the vhost socket")
        clients = Process("clients", [PKTGEN, "--port", f"net_virtio_user0,path={socket}", *CLIENTS, "--seconds", "60",
                                      "--json", reports["clients"]], tmp_path).start()
        try:
            # Progress is shown each second.
            host.wait_for(lambda: "back" in clients.log_text(), "progress to be shown", 20)
            clients.signal(signal.SIGINT)
            assert clients.wait(10) == 0, clients.output_text()
        finally:
            clients.stop()
        endpoints.signal(signal.SIGINT)
        assert endpoints.wait(10) == 0, endpoints.output_text()
    finally:
        endpoints.stop()
    sent = counts_of(reports["clients"])
    assert sent["sent"] == sent["received"] == counts_of(reports["endpoints"])["reflected"] >= PACKETS_LEAST
