"""A client of one IP family and an endpoint of the other, both with real kernels."""

import pytest

from sluice_site import layout, objects
from test_icmp import NARROW, a_file, path_mtu, routes_beyond, same


def across(name, vip_family, port, backend_port, protocol="TCP", origins=layout.ORIGINS, **more):
    """A service whose VIP is of one family and whose endpoints are of the other."""
    service = objects.service(name, 1, port, backend_port, protocol=protocol, family=vip_family,
                              origins=origins, **more)
    by_ip = {origin.address(vip_family): origin.address(10 - vip_family) for origin in origins}
    for item in service:
        if item["kind"] == "endpoint":
            item["spec"]["ip"] = by_ip[item["spec"]["ip"]]
    return service


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4-to-ipv6", "ipv6-to-ipv4"])
def test_connections_and_datagrams_cross_between_the_families(site, tmp_path, family):
    site.apply([objects.node(), *across("web", family, 80, layout.HTTP_PORT),
                *across("echo", family, 5300, layout.UDP_PORT, "UDP")])
    web = layout.host_port(layout.vip(1, family), 80)
    result = site.cps(web, http=True, count=300).result()
    assert (result["succeeded"], result["failed"], len(result["by_server"])) == (300, 0, 3), result
    site.apply(across("web", family, 80, layout.HTTP_PORT, forwarding="SPLICE"))
    result = site.cps(web, http=True, count=300).result()
    assert (result["succeeded"], result["failed"], len(result["by_server"])) == (300, 0, 3), result
    result = site.cps(layout.host_port(layout.vip(1, family), 5300), protocol="udp", count=300).result()
    assert (result["succeeded"], result["failed"], len(result["by_server"])) == (300, 0, 3), result


@pytest.mark.parametrize("forwarding", ["FULL_NAT", "SPLICE"])
@pytest.mark.parametrize("family", [4, 6], ids=["ipv4-to-ipv6", "ipv6-to-ipv4"])
def test_ten_megabytes_cross_over_a_narrow_link_in_both_directions(site, tmp_path, family, forwarding):
    """IC-01 between the families: the endpoint learns the MTU of the client's path, less or more what
    the headers differ by."""
    site.network.add_far(layout.OUTSIDE, NARROW)
    site.apply([objects.node(routes=routes_beyond(layout.OUTSIDE)),
                *across("web", family, 80, layout.HTTP_PORT, origins=[layout.ORIGINS[0]], forwarding=forwarding)])
    url = f"http://{layout.host_port(layout.vip(1, family), 80)}/files/"
    sent = a_file(site.origins["web-1"].files / "down")
    site.curl(url + "down", "--fail", "-o", tmp_path / "down", client=layout.FAR.name, timeout=60)
    assert same(sent, tmp_path / "down")
    snat = layout.Host("snat", layout.INSIDE_A, layout.SNAT_NUMBER).address(10 - family)
    assert path_mtu(site, "web-1", snat) == NARROW + (20 if family == 4 else -20)
    sent = a_file(tmp_path / "up")
    site.curl(url + "up", "--fail", "-T", sent, timeout=60)
    assert same(sent, site.origins["web-1"].files / "up")
