"""VIPs of many ports and addresses, clients that stay with their endpoint, and datagrams that stay with none."""

import json

import pytest

from sluice_site import host, layout, objects
from sluice_site.process import Process

FAMILIES = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])


def named(items, kind):
    return next(item["spec"] for item in items if item["kind"] == kind)


def wide(name, number, ports, family, prefix_length=None, lb_port=False, on_link=None, **more):
    """A service whose VIP takes `ports` ("8080-8081", or "all") of a network of addresses."""
    items = objects.service(name, number, 1, more.pop("backend_port", layout.HTTP_PORT), family=family, **more)
    policy, cluster = named(items, "advertise_policy"), named(items, "cluster")
    del policy["port"]
    policy["sluice"] = {}
    if ports == "all":
        policy["sluice"]["all_ports"] = {}
    else:
        policy["port_ranges"] = ports
    if prefix_length:
        policy["sluice"]["prefix_length"] = prefix_length
    if on_link:
        policy["address"] = on_link
    if lb_port:
        cluster["sluice"]["lb_port"] = {}
    return items


def address(number, family):
    return f"{layout.VIP_V4}.{number}" if family == 4 else f"{layout.VIP_V6}::{number:x}"


@FAMILIES
@pytest.mark.parametrize("forwarding", ["FULL_NAT", "NAT"])
def test_every_port_of_a_range_and_every_address_of_a_network_leads_to_the_endpoints(site, family, forwarding):
    """TCP to nginx on 8080 and `answer` on 8081 through one VIP, UDP to any port of another."""
    length, link_length = (28, 30) if family == 4 else (124, 126)
    on_link = f"{layout.OUTSIDE.v4}.128" if family == 4 else f"{layout.OUTSIDE.v6}::80"
    any_port = wide("any", 64, "all", family, length, protocol="UDP", backend_port=layout.UDP_PORT,
                    forwarding=forwarding)
    ranges = wide("ranges", 16, "8080-8081", family, length, lb_port=True, forwarding=forwarding)
    link = wide("link", 1, "80,8000-8100", family, link_length, on_link=on_link, forwarding=forwarding)
    for items, base in ((any_port, 64), (ranges, 16)):
        named(items, "advertise_policy")["address"] = address(base, family)
    site.apply([objects.node(), *any_port, *ranges, *link,
                *objects.service("exact", 17, 8080, layout.ANSWER_PORT, family=family, origins=layout.ORIGINS[:1],
                                 forwarding=forwarding)])
    exact = named(objects.service("exact", 17, 8080, 1, family=family), "advertise_policy")["address"]
    for number in (16, 21, 31):
        asked = layout.host_port(address(number, family), 8080)
        assert site.curl(f"http://{asked}/").stdout.strip() in ("web-1", "web-2", "web-3")
        result = site.cps(layout.host_port(address(number, family), 8081), count=30).result()
        assert (result["succeeded"], len(result["by_server"])) == (30, 3), result
    result = site.cps(layout.host_port(exact, 8080), count=30).result()
    assert list(result["by_server"]) == ["web-1"], result
    conflicts_before = 0
    for number, port in ((64, 1), (70, 5300), (79, 65535)):
        result = site.cps(layout.host_port(address(number, family), port), protocol="udp", count=30).result()
        # With NAT, who takes a port again for another address of the network, with the same endpoint behind it, is refused by name:
        # to the endpoint both would be one.
        conflicts = site.drops().get("drop.flow_conflict", 0)
        assert conflicts == 0 or forwarding == "NAT"
        assert (result["succeeded"], result["failed"]) == (30 - (conflicts - conflicts_before), conflicts - conflicts_before), result
        assert conflicts <= 3, result
        conflicts_before = conflicts
    # On the link the clients ask for each address by ARP or neighbour solicitation.
    for number in (128, 131):
        there = f"{layout.OUTSIDE.v4}.{number}" if family == 4 else f"{layout.OUTSIDE.v6}::{number:x}"
        for port in (80, 8000, 8100):
            assert site.curl(f"http://{layout.host_port(there, port)}/").stdout.strip() in ("web-1", "web-2", "web-3")
    # Beside them there is nothing.
    refused = site.curl(f"http://{layout.host_port(address(32, family), 8080)}/", "--connect-timeout", "0.3", check=False)
    assert refused.returncode != 0
    listed = json.loads(site.shell("show", "virtual-hosts", "--json").stdout)["virtual_hosts"]
    shown = {entry["name"]: entry["vips"] for entry in listed}
    network = f"{address(16, family)}/{length}"
    assert shown["ranges"] == [f"{network if family == 4 else f'[{network}]'}:8080-8081/tcp"]


@FAMILIES
def test_all_connections_of_a_client_reach_one_endpoint_also_when_another_leaves(site, family):
    """By the client's address alone; every source of 10.1.0.0/24 (or its /64) counts as one client when asked to."""
    service = objects.service("web", 1, 80, layout.ANSWER_PORT, family=family, algorithm="MAGLEV")
    target = layout.host_port(layout.vip(1, family), 80)
    sluice = named(service, "cluster")["sluice"]
    sluice["source_persistence"] = {"ipv4_prefix_length": 24, "ipv6_prefix_length": 64}
    site.apply([objects.node(), *service])
    chosen = set()
    for client in ("client-1", "client-2"):
        result = site.cps(target, client, count=60).result()
        assert (result["succeeded"], len(result["by_server"])) == (60, 1), result
        chosen |= set(result["by_server"])
    assert len(chosen) == 1, "both clients are in one network"
    keeper = chosen.pop()
    leaver = next(origin for origin in layout.ORIGINS if origin.name != keeper)
    site.shell("drain", "endpoint", f"web-{leaver.name}")
    host.wait_for(lambda: any(e["state"] == "draining" for e in site.ask_dataplane("endpoints")["endpoints"]), "the drain")
    result = site.cps(target, count=60).result()
    assert list(result["by_server"]) == [keeper], result
    # The one that was chosen leaves: all go to one other.
    site.shell("undrain", "endpoint", f"web-{leaver.name}")
    site.shell("drain", "endpoint", f"web-{keeper}")
    host.wait_for(lambda: [e["name"] for e in site.ask_dataplane("endpoints")["endpoints"] if e["state"] == "draining"]
                  == [f"web-{keeper}"], "the drain")
    result = site.cps(target, count=60).result()
    assert len(result["by_server"]) == 1 and list(result["by_server"]) != [keeper], result


# Speaks as much of QUIC as a balancer sees: an Initial of a client's own making is answered with a connection ID of the
# server's, plaintext QUIC-LB; afterwards only packets with one of those are answered.
QUIC_SERVER = """
import os, socket, sys
family, port, server_id, name = int(sys.argv[1]), int(sys.argv[2]), bytes.fromhex(sys.argv[3]), sys.argv[4].encode()
s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("" if family == 4 else "::", port))
known = set()
while True:
    packet, client = s.recvfrom(2048)
    if packet[0] & 0x80:
        cid = bytes([2 << 5 | os.urandom(1)[0] & 31]) + server_id + os.urandom(8)
        known.add(cid)
        at = 6 + packet[5]
        peer = packet[at + 1:at + 1 + packet[at]]
        s.sendto(b"\\xc0\\0\\0\\0\\1" + bytes([len(peer)]) + peer + bytes([len(cid)]) + cid + name, client)
    else:
        s.sendto(b"\\x40" + (name if packet[1:2 + len(server_id) + 8] in known else b"stranger"), client)
"""
# Opens connections and moves each through many ports and addresses; prints how often each answer came.
QUIC_CLIENT = """
import collections, json, os, random, socket, sys
address, port, family, sources = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
def ask(source, packet):
    s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind((source, 0)); s.settimeout(2); s.connect((address, port)); s.send(packet)
    try: return s.recv(2048)
    except TimeoutError: return b""
seen = collections.Counter()
servers = collections.Counter()
for connection in range(20):
    mine = os.urandom(8)
    answer = ask(sources[0], b"\\xc0\\0\\0\\0\\1\\x08" + os.urandom(8) + bytes([len(mine)]) + mine + os.urandom(1100))
    assert answer[6:14] == mine, answer
    cid, name = answer[15:15 + answer[14]], answer[15 + answer[14]:]
    servers[name.decode()] += 1
    for move in range(10):
        moved = ask(random.choice(sources), b"\\x40" + cid + os.urandom(30))
        seen["same" if moved[1:] == name else moved[1:].decode() or "silence"] += 1
print(json.dumps(seen), json.dumps(servers), sep="\\n")
stray = bytes([2 << 5]) + b"\\xee\\xee" + os.urandom(8)
print(ask(sources[0], b"\\x40" + stray), ask(sources[0], b"\\x40"), sep="\\n")
"""
QUIC_PORT = 4433


@FAMILIES
def test_a_quic_connection_reaches_its_endpoint_from_any_address_and_port(site, family):
    service = objects.service("quic", 1, 443, QUIC_PORT, protocol="UDP", family=family)
    named(service, "virtual_host")["sluice"] = {"quic": {"config_rotation": 2, "server_id_length": 2}}
    servers = []
    try:
        for number, origin in enumerate(layout.ORIGINS):
            server_id = f"a{number}0{number}"
            item = next(i for i in service if i["metadata"]["name"] == f"quic-{origin.name}" and i["kind"] == "endpoint")
            item["spec"]["sluice"] = {"quic_server_id": server_id}
            namespace = site.network.namespace(origin.name)
            servers.append(Process("quic", ["/usr/bin/python3", "-c", QUIC_SERVER, family, QUIC_PORT, server_id, origin.name],
                                   site.origins[origin.name].directory, namespace))
            servers[-1].start()
            host.wait_for(lambda: host.run_in(namespace, "ss", "-Hlun", f"sport = :{QUIC_PORT}").stdout,  # noqa: B023
                          "the server to listen")
        site.apply([objects.node(), *service])
        client = layout.CLIENTS[0]
        stem = f"{client.subnet.v4}." if family == 4 else f"{client.subnet.v6}::"
        sources = [client.address(family), *(f"{stem}{number}" for number in layout.EXTRA_SOURCES)]
        done = host.run_in(site.network.namespace(client.name), "/usr/bin/python3", "-c", QUIC_CLIENT,
                           layout.vip(1, family), 443, family, ",".join(sources), timeout=60)
        seen, chosen, stray, empty = done.stdout.strip().splitlines()
        assert json.loads(seen) == {"same": 200}, seen
        assert len(json.loads(chosen)) == 3, chosen
        assert (stray, empty) == ("b''", "b''")
        drops = site.drops()
        assert (drops["drop.quic_unroutable"], drops["drop.quic_malformed"]) == (1, 1)
        vip = site.ask_dataplane("vips")["vips"][0]
        assert vip["flows_by_connection_id"] == 200
    finally:
        for server in servers:
            server.stop()


# One socket, many questions: whose answers come back, all from the address that was asked.
ONE_SOCKET = """
import socket, sys
address, port, family = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(2); s.connect((address, port))
names = []
for i in range(60):
    s.send(b"question %d" % i)
    names.append(s.recv(2048).split()[-1].decode())  # what was sent, then the name
print(*names)
"""


@FAMILIES
def test_one_packet_at_a_time_each_datagram_goes_its_own_way_and_leaves_nothing(site, family):
    service = objects.service("dns", 1, 53, layout.UDP_PORT, protocol="UDP", family=family, forwarding="NAT")
    named(service, "virtual_host")["sluice"] = {"one_packet": True}
    site.apply([objects.node(), *service])
    done = host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", ONE_SOCKET, layout.vip(1, family), 53,
                       family)
    names = done.stdout.split()
    assert {name: names.count(name) for name in set(names)} == {"web-1": 20, "web-2": 20, "web-3": 20}
    assert site.ask_dataplane("status")["flows_in_use"] == 0
    vip = site.ask_dataplane("vips")["vips"][0]
    assert (vip["rx_packets"], vip["tx_packets"]) == (60, 60)
