"""Two workers, two queues: replies come to the worker of their flow by the hash of a SNAT port that was
chosen for it; where that is not so, the dataplane finds out, says so, and a ring does the work."""

import re

import yaml

from sluice_site import host, layout, objects
from sluice_site.tools import Tool

PROFILES = host.REPOSITORY / "tests/site/profiles"
CARD, CLAIM = PROFILES / "rss_nic.yaml", PROFILES / "af_packet_rss.yaml"
FLOWS = layout.vip(2)
WEB = f"{layout.vip(1)}:80"


def start_cards(site):
    """A card with RSS on each port of the appliance."""
    key = yaml.safe_load(CARD.read_text())["spec"]["rss"]["key"]
    cards = []
    for number, subnet in enumerate(layout.SUBNETS):
        command = [site.tools / "rss_nic", "--interface", subnet.name, "--socket", site.directory / f"{subnet.name}.sock",
                   "--id", number, "--key", key]
        name = site.network.take_out(subnet)
        cards.append(Tool(name, command, site.directory, site.network.namespace(name)).start())
    return cards


def services():
    return [*objects.service("web", 1, 80, layout.ANSWER_PORT),
            *objects.service("flows", 2, 7000, layout.FLOWS_PORT),
            *objects.service("flows-v6", 2, 7000, layout.FLOWS_PORT, family=6),
            *objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, "UDP")]


def send_traffic(site):
    """Long flows of both families and protocols, many short ones; all of it right."""
    tools = [site.flows(f"{FLOWS}:7000", count=200, interval_ms=100),
             site.flows(f"[{layout.vip(2, 6)}]:7000", "client-2", count=200, interval_ms=100),
             site.flows(f"{FLOWS}:7000", "client-2", count=200, interval_ms=100, protocol="udp")]
    result = site.cps(WEB, count=600).result()
    assert result["failed"] == 0, result
    for tool in tools:
        host.wait_for(lambda: tool.progress()["messages"] > 5 * 200, f"{tool.name} to echo")
        ended = tool.finish()
        assert ended["established"] == 200, ended
        assert not any(ended[fault] for fault in ("broken", "wrong_bytes", "wrong_flow", "moved", "lost")), ended


def ports(site):
    return {port["name"]: port for port in site.ask_dataplane("ports")["ports"]}


def test_replies_hash_to_the_worker_that_chose_their_port(make_site):
    site = make_site(profile="rss_nic", capture=False, profiles=[CARD])
    cards = start_cards(site)
    site.start_appliance()
    node = objects.node(workers=(0, 1), profile="rss_nic", port_options={"queues": 2})
    for port in node["spec"]["ports"]:
        port["device"] = str(site.directory / f"{port['name']}.sock")
    site.apply([node, *services()])
    send_traffic(site)
    for subnet in (layout.INSIDE_A, layout.INSIDE_B):
        host.wait_for(lambda: ports(site)[subnet.name]["steering_proof"] == "kept", f"{subnet.name} to be proven")
        port = ports(site)[subnet.name]
        assert port["steering"] == "SNAT_PORT_HASH", port
        assert port["first_replies"] >= 200 and port["first_replies_handed"] == 0, port
    # Both workers had flows, and of all packets almost none crossed a ring: ARP and ND alone.
    ledger = site.ask_dataplane("ledger")
    assert ledger["received"] > 5000 and ledger["handed_in"] < ledger["received"] / 100, ledger
    shown = site.shell("show", "ports", "inside-a").stdout
    assert "SNAT_PORT_HASH: key and table as profile rss_nic declares them" in shown
    assert re.search(r"[0-9.k]+ first replies came to the worker of their flow, 0 to another", shown), shown
    for card in cards:
        queues = card.finish()["by_queue"]
        assert min(queues) > sum(queues) / 4, queues


def test_a_device_that_hashes_otherwise_is_found_out(make_site):
    """The profile claims a hash; the kernel spreads packets by a secret of its own."""
    site = make_site(profile="af_packet", capture=False, profiles=[CLAIM])
    site.start_appliance()
    site.apply([objects.node(workers=(0, 1), profile="af_packet_rss", port_options={"queues": 2}), *services()])
    assert ports(site)["inside-a"]["steering"] == "SNAT_PORT_HASH"
    send_traffic(site)
    host.wait_for(lambda: ports(site)["inside-a"]["steering_proof"] == "broken", "the wrong hash to be found out")
    port = ports(site)["inside-a"]
    assert port["steering"] == "HANDOFF" and "did not keep what it promises" in port["steering_reason"], port
    assert port["first_replies_handed"] > 50, port
    assert "port inside-a: steering: SNAT_PORT_HASH did not keep" in site.dataplane.log_tail(200)
    assert site.cps(WEB, count=200).result()["failed"] == 0  # and goes on
    drops = site.drops()
    assert drops["drop.no_flow"] == drops["drop.handoff_full"] == 0, drops
