"""What the wire does not take: a cable that is pulled under traffic."""

import time

from sluice_site import host, layout, objects
from sluice_site.process import Process

# Asks a UDP server every 5 ms, whether answers come or not; prints when each answered question was sent.
PROBE = """
import select, socket, sys, time
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.connect((sys.argv[1], int(sys.argv[2])))
while True:
    try:
        probe.send(str(time.monotonic()).encode())
    except OSError:
        pass  # an ICMP error about an earlier one
    time.sleep(0.005)
    while select.select([probe], [], [], 0)[0]:
        try:
            print(probe.recv(2048).split()[0].decode(), flush=True)
        except OSError:
            break
"""
DOWN_SECONDS = 2  # so long the cable hangs loose


def pull(site, subnet, state):
    host.run("ip", "-n", site.network.namespace("mid"), "link", "set", f"lb-{subnet.name}", state)


def link(site, subnet):
    return {port["name"]: port["link"] for port in site.ask_dataplane("ports")["ports"]}[subnet.name]


def test_a_pulled_cable_is_shown_and_traffic_is_back_within_100_ms(site):  # OV-05
    site.apply([objects.node(), *objects.service("echo", 3, 5300, layout.UDP_PORT, protocol="UDP", origins=layout.ORIGINS[:1]),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT)])
    tool = site.flows(f"{layout.vip(2)}:7000", count=60, interval_ms=100)
    probe = Process("probe", ["/usr/bin/python3", "-c", PROBE, layout.vip(3), 5300], site.directory,
                    site.network.namespace("client-1")).start()

    def answered():  # the times of questions
        return [float(line) for line in probe.output_text().rpartition("\n")[0].splitlines()]

    for subnet in (layout.INSIDE_A, layout.OUTSIDE):
        began = time.monotonic()
        host.wait_for(lambda: [at for at in answered() if at > began], "an answer while the cable is in")
        assert link(site, subnet) == "up"
        down = time.monotonic()
        pull(site, subnet, "down")
        host.wait_for(lambda: link(site, subnet) == "down", f"the link of {subnet.name} to be shown down", 2)
        assert "down" in site.shell("show", "ports").stdout
        host.wait_for(lambda: time.monotonic() > down + DOWN_SECONDS, "the time of the fault")
        up = time.monotonic()
        pull(site, subnet, "up")
        after = host.wait_for(lambda: [at for at in answered() if at > up], "an answer after it")
        host.wait_for(lambda: link(site, subnet) == "up", f"the link of {subnet.name} to be shown up", 2)
        print(f"{subnet.name}: the first question that is answered is asked {(after[0] - up) * 1e3:.0f} ms after")
        assert not [at for at in answered() if down + 0.1 < at < up]
        assert after[0] - up < 0.1
    probe.stop()
    host.wait_for(lambda: tool.progress()["waiting"] == 0, "the flows to go on")
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["moved"] == 0, ended
