"""What a client sees of a balancer in its ordinary work."""

import hashlib
import os

import pytest

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
WEB_V6 = f"[{layout.vip(1, 6)}]:80"
ECHO = f"{layout.vip(1)}:5300"
ECHO_V6 = f"[{layout.vip(1, 6)}]:5300"
FLOWS = f"{layout.vip(2)}:7000"
FLOWS_V6 = f"[{layout.vip(2, 6)}]:7000"
FAULTS = ("failed_to_open", "broken", "wrong_bytes", "wrong_flow", "moved", "lost")

ALL_SERVICES = [
    objects.node(),
    *objects.service("web", 1, 80, layout.HTTP_PORT),
    *objects.service("web-v6", 1, 80, layout.HTTP_PORT, family=6),
    *objects.service("echo", 1, 5300, layout.UDP_PORT, protocol="UDP"),
    *objects.service("echo-v6", 1, 5300, layout.UDP_PORT, protocol="UDP", family=6),
    *objects.service("flows", 2, 7000, layout.FLOWS_PORT, algorithm="MAGLEV"),
    *objects.service("flows-v6", 2, 7000, layout.FLOWS_PORT, algorithm="MAGLEV", family=6),
    *objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, "UDP", algorithm="MAGLEV"),
    *objects.service("flows-udp-v6", 2, 7000, layout.FLOWS_PORT, "UDP", 6, algorithm="MAGLEV"),
]


def counts(result):
    return {name: entry["count"] for name, entry in sorted(result["by_server"].items())}


def without_fault(result):
    return {fault: result[fault] for fault in FAULTS if result[fault]} == {}


@pytest.mark.parametrize("address", [WEB, WEB_V6], ids=["ipv4", "ipv6"])
def test_1000_short_http_connections_over_three_endpoints_none_failed(site, address):
    site.apply(ALL_SERVICES)
    result = site.cps(address, http=True, count=1000).result()
    assert (result["succeeded"], result["failed"]) == (1000, 0), result
    # Round robin: as even as a thousand divides.
    assert sorted(counts(result)) == ["web-1", "web-2", "web-3"]
    assert max(counts(result).values()) - min(counts(result).values()) <= 2, counts(result)


@pytest.mark.parametrize("address", [ECHO, ECHO_V6], ids=["ipv4", "ipv6"])
def test_udp_echo_over_three_endpoints_none_lost(site, address):
    site.apply(ALL_SERVICES)
    result = site.cps(address, protocol="udp", count=1000).result()
    assert (result["succeeded"], result["failed"]) == (1000, 0), result
    assert sorted(counts(result)) == ["web-1", "web-2", "web-3"]


def test_long_flows_of_both_families_and_protocols_keep_their_bytes_and_their_endpoint(site):
    site.apply(ALL_SERVICES)
    tools = [site.flows(address, client, count=200, interval_ms=200, protocol=protocol)
             for address, client in ((FLOWS, "client-1"), (FLOWS_V6, "client-2"))
             for protocol in ("tcp", "udp")]
    for tool in tools:
        host.wait_for(lambda: tool.progress()["messages"] >= 2000, f"{tool.name} to echo", 30)
    for tool in tools:
        result = tool.finish()
        assert result["established"] == 200 and without_fault(result), result
    for origin in site.origins.values():
        served = origin.flows.finish()
        assert (served["wrong_bytes"], served["wrong_flow"]) == (0, 0), served


@pytest.fixture(scope="session")
def gigabyte(tmp_path_factory):
    """A file of 1 GB of random bytes, and its SHA-256."""
    path = tmp_path_factory.mktemp("data") / "gigabyte"
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        for _ in range(1000):
            block = os.urandom(1_000_000)
            digest.update(block)
            file.write(block)
    yield path, digest.hexdigest()
    path.unlink()


def sha256(path):
    return host.run("sha256sum", path, timeout=120).stdout.split()[0]


@pytest.mark.parametrize("address", [WEB, WEB_V6], ids=["ipv4", "ipv6"])
def test_a_gigabyte_arrives_byte_for_byte_in_both_directions(make_site, gigabyte, tmp_path,
                                                             address):
    path, digest = gigabyte
    site = make_site(sample=128)
    site.start_appliance()
    site.apply(ALL_SERVICES)
    served = site.origins["web-1"].files
    (served / "down").symlink_to(path)
    here = tmp_path / "here"
    site.curl(f"http://{address}/files/down", "--fail", "-o", here)
    assert sha256(here) == digest
    here.unlink()
    site.curl(f"http://{address}/files/up", "--fail", "-T", path)
    assert sha256(served / "up") == digest


@pytest.mark.parametrize("algorithm", ["ROUND_ROBIN", "MAGLEV", "RANDOM", "RING_HASH"])
def test_weights_are_kept_within_3_percent(site, algorithm):
    weights = {"web-1": 1, "web-2": 2, "web-3": 3}
    site.apply([objects.node(), *objects.service("web", 1, 80, layout.ANSWER_PORT,
                                                 weights=weights, algorithm=algorithm)])
    result = site.cps(WEB, count=6000, concurrency=24).result()
    assert result["failed"] == 0, result
    for name, weight in weights.items():
        share = 100 * counts(result)[name] / 6000
        assert abs(share - 100 * weight / 6) <= 3, counts(result)


def test_least_request_evens_out_what_is_open(site):
    site.apply([objects.node(), *objects.service("flows", 2, 7000, layout.FLOWS_PORT,
                                                 algorithm="LEAST_REQUEST")])
    result = site.flows(FLOWS, count=300).finish()
    assert without_fault(result) and result["established"] == 300, result
    assert all(90 <= count <= 110 for count in result["by_server"].values()), result


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("forwarding", ["FULL_NAT", "NAT"])
def test_the_endpoint_sees_the_client_in_nat_and_our_address_in_full_nat(site, forwarding, family):
    site.apply([objects.node(), *objects.service("web", 1, 80, layout.HTTP_PORT, family=family,
                                                 forwarding=forwarding)])
    address = layout.host_port(layout.vip(1, family), 80)
    seen = {site.curl(f"http://{address}/client").stdout.strip() for _ in range(6)}
    client = layout.CLIENTS[0].address(family)
    stem = layout.INSIDE_A.v4 + "." if family == 4 else layout.INSIDE_A.v6 + "::"
    assert seen == {client if forwarding == "NAT" else f"{stem}{layout.SNAT_NUMBER}"}
    result = site.cps(address, http=True, count=300).result()
    assert result["failed"] == 0 and len(counts(result)) == 3, result


@pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
def test_ping_reaches_vips_and_own_addresses(site, family):
    site.apply(ALL_SERVICES)
    own = layout.Host("own", layout.OUTSIDE, layout.OWN_NUMBER).address(family)
    for address in (layout.vip(1, family), own):
        done = host.run_in(site.network.namespace("client-1"), "ping", "-c", "5", "-i", "0.2",
                           "-W", "2", address, check=False)
        assert "5 received" in done.stdout, done.stdout
