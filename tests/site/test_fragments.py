"""Datagrams longer than a packet, through real kernels that cut them and put them together again."""

import pytest

from sluice_site import host, layout, objects
from sluice_site.process import Process
from test_families import across

# Answers each question with as many bytes as it asks for, made from the question.
SERVER = """
import socket, sys
family, port = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
s.bind((sys.argv[3] or ("" if family == 4 else "::"), port))
while True:
    question, client = s.recvfrom(65535)
    wanted = int(question[:8])
    s.sendto((question * (wanted // len(question) + 1))[:wanted], client)
"""
CLIENT = """
import os, socket, sys
address, port, family, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
good = 0
for i in range(count):
    s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
    s.settimeout(3)
    s.connect((address, port))
    asked, wanted = ((60, 4096), (3000, 4096), (8000, 60), (9000, 60000))[i % 4]
    question = b"%08d" % wanted + os.urandom(asked - 8)
    for _ in range(3):  # as a resolver would
        s.send(question)
        try:
            good += s.recv(65535) == (question * (wanted // len(question) + 1))[:wanted]
            break
        except TimeoutError:
            pass
print(good)
"""
PORT = 5353


def start_server(site, origin, family, address="", port=PORT):
    """On all addresses, or on one: only then its answers come from there."""
    server = Process(f"long-answers-{port}-{address}", ["/usr/bin/python3", "-c", SERVER, family, port, address],
                     site.origins[origin.name].directory, site.network.namespace(origin.name))
    server.start()
    host.wait_for(lambda: host.run_in(site.network.namespace(origin.name), "ss", "-Hlun",
                                      f"sport = :{port}").stdout, "the server to listen")
    return server


def all_questions_are_answered(site, family):
    """By one client, who asks 40 of them over `family`; and no fragment was lost on the way."""
    done = host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", CLIENT,
                       layout.vip(1, family), 53, family, 40)
    assert done.stdout.strip() == "40"
    assert {name: count for name, count in site.drops().items() if "fragment" in name and count} == {}


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("forwarding", ["FULL_NAT", "NAT"])
def test_questions_and_answers_longer_than_a_packet_arrive_whole(site, forwarding, family):
    """FR-01."""
    origins = layout.ORIGINS[:2]
    servers = [start_server(site, origin, family) for origin in origins]
    try:
        site.apply([objects.node(),
                    *objects.service("dns", 1, 53, PORT, protocol="UDP", family=family,
                                     origins=origins, forwarding=forwarding)])
        all_questions_are_answered(site, family)
    finally:
        for server in servers:
            server.stop()


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4-to-ipv6", "ipv6-to-ipv4"])
def test_questions_and_answers_longer_than_a_packet_cross_between_the_families(site, family):
    """FR-01 between the families: what IPv4 has filled a link with is cut once more for IPv6."""
    origins = layout.ORIGINS[:2]
    servers = [start_server(site, origin, 10 - family) for origin in origins]
    try:
        site.apply([objects.node(), *across("dns", family, 53, PORT, "UDP", origins)])
        all_questions_are_answered(site, family)
    finally:
        for server in servers:
            server.stop()
