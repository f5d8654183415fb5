"""Clients among the endpoints: a packet that leaves by the port it came in by, in FULL_NAT."""

import pytest

from sluice_site import host, layout, objects

WEB = {4: layout.vip(1), 6: layout.vip(1, 6)}


def reach_vips(site, machine):
    """The machine sends to VIPs through the appliance, as a client does."""
    host.ip_batch(site.network.namespace(machine), [
        f"route replace {layout.VIP_V4}.0/24 via {layout.INSIDE_A.v4}.{layout.OWN_NUMBER}",
        f"route replace {layout.VIP_V6}::/64 via {layout.INSIDE_A.v6}::{layout.OWN_NUMBER}"])


def web(family, origins):
    return objects.service(f"web-v{family}", 1, 80, layout.HTTP_PORT, family=family, origins=origins)


def asked(site, machine, family):
    url = f"http://{layout.host_port(WEB[family], 80)}/"
    return site.curl(url, "--connect-timeout", "5", client=machine).stdout.strip()


@pytest.mark.parametrize("family", [4, 6])
def test_a_client_in_the_endpoints_subnet_and_an_endpoint_that_calls_its_own_vip(site, family):
    first, second = layout.ORIGINS[:2]
    site.apply([objects.node(), *web(family, [first])])
    for machine in (first.name, second.name):
        reach_vips(site, machine)
        assert asked(site, machine, family) == first.name
    # What the endpoint sees is the SNAT address, also when the client is itself.
    url = f"http://{layout.host_port(WEB[family], 80)}/client"
    seen = site.curl(url, client=first.name).stdout.strip()
    pool = layout.INSIDE_A
    assert seen == (f"{pool.v4}.{layout.SNAT_NUMBER}" if family == 4 else f"{pool.v6}::{layout.SNAT_NUMBER}")
    assert all(count == 0 for name, count in site.drops().items() if name.startswith("drop.source"))


def test_one_arm_serves_clients_and_endpoints_by_the_same_port(make_site):
    site = make_site(capture=False)
    site.start_appliance()
    node = objects.node()
    node["spec"]["ports"] = [objects.port(layout.INSIDE_A)]
    first, second = layout.ORIGINS[:2]
    site.apply([node, *web(4, [first]), *web(6, [first])])
    reach_vips(site, second.name)
    assert [port["name"] for port in site.ask_dataplane("ports")["ports"]] == ["inside-a"]
    for family in (4, 6):
        assert asked(site, second.name, family) == first.name
    flows = objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=[first])
    site.apply([node, *web(4, [first]), *flows])
    tool = site.flows(f"{layout.vip(2)}:7000", second.name, count=100, interval_ms=50)
    assert tool.event("ready")["established"] == 100
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["wrong_flow"] == 0, ended
