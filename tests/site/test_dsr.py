"""Direct server return: endpoints get the clients' packets as they are and answer past us."""

import os

import pytest

from sluice_site import host, layout, objects
from sluice_site.direct import DirectEndpoint
from sluice_site.origin import Origin
from test_fragments import CLIENT as QUESTIONS, PORT as QUESTIONS_PORT, start_server
from test_icmp import path_mtu, routes_beyond, same

WEB = layout.ORIGINS[0]
PORT = layout.HTTP_PORT  # of VIPs and endpoints alike
MEGABYTES = 3

# mode, family of clients and VIP, family of the endpoint's address: what an outer header takes away.
MODES = {("DSR_L2", 4, 4): 0, ("DSR_L2", 6, 6): 0,
         ("DSR_IPIP", 4, 4): 20, ("DSR_IPIP", 6, 6): 40, ("DSR_IPIP", 4, 6): 40,
         ("DSR_GUE", 4, 4): 32, ("DSR_GUE", 6, 6): 52, ("DSR_GUE", 4, 6): 52}
VIPS = {mode: layout.vip(number, mode[1]) for number, mode in enumerate(MODES, 1)}


def direct_service(mode, port=PORT, protocol="TCP", origin=WEB, **options):
    """objects.service() whose endpoint may be of another family than the VIP."""
    forwarding, family, endpoint_family = mode
    number = list(MODES).index(mode) + 1
    items = objects.service(f"direct-{number}-{port}", number, port, port, protocol, family, origins=[origin],
                            forwarding=forwarding, **options)
    for item in items:
        if item["kind"] == "endpoint":
            item["spec"]["ip"] = origin.address(endpoint_family)
    return items


def replies_at(site, capture):
    """Frames on the appliance's cables that come from a VIP, pings and errors of its own apart."""
    capture.stop()
    is_reply = " or ".join(f"ip{'v6' if ':' in vip else ''}.src=={vip}" for vip in VIPS.values())
    shown = [host.run("tshark", "-n", "-r", path, "-Y", f"(tcp or udp) and ({is_reply})").stdout
             for path in capture.files.values()]
    return "".join(shown).splitlines()


def test_pages_and_transfers_by_each_mode_and_family_and_no_answer_passes_us(site, tmp_path):
    """Of the tunnels the client's kernel learns how much fits, so a full-size MSS works."""
    endpoint = DirectEndpoint(site, WEB, VIPS.values())
    site.apply([objects.node(), *[item for mode in MODES for item in direct_service(mode)]])
    both = site.capture(name="both", both=True)
    sent = tmp_path / "up"
    sent.write_bytes(os.urandom(MEGABYTES * 1_000_000))
    down = site.origins[WEB.name].files / "down"
    down.write_bytes(os.urandom(MEGABYTES * 1_000_000))
    for mode, overhead in MODES.items():
        vip = VIPS[mode]
        url = f"http://{layout.host_port(vip, PORT)}"
        assert site.curl(f"{url}/", "--fail", timeout=20).stdout.strip() == WEB.name, mode
        client = layout.CLIENTS[0].address(mode[1])
        assert site.curl(f"{url}/client", "--fail", timeout=20).stdout.strip() == client, mode
        site.curl(f"{url}/files/down", "--fail", "-o", tmp_path / "down", timeout=60)
        assert same(down, tmp_path / "down"), mode
        site.curl(f"{url}/files/up", "--fail", "-T", sent, timeout=60)
        assert same(sent, site.origins[WEB.name].files / "up"), mode
        assert path_mtu(site, "client-1", vip) == (1500 - overhead if overhead else None), mode
    assert replies_at(site, both) == []
    flows = site.ask_dataplane("flows")["flows"]
    assert {flow["dsr"] for flow in flows} == {"l2", "ipip", "gue"}
    assert {flow["state"] for flow in flows} == {"closing"}, "only the client's FIN was seen"
    shown = site.shell("show", "virtual-hosts").stdout
    assert all(line.split()[-2] == "-" for line in shown.splitlines()[1:]), shown  # SENT: not ours to know
    came = endpoint.stop()
    assert came["refused"] == 0 and all(came[kind] > 1000 for kind in ("ipip4", "ipip6", "gue4", "gue6")), came


@pytest.mark.parametrize("forwarding", ["DSR_L2", "DSR_GUE"])
def test_connections_outlive_the_dataplane_and_a_drain_and_end_with_the_deadline(site, forwarding):
    mode = (forwarding, 4, 4)
    DirectEndpoint(site, WEB, VIPS.values())
    service = direct_service(mode, layout.FLOWS_PORT)
    cluster = next(item for item in service if item["kind"] == "cluster")
    site.apply([objects.node(), *service])
    flows = site.flows(layout.host_port(VIPS[mode], layout.FLOWS_PORT), count=50, interval_ms=50)
    assert flows.event("ready")["established"] == 50
    site.dataplane.kill()
    site.start_dataplane()
    site.wait_generation(1)
    assert site.ask_dataplane("status")["flows_adopted"] == 50
    result = flows.finish()
    assert result["broken"] == result["lost"] == result["wrong_bytes"] == 0, result

    cluster["spec"]["sluice"]["drain_timeout"] = "1s"
    site.apply([objects.node(), *service])
    flows = site.flows(layout.host_port(VIPS[mode], layout.FLOWS_PORT), count=20, interval_ms=50)
    assert flows.event("ready")["established"] == 20
    site.ask_mgmt("drain", name=f"{cluster['metadata']['name']}-{WEB.name}")
    host.wait_for(lambda: site.ask_dataplane("ledger")["verdicts"].get("reject_flow_ended", 0) >= 20,
                  "all 20 to be ended", 15)
    assert flows.finish()["broken"] == 20


@pytest.mark.parametrize("mode", [("DSR_IPIP", 4, 4), ("DSR_GUE", 6, 6)], ids=["ipip-ipv4", "gue-ipv6"])
def test_a_narrow_link_toward_the_client_shrinks_the_endpoints_path_mtu(site, tmp_path, mode):
    """IC-01: the router's word reaches the VIP, which is us, and goes on to the endpoint in the tunnel."""
    narrow = 1300
    site.network.add_far(layout.OUTSIDE, narrow)
    DirectEndpoint(site, WEB, VIPS.values())
    site.apply([objects.node(routes=routes_beyond(layout.OUTSIDE)), *direct_service(mode)])
    sent = site.origins[WEB.name].files / "down"
    sent.write_bytes(os.urandom(MEGABYTES * 1_000_000))
    url = f"http://{layout.host_port(VIPS[mode], PORT)}/files/down"
    site.curl(url, "--fail", "-o", tmp_path / "down", client=layout.FAR.name, timeout=60)
    assert same(sent, tmp_path / "down")
    assert path_mtu(site, WEB.name, layout.FAR.address(mode[1])) == narrow


@pytest.mark.parametrize("mode", [("DSR_IPIP", 4, 4), ("DSR_IPIP", 4, 6), ("DSR_GUE", 4, 4), ("DSR_GUE", 6, 6)],
                         ids=["ipip-ipv4", "ipip-ipv4-in-ipv6", "gue-ipv4", "gue-ipv6"])
def test_a_narrow_link_on_a_tunnels_way_shrinks_the_clients_path_mtu(site, tmp_path, mode):
    """IC-02: the router tells us, whose outer header it quotes, and we the client what fits inside."""
    narrow = 1400
    site.network.add_far(layout.INSIDE_A, narrow)
    far = Origin(layout.FAR, site.network, site.directory, site.tools)
    far.start()
    site.origins[layout.FAR.name] = far
    endpoint = DirectEndpoint(site, layout.FAR, VIPS.values())
    site.apply([objects.node(routes=routes_beyond(layout.INSIDE_A)), *direct_service(mode, origin=layout.FAR)])
    vip = VIPS[mode]
    sent = tmp_path / "up"
    sent.write_bytes(os.urandom(MEGABYTES * 1_000_000))
    site.curl(f"http://{layout.host_port(vip, PORT)}/files/up", "--fail", "-T", sent, timeout=60)
    assert same(sent, far.files / "up")
    assert path_mtu(site, "client-1", vip) == narrow - MODES[mode]
    assert endpoint.stop()["refused"] == 0


@pytest.mark.parametrize("mode", [("DSR_IPIP", 6, 6), ("DSR_GUE", 6, 6)], ids=["ipip", "gue"])
def test_what_ipv6_cannot_send_shorter_reaches_the_endpoint_in_fragments_of_the_tunnel(site, tmp_path, mode):
    """RFC 2473 7.1: no client can be told less than 1,280 bytes, and less fits inside; a real kernel puts the outer packets together."""
    endpoint = DirectEndpoint(site, WEB, VIPS.values())
    site.apply([objects.node(port_options={"mtu": 1300}), *direct_service(mode)])
    both = site.capture(name="both", both=True)
    vip = VIPS[mode]
    sent = tmp_path / "up"
    sent.write_bytes(os.urandom(MEGABYTES * 1_000_000))
    site.curl(f"http://{layout.host_port(vip, PORT)}/files/up", "--fail", "-T", sent, timeout=60)
    assert same(sent, site.origins[WEB.name].files / "up")
    assert path_mtu(site, "client-1", vip) == 1280
    both.stop()
    cut = "".join(host.run("tshark", "-n", "-r", path, "-o", "ipv6.defragment:FALSE", "-Y", "ipv6.fraghdr.offset > 0").stdout
                  for path in both.files.values())
    assert len(cut.splitlines()) > 1000
    assert endpoint.stop()["refused"] == 0


def test_fragments_of_a_datagram_reach_the_endpoint_in_their_tunnel(site):
    """FR-01."""
    modes = [("DSR_IPIP", 4, 4), ("DSR_GUE", 6, 6), ("DSR_L2", 4, 4)]
    DirectEndpoint(site, WEB, VIPS.values())
    servers = [start_server(site, WEB, mode[1], VIPS[mode]) for mode in modes]
    site.apply([objects.node(), *[item for mode in modes
                                  for item in direct_service(mode, QUESTIONS_PORT, "UDP")]])
    # Fragments that fit a tunnel: the client knows how narrow the way to these VIPs is.
    outside = layout.Host("own", layout.OUTSIDE, layout.OWN_NUMBER)
    host.ip_batch(site.network.namespace("client-1"), [
        f"route add {VIPS[mode]} via {outside.address(mode[1])} mtu 1400" for mode in modes])
    for mode in modes:
        done = host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", QUESTIONS,
                           VIPS[mode], QUESTIONS_PORT, mode[1], 20)
        assert done.stdout.strip() == "20", mode
    for server in servers:
        server.stop()


@pytest.mark.parametrize("mode", [("DSR_L2", 4, 4), ("DSR_IPIP", 4, 6), ("DSR_GUE", 6, 6)],
                         ids=["l2-ipv4", "ipip-ipv4-in-ipv6", "gue-ipv6"])
def test_health_checks_prove_the_tunnel_and_the_vip_on_the_endpoint(site, mode):
    """Down without the VIP or without what takes packets out, although the endpoint answers at its own address."""
    endpoint = DirectEndpoint(site, WEB, [])
    items = [objects.node(exception_port={"interface": "sluice0"}), objects.health_check(),
             *direct_service(mode, health="tcp")]
    site.apply(items)

    def health():
        return {(e["health"], e["health_reason"]) for e in site.ask_mgmt("endpoints")["endpoints"]}
    place = f"{layout.host_port(VIPS[mode], PORT)} by {mode[0]} at {WEB.address(mode[2])}"
    host.wait_for(lambda: health() == {("down", f"tcp: no answer from {place} within 1s")}, "the check to fail")
    endpoint.take(VIPS[mode])
    host.wait_for(lambda: health() == {("up", "")}, "the endpoint to be up")
    assert site.curl(f"http://{layout.host_port(VIPS[mode], PORT)}/", "--fail", timeout=10).stdout.strip() == WEB.name
    site.origins[WEB.name].nginx.stop()
    host.wait_for(lambda: health() == {("down", f"tcp: connecting to {place}: Connection refused")}, "a refusal to be seen")
    site.origins[WEB.name].nginx.start()
    host.wait_for(lambda: health() == {("up", "")}, "the endpoint to be up again")
    if mode[0] != "DSR_L2":
        endpoint.stop()
        host.wait_for(lambda: {state for state, _ in health()} == {"down"}, "the check to fail without a tunnel")
    assert site.drops().get("drop.source_invalid", 0) == 0


TUNNELS = """
import sys
from scapy.all import GRE, IP, IPv6, UDP, Ether, Raw, sendp
own4, own6, vip, mac, victim = sys.argv[1:]
inner = IP(src="203.0.113.9", dst=victim) / UDP(sport=1, dport=9) / Raw(b"x" * 20)
frames = []
for destination in (own4, vip):
    outer = Ether(dst=mac) / IP(src="10.1.0.11", dst=destination)
    frames += [outer / inner, outer / GRE() / inner, outer / UDP(sport=50000, dport=6080) / Raw(b"\\0\\4\\0\\0" + bytes(inner))]
outer = Ether(dst=mac) / IPv6(src="fd00:1::11", dst=own6)
frames += [outer / inner, outer / GRE() / inner]
sendp(frames, iface="eth0", verbose=False)
"""


def test_packets_in_packets_to_the_box_are_taken_out_by_nobody(site):
    """L4-14: neither by the dataplane nor by the kernel behind the exception port, which never sees them."""
    mode = ("DSR_GUE", 4, 4)
    DirectEndpoint(site, WEB, VIPS.values())
    site.apply([objects.node(exception_port={"interface": "sluice0"}), *direct_service(mode)])
    everything = site.capture(name="both", both=True)
    own = layout.Host("own", layout.OUTSIDE, layout.OWN_NUMBER)
    mac = next(port["mac"] for port in site.ask_dataplane("ports")["ports"] if port["name"] == "outside")
    host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", TUNNELS, own.v4, own.v6, VIPS[mode],
                mac, WEB.v4)
    # GUE to a port of the VIP's address that nobody has is a datagram like others.
    host.wait_for(lambda: (site.drops().get("drop.tunnel_refused"), site.drops().get("drop.no_vip")) == (7, 1),
                  "all eight to be refused by name")
    everything.stop()
    toward = everything.files[layout.INSIDE_A.name]
    assert host.run("tshark", "-n", "-r", toward, "-Y", "udp.dstport==9 or ip.src==203.0.113.9").stdout == ""
