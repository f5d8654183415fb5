"""Jumbo frames: IP packets of 9,000 bytes over ports that take them, between kernels with that MTU."""

from sluice_site import host, layout, objects

MTU = 9000
FLOWS = layout.vip(2)


def test_tcp_udp_and_ping_with_frames_of_nine_thousand_bytes(make_site):
    site = make_site(profile="af_packet", capture=False, mtu=MTU)
    site.start_appliance()
    site.apply([objects.node(profile="af_packet", port_options={"mtu": MTU}),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT),
                *objects.service("flows-v6", 2, 7000, layout.FLOWS_PORT, family=6),
                *objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, "UDP")])
    client = site.network.namespace("client-1")
    host.run_in(client, "ping", "-c1", "-W5", "-M", "do", "-s", MTU - 28, FLOWS)
    host.run_in(client, "ping", "-c1", "-W5", "-M", "do", "-s", MTU - 48, layout.vip(2, 6))
    before = {port["name"]: port for port in site.ask_dataplane("ports")["ports"]}
    # What fills frames: messages of many segments, datagrams of just one frame.
    tools = [site.flows(f"{FLOWS}:7000", count=10, bytes=60000, interval_ms=20),
             site.flows(f"[{layout.vip(2, 6)}]:7000", "client-2", count=10, bytes=60000, interval_ms=20),
             site.flows(f"{FLOWS}:7000", "client-2", count=10, bytes=MTU - 28, interval_ms=20, protocol="udp")]
    for tool in tools:
        host.wait_for(lambda: tool.progress()["messages"] > 10 * 10, f"{tool.name} to echo", 20)
        ended = tool.finish()
        assert ended["established"] == 10, ended
        assert not any(ended[fault] for fault in ("broken", "wrong_bytes", "wrong_flow", "moved", "lost")), ended
    after = {port["name"]: port for port in site.ask_dataplane("ports")["ports"]}
    for name in ("outside", "inside-a"):
        packets = after[name]["rx_packets"] - before[name]["rx_packets"]
        octets = after[name]["rx_bytes"] - before[name]["rx_bytes"]
        assert octets / packets > 3000, (name, packets, octets)  # acknowledgments are small
    drops = site.drops()
    assert all(drops[f"drop.{name}"] == 0 for name in ("segmented", "descriptor_invalid", "mtu_exceeded", "tx_full")), drops
    site.check_ledger()


def test_what_is_longer_than_the_next_port_takes_is_said_to_its_sender(make_site):
    """Jumbo outside, 1,500 inside: the client's kernel learns it from us and sends fragments from then on."""
    site = make_site(profile="af_packet", capture=False, mtu=MTU)
    site.start_appliance()
    node = objects.node(profile="af_packet", port_options={"mtu": MTU})
    for port in node["spec"]["ports"][1:]:
        port["mtu"] = 1500
    origin = layout.ORIGINS[0]
    host.ip_batch(site.network.namespace(origin.name), ["link set eth0 mtu 1500"])
    site.apply([node, *objects.service("flows", 2, 7000, layout.FLOWS_PORT, "UDP", origins=[origin])])
    tool = site.flows(f"{FLOWS}:7000", count=5, bytes=5000, interval_ms=20, protocol="udp")
    host.wait_for(lambda: tool.progress()["messages"] > 5 * 5, "messages to pass the narrow port", 20)
    ended = tool.finish()
    assert ended["wrong_bytes"] == ended["wrong_flow"] == 0, ended
    routes = host.run_in(site.network.namespace("client-1"), "ip", "route", "get", FLOWS).stdout
    assert "mtu 1500" in routes, routes
    assert site.drops()["reject.mtu_exceeded"] > 0
