"""The box is a host too: what is not the balancer's stays with the kernel, and nothing that is not
a VIP's is ever forwarded."""

import pytest

from sluice_site import host, layout, objects
from sluice_site.tools import Tool

WEB = f"{layout.vip(1)}:80"
HOST_V4 = f"{layout.OUTSIDE.v4}.{layout.KERNEL_NUMBER}"
HOST_V6 = f"{layout.OUTSIDE.v6}::{layout.KERNEL_NUMBER}"


def test_ssh_like_traffic_to_the_host_address_works_beside_the_vips(site):
    site.apply([objects.node(), *objects.service("web", 1, 80, layout.ANSWER_PORT)])
    shell_like = Tool("host-flows", [site.tools / "flows", "--serve", "--name", "host", "--port", 22],
                      site.directory, site.network.namespace("lb")).start()
    sessions = [site.flows(layout.host_port(address, 22), client, count=20, interval_ms=50)
                for address, client in ((HOST_V4, "client-1"), (HOST_V6, "client-2"))]
    result = site.cps(WEB, count=2000).result()
    assert result["failed"] == 0, result
    for tool in sessions:
        ended = tool.finish()
        assert ended["established"] == 20 and ended["by_server"] == {"host": 20}, ended
        assert ended["broken"] == ended["wrong_bytes"] == 0, ended
    shell_like.stop()


SWEEP = """
import sys
from scapy.all import IP, IPv6, Ether, Raw, conf, get_if_hwaddr, getmacbyip, sendp
targets4, targets6, mac = sys.argv[1].split(","), sys.argv[2].split(","), sys.argv[3]
frames = []
for protocol in range(256):
    for target in targets4:
        frames.append(Ether(dst=mac) / IP(src="10.1.0.11", dst=target, proto=protocol) / Raw(b"\\0" * 40))
    for target in targets6:
        frames.append(Ether(dst=mac) / IPv6(src="fd00:1::11", dst=target, nh=protocol) / Raw(b"\\0" * 40))
sendp(frames, iface="eth0", verbose=False)
print(len(frames))
"""


def test_256_protocols_to_what_is_no_vip_are_never_forwarded(site, tmp_path):
    """To own addresses, SNAT addresses, endpoints behind us, and a VIP on all it does not serve."""
    site.apply([objects.node(), *objects.service("web", 1, 80, layout.ANSWER_PORT)])
    assert site.cps(WEB, count=3).result()["failed"] == 0
    inside = site.capture(name="sweep")
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP)
    mac = host.run("ip", "-n", site.network.namespace("lb"), "-br", "link", "show",
                   "outside").stdout.split()[2]
    targets4 = ["10.1.0.1", "10.2.0.100", "10.2.0.11", "10.3.0.13", "10.9.0.1", "10.9.0.77"]
    targets6 = ["fd00:1::1", "fd00:2::100", "fd00:2::11", "fd00:3::13", "fd00:9::77"]
    before = site.ask_dataplane("ledger")
    sent = int(host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", script,
                           ",".join(targets4), ",".join(targets6), mac, timeout=120).stdout)
    assert sent == 256 * (len(targets4) + len(targets6))
    seen = []

    def stands_still():
        seen.append(site.ask_dataplane("ledger")["received"])
        return len(seen) >= 5 and len(set(seen[-5:])) == 1
    host.wait_for(stands_still, "all of it to be looked at")
    after = site.ask_dataplane("ledger")
    assert after["verdicts"]["forward"] == before["verdicts"]["forward"], after
    inside.stop()
    # What every IPv6 host says on its own link (ND, multicast listener reports) was forwarded by nobody.
    of_the_link_itself = "arp || icmpv6.type in {135, 136} || (ipv6.src==fe80::/10 && ipv6.dst==ff02::/16)"
    for name in ("inside-a", "inside-b"):
        seen = host.run("tshark", "-n", "-r", inside.files[name],
                        "-Y", f"!({of_the_link_itself})").stdout
        assert seen == "", seen


FORGED = """
import sys
from scapy.all import IP, IPv6, TCP, UDP, Ether, sendp
mac = sys.argv[1]
frames = []
for source in ("0.0.0.1", "127.0.0.1", "224.0.0.5", "255.255.255.255", "10.9.0.1", "10.2.0.100"):
    for l4 in (TCP(sport=80, dport=80), UDP(sport=5300, dport=5300)):
        frames += [Ether(dst=mac) / IP(src=source, dst="10.9.0.1") / l4] * 20
for source in ("::", "::1", "ff02::1", "fd00:9::1", "fd00:2::100"):
    for l4 in (TCP(sport=80, dport=80), UDP(sport=5300, dport=5300)):
        frames += [Ether(dst=mac) / IPv6(src=source, dst="fd00:9::1") / l4] * 20
sendp(frames, iface="eth0", verbose=False)
print(len(frames))
"""


def test_forged_sources_are_dropped_by_name_and_start_no_loop(site, tmp_path):
    site.apply([objects.node(),
                *objects.service("web", 1, 80, layout.ANSWER_PORT),
                *objects.service("web-v6", 1, 80, layout.ANSWER_PORT, family=6),
                *objects.service("echo", 1, 5300, layout.UDP_PORT, "UDP"),
                *objects.service("echo-v6", 1, 5300, layout.UDP_PORT, "UDP", 6)])
    script = tmp_path / "forged.py"
    script.write_text(FORGED)
    mac = host.run("ip", "-n", site.network.namespace("lb"), "-br", "link", "show",
                   "outside").stdout.split()[2]
    before, ledger = site.drops()["drop.source_invalid"], site.ask_dataplane("ledger")
    sent = int(host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", script,
                           mac).stdout)
    host.wait_for(lambda: site.drops()["drop.source_invalid"] - before >= sent, "all to be dropped")
    assert site.drops()["drop.source_invalid"] - before == sent
    assert site.ask_dataplane("ledger")["verdicts"]["forward"] == ledger["verdicts"]["forward"]


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_traffic_to_the_boxs_own_address_reaches_its_kernel_through_the_exception_port(site, family):
    site.apply([objects.node(exception_port={"interface": "sluice0"}),
                *objects.service("web", 1, 80, layout.ANSWER_PORT)])
    server = Tool("bgp-like", [site.tools / "flows", "--serve", "--name", "kernel", "--port", 179],
                  site.directory, site.network.namespace("lb")).start()
    own = layout.Host("own", layout.OUTSIDE, layout.OWN_NUMBER).address(family)
    before = site.ask_dataplane("ledger")["verdicts"]["punt"]
    tool = site.flows(layout.host_port(own, 179), count=50, interval_ms=50)
    result = site.cps(WEB, count=500).result()
    assert result["failed"] == 0, result
    ended = tool.finish()
    assert ended["established"] == 50 and ended["by_server"] == {"kernel": 50}, ended
    assert ended["broken"] == ended["wrong_bytes"] == ended["wrong_flow"] == 0, ended
    assert site.ask_dataplane("ledger")["verdicts"]["punt"] - before > 200
    # The address goes with the process: nobody answers for it.
    site.dataplane.kill()
    gone = site.cps(layout.host_port(own, 179), count=5, concurrency=5, timeout_ms=1000).result()
    assert gone["failed_by"] == {"ETIMEDOUT": 5}, gone
    server.stop()
