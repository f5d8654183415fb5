"""VLAN sub-interfaces: clients and endpoints behind one wire, told apart by tags. The kernels at both
ends see untagged frames; the tool `trunk` is the switch between."""

import pytest

from sluice_site import host, layout, objects
from sluice_site.tools import Tool

CLIENTS, SERVERS = 100, 4094
FLOWS = layout.vip(2)


def start_trunk(site):
    arguments = site.network.make_trunk(layout.OUTSIDE, {CLIENTS: layout.OUTSIDE, SERVERS: layout.INSIDE_A})
    return Tool("trunk", [site.tools / "trunk", *arguments], site.directory, site.network.namespace("mid")).start()


def sub_interface(name, vlan, subnet, **more):
    made = objects.port(subnet, parent="wire", vlan=vlan, name=name, **more)
    del made["profile"], made["device"]
    return made


@pytest.mark.parametrize("profile", ["af_xdp", "af_packet"])
def test_tcp_and_udp_between_two_vlans_of_one_port(make_site, profile):
    site = make_site(profile=profile, capture=False)
    trunk = start_trunk(site)
    site.start_appliance()
    node = objects.node()
    wire = {"name": "wire", "profile": profile, "device": layout.OUTSIDE.name}
    node["spec"]["ports"] = [wire, sub_interface("clients", CLIENTS, layout.OUTSIDE),
                             sub_interface("servers", SERVERS, layout.INSIDE_A)]
    origins = layout.ORIGINS[:2]
    items = [objects.health_check(),
             *objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=origins),
             *objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, "UDP", origins=origins),
             *objects.service("flows-v6", 2, 7000, layout.FLOWS_PORT, family=6, origins=origins),
             *objects.service("web", 1, 80, layout.HTTP_PORT, origins=origins)]
    site.apply([node, *items])
    # ARP and neighbour discovery, full-sized segments both ways, datagrams.
    page = site.curl(f"http://{layout.vip(1)}/", "--connect-timeout", "5").stdout.strip()
    assert page in {origin.name for origin in origins}
    tools = [site.flows(f"{FLOWS}:7000", count=50, interval_ms=20),
             site.flows(f"[{layout.vip(2, 6)}]:7000", "client-2", count=50, interval_ms=20),
             site.flows(f"{FLOWS}:7000", "client-2", count=50, interval_ms=20, protocol="udp")]
    for tool in tools:
        host.wait_for(lambda: tool.progress()["messages"] > 5 * 50, f"{tool.name} to echo")
        ended = tool.finish()
        assert ended["established"] == 50, ended
        assert not any(ended[fault] for fault in ("broken", "wrong_bytes", "wrong_flow", "moved", "lost")), ended
    host.run_in(site.network.namespace("client-1"), "ping", "-c1", "-W5", FLOWS)

    # A sub-interface is configured while the dataplane runs. One that is gone is a VLAN that nobody knows.
    ports = {port["name"]: port for port in site.ask_dataplane("ports")["ports"]}
    assert ports["clients"]["vlan"] == CLIENTS and ports["clients"]["parent"] == "wire"
    assert "vlan       100 on wire" in site.shell("show", "ports", "clients").stdout
    node["spec"]["ports"][1]["vlan"] = 99
    site.apply([node])
    assert site.ask_dataplane("status")["restart_required"] == []
    host.run_in(site.network.namespace("client-1"), "ping", "-c2", "-W1", "-i0.2", FLOWS, check=False)
    assert site.drops()["drop.vlan_unknown"] > 0
    node["spec"]["ports"][1]["vlan"] = CLIENTS
    site.apply([node])
    host.run_in(site.network.namespace("client-1"), "ping", "-c1", "-W5", FLOWS)
    result = trunk.finish()
    assert all(vlan["to_trunk"] and vlan["from_trunk"] for vlan in result["vlans"]), result
    site.check_ledger()
