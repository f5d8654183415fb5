"""What the wire does not take: a cable that is pulled under traffic."""

import time

import pytest

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
DOWN_SECONDS = 1  # so long the cable hangs loose


# What is pulled: the other end of the cable, or our own interface from under the driver.
ENDS = {"cable": ("mid", "lb-{}"), "interface": ("lb", "{}")}


def pull(site, subnet, end, state):
    machine, name = ENDS[end]
    host.run("ip", "-n", site.network.namespace(machine), "link", "set", name.format(subnet.name), state)


def port(site, subnet):
    return next(port for port in site.ask_dataplane("ports")["ports"] if port["name"] == subnet.name)


def lost_by_name(site):
    return site.drops().get("drop.link_down", 0)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("driver", ["af_xdp", "af_packet"])
def test_a_pulled_cable_is_shown_its_losses_have_a_name_and_traffic_is_back_within_100_ms(make_site, driver, end):  # OV-05
    site = make_site(profile=driver)
    site.start_appliance()
    site.apply([objects.node(profile=driver),
                *objects.service("echo", 3, 5300, layout.UDP_PORT, protocol="UDP", origins=layout.ORIGINS[:1]),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT)])
    tool = site.flows(f"{layout.vip(2)}:7000", count=60, interval_ms=100)
    probe = Process("probe", ["/usr/bin/python3", "-c", PROBE, layout.vip(3), 5300], site.directory,
                    site.network.namespace("client-1")).start()

    def answered():  # the times of questions
        return [float(line) for line in probe.output_text().rpartition("\n")[0].splitlines()]

    for subnet in (layout.INSIDE_A, layout.OUTSIDE):
        began = time.monotonic()
        host.wait_for(lambda: [at for at in answered() if at > began], "an answer while the cable is in")
        assert port(site, subnet)["link"] == "up"
        before = lost_by_name(site)
        down = time.monotonic()
        pull(site, subnet, end, "down")
        host.wait_for(lambda: port(site, subnet)["link"] == "down", f"the link of {subnet.name} to be shown down", 2)
        assert "down" in site.shell("show", "ports").stdout
        sent = port(site, subnet)["tx_packets"]
        host.wait_for(lambda: time.monotonic() > down + DOWN_SECONDS, "the time of the fault")
        assert port(site, subnet)["tx_packets"] == sent, "nothing is given to a driver that would lose it"
        # Questions go there all the time. Answers go by the port of the questions, and only while these come in.
        if subnet == layout.INSIDE_A:
            assert lost_by_name(site) - before > DOWN_SECONDS * 50
        up = time.monotonic()
        pull(site, subnet, end, "up")
        after = host.wait_for(lambda: [at for at in answered() if at > up], "an answer after it")
        lost = lost_by_name(site)
        host.wait_for(lambda: port(site, subnet)["link"] == "up", f"the link of {subnet.name} to be shown up", 2)
        print(f"{subnet.name}: the first question that is answered is asked {(after[0] - up) * 1e3:.0f} ms after, "
              f"{lost - before} packets were lost by name")
        assert lost_by_name(site) == lost, "nothing more is lost"
        assert not [at for at in answered() if down + 0.1 < at < up]
        assert after[0] - up < 0.1
    probe.stop()
    host.wait_for(lambda: tool.progress()["waiting"] == 0, "the flows to go on")
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["moved"] == 0, ended
    assert [alarm["name"] for alarm in site.ask_dataplane("status")["alarms"]] == ["drop.link_down"]
