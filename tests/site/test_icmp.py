"""ICMP: errors reach the end whose packet they are about, and what we say ourselves is limited."""

import json
import os

import pytest

from sluice_site import host, layout, objects
from sluice_site.origin import Origin

MEGABYTES = 10
NARROW = 1300


def routes_beyond(subnet):
    return [{"prefix": f"{layout.BEYOND.v4}.0/24", "next_hop": f"{subnet.v4}.{layout.ROUTER_NUMBER}"},
            {"prefix": f"{layout.BEYOND.v6}::/64",
             "next_hop": f"{subnet.v6}::{layout.ROUTER_NUMBER}"}]


def path_mtu(site, machine, address):
    """What the machine's kernel has learned about the path to an address; None when nothing."""
    shown = host.run_in(site.network.namespace(machine), "ip", "-json", "route", "get",
                        address).stdout
    for metrics in json.loads(shown)[0].get("metrics", []):
        if "mtu" in metrics:
            return metrics["mtu"]
    return None


def a_file(path):
    path.write_bytes(os.urandom(MEGABYTES * 1_000_000))
    return path


def same(a, b):
    return host.run("cmp", a, b, check=False).returncode == 0


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_a_narrow_link_on_the_clients_side_shrinks_the_endpoints_path_mtu(site, tmp_path, family):
    """IC-01."""
    site.network.add_far(layout.OUTSIDE, NARROW)
    site.apply([objects.node(routes=routes_beyond(layout.OUTSIDE)),
                *objects.service("web", 1, 80, layout.HTTP_PORT, family=family,
                                 origins=[layout.ORIGINS[0]])])
    sent = a_file(site.origins["web-1"].files / "down")
    snat = layout.Host("snat", layout.INSIDE_A, layout.SNAT_NUMBER).address(family)
    assert path_mtu(site, "web-1", snat) is None
    url = f"http://{layout.host_port(layout.vip(1, family), 80)}/files/down"
    site.curl(url, "--fail", "-o", tmp_path / "down", client=layout.FAR.name, timeout=60)
    assert same(sent, tmp_path / "down")
    assert path_mtu(site, "web-1", snat) == NARROW


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_a_narrow_link_on_the_endpoints_side_shrinks_the_clients_path_mtu(site, tmp_path, family):
    """IC-02."""
    site.network.add_far(layout.INSIDE_A, NARROW)
    far = Origin(layout.FAR, site.network, site.directory, site.tools)
    far.start()
    site.origins["far"] = far
    site.apply([objects.node(routes=routes_beyond(layout.INSIDE_A)),
                *objects.service("web", 1, 80, layout.HTTP_PORT, family=family,
                                 origins=[layout.FAR])])
    vip = layout.vip(1, family)
    assert path_mtu(site, "client-1", vip) is None
    sent = a_file(tmp_path / "up")
    site.curl(f"http://{layout.host_port(vip, 80)}/files/up", "--fail", "-T", sent, timeout=60)
    assert same(sent, far.files / "up")
    assert path_mtu(site, "client-1", vip) == NARROW


# What traceroute -T and -U do: a packet with a short life, and the kernel's word on who ended it.
PROBE = """
import socket, struct, sys
address, port, kind, family = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
level, ttl, errors, number = ((socket.IPPROTO_IP, socket.IP_TTL, 11, socket.AF_INET) if family == 4 else
                              (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 25, socket.AF_INET6))
s = socket.socket(number, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(10)
s.setsockopt(level, ttl, 1)
s.setsockopt(level, errors, 1)
try:
    s.connect((address, port))
    s.send(b"probe")
    s.recv(1)
except OSError:
    pass
_, ancillary, _, _ = s.recvmsg(1, 512, socket.MSG_ERRQUEUE)
for _, _, data in ancillary:
    _, origin, icmp_type, code = struct.unpack_from("=IBBB", data)
    offender = socket.inet_ntop(number, data[20:24] if family == 4 else data[24:40])
    print(icmp_type, code, offender)
"""


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_traceroute_to_a_vip_shows_us(site, kind, family):
    """IC-04."""
    port = layout.HTTP_PORT if kind == "tcp" else layout.UDP_PORT
    site.apply([objects.node(), *objects.service("web", 1, 80, port, protocol=kind.upper(),
                                                 family=family)])
    shown = host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", PROBE,
                        layout.vip(1, family), 80, kind, family).stdout.split()
    own = layout.Host("own", layout.OUTSIDE, layout.OWN_NUMBER).address(family)
    assert shown == ["11" if family == 4 else "3", "0", own]
    assert site.ask_dataplane("status")["flows_in_use"] == 0


def test_pings_are_answered_at_the_configured_rate_and_flows_do_not_notice(site):
    """IC-04."""
    site.apply([objects.node(icmp={"echoes_per_second": 20}),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT)])
    flows = site.flows(f"{layout.vip(2)}:7000", count=50, interval_ms=100)
    done = host.run_in(site.network.namespace("client-1"), "ping", "-q", "-c", "400", "-i", "0.002",
                       "-W", "1", layout.vip(2), check=False).stdout
    received = int(done.split(" received")[0].rsplit(" ", 1)[1])
    seconds = int(done.split("time ")[1].split("ms")[0]) / 1000
    assert 1 <= received <= 2 + 20 * (seconds + 1), done
    assert site.drops()["drop.icmp_rate_limited"] == 400 - received
    result = flows.finish()
    assert result["established"] == 50 and result["broken"] == result["lost"] == 0, result


def test_the_mss_of_a_virtual_host_is_lowered_for_both_ends(site):
    """IC-05."""
    service = objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=[layout.ORIGINS[0]])
    service[0]["spec"]["sluice"] = {"mss_max": 1200}
    site.apply([objects.node(), *service])
    flows = site.flows(f"{layout.vip(2)}:7000", count=1)

    def sending_mss(machine, filter):
        shown = host.run_in(site.network.namespace(machine), "ss", "-Htino", "state", "established",
                            filter).stdout
        return {word for word in shown.split() if word.startswith("mss:")}
    # Timestamps, which both kernels use, take twelve bytes of each segment.
    assert sending_mss("client-1", f"dport = :7000") == {"mss:1188"}
    assert sending_mss("web-1", f"sport = :{layout.FLOWS_PORT}") == {"mss:1188"}
    assert flows.finish()["broken"] == 0
