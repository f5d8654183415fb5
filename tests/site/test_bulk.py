"""Much data through spliced connections between real kernels: over a path that loses, repeats and reorders, with TCP options
switched off on either side, half-closed, and over the end of the sequence numbers. Both ends check every byte."""

import itertools

import pytest

from sluice_site import host, layout, objects

SPLICED = f"{layout.vip(1)}:7001"
DIRECT = f"{layout.vip(2)}:7001"
SPLICED_V6 = f"[{layout.vip(1, 6)}]:7001"
MB = 1_000_000
OPTIONS = ("sack", "timestamps", "window_scaling")


def switch_options(site, machine, bits):
    """Bit 0: SACK, 1: timestamps, 2: window scaling."""
    site.network.sysctl(machine, **{f"net__ipv4__tcp_{name}": bits >> bit & 1 for bit, name in enumerate(OPTIONS)})


@pytest.fixture
def bulk_site(make_site):
    """web-1 behind a spliced VIP of both families, and behind one with FULL_NAT."""
    site = make_site(sample=1024)
    site.start_appliance()
    web = layout.ORIGINS[:1]
    site.apply([objects.node(),
                *objects.service("spliced", 1, 7001, layout.BULK_PORT, origins=web, forwarding="SPLICE"),
                *objects.service("spliced-v6", 1, 7001, layout.BULK_PORT, origins=web, family=6, forwarding="SPLICE"),
                *objects.service("direct", 2, 7001, layout.BULK_PORT, origins=web)])
    site.origins["web-1"].serve_bulk()
    return site


def transfer(site, address=SPLICED, send=10 * MB, receive=10 * MB, count=1, timeout=300, **given):
    """Both ways at once unless told otherwise, and checked at both ends; seconds that a stream took on average."""
    server = site.origins["web-1"].bulk
    before = server.progress()["right"]
    tool = site.bulk(address, send=send, receive=receive, count=count, seconds=timeout, **given)
    result = tool.result(timeout + 10)
    streams = [line for line in tool.lines() if line["event"] == "stream"]
    assert (result["right"], result["wrong"]) == (count, 0), streams
    host.wait_for(lambda: server.progress()["right"] == before + count, "the endpoint to have every byte")
    return sum(line["seconds"] for line in streams) / count


def options_by_connection(path):
    """{connection: {(from, has SYN): options seen}} of a capture."""
    fields = ["tcp.stream", "ip.src", "tcp.flags.syn", "tcp.options.sack_perm", "tcp.options.sack.count",
              "tcp.options.timestamp.tsval", "tcp.options.wscale.shift"]
    done = host.run("tshark", "-n", "-r", path, "-Y", "tcp", "-T", "fields", *[word for field in fields for word in ("-e", field)],
                    timeout=120)
    found = {}
    for line in done.stdout.splitlines():
        stream, source, syn, permitted, blocks, timestamp, scale = line.split("\t")
        kinds = {"sack"} if permitted or blocks else set()
        kinds |= {"timestamps"} if timestamp else set()
        kinds |= {"window_scaling"} if scale else set()
        found.setdefault(stream, {}).setdefault((source, syn in ("1", "True")), set()).update(kinds)
    return found


def check_options(capture, port, appliance):
    """No option on the wire that both SYNs did not have. How many connections were seen."""
    connections = options_by_connection(capture.files[port])
    for stream, seen in connections.items():
        both = set.intersection(*[kinds for (_, has_syn), kinds in seen.items() if has_syn])
        assert len([1 for _, has_syn in seen if has_syn]) == 2, (stream, seen)
        for (source, has_syn), kinds in seen.items():
            if not has_syn and source.startswith(appliance):
                assert kinds <= both, (port, stream, seen)
    return len(connections)


def test_options_that_one_side_only_has(bulk_site):  # SP-12: 64 combinations
    site = bulk_site
    capture = site.capture(sample=64, name="options", both=True)
    for client in range(8):
        switch_options(site, "client-1", client)
        for endpoint in range(8):
            switch_options(site, "web-1", endpoint)
            transfer(site)
    capture.stop()
    assert check_options(capture, "outside", layout.VIP_V4) == 64
    # More: an endpoint that is found to have no timestamps is called once more.
    assert check_options(capture, "inside-a", layout.INSIDE_A.v4 + f".{layout.SNAT_NUMBER}") >= 64


ROUGH = {"loss": 2, "reorder": 5, "duplicate": 1}


def test_goodput_where_packets_are_lost_is_that_of_an_unspliced_path(bulk_site):  # SP-13
    site = bulk_site
    relay = site.impair(layout.OUTSIDE, **ROUGH)
    seconds = {SPLICED: 0, DIRECT: 0}
    # Losses are random, and so is what else the machine has to do: where four turns leave a doubt, up to twelve decide.
    for turn in range(12):
        if turn >= 4 and seconds[SPLICED] * 0.8 <= seconds[DIRECT]:
            break
        for address in seconds:
            seconds[address] += transfer(site, address, send=3 * MB, receive=3 * MB, count=16)
    counts = relay.finish()
    print(f"spliced {seconds[SPLICED]:.1f} s, FULL_NAT {seconds[DIRECT]:.1f} s; {counts}")
    for side in ("from_left", "from_right"):
        assert counts[side]["lost"] > 500 and counts[side]["duplicated"] > 250 and counts[side]["reordered"] > 1000, counts
        assert counts[side]["ring_full"] == 0, counts
    assert seconds[SPLICED] * 0.8 <= seconds[DIRECT]


MILD = {"loss": 0.1, "reorder": 0.5, "duplicate": 0.1}


# A client with SACK and an endpoint without: the client was promised SACK before anybody knew the endpoint, so it waits for its
# timer at each loss. Right, but slow: minutes for a gigabyte.
def over_a_mild_path(site, bytes_each_way, address=SPLICED, **given):
    relays = [site.impair(subnet, **MILD) for subnet in (layout.OUTSIDE, layout.INSIDE_A)]
    seconds = transfer(site, address, bytes_each_way, bytes_each_way, timeout=550, **given)
    for relay in relays:
        counts = relay.finish()
        print(f"{seconds:.1f} s; {counts}")
        for side in ("from_left", "from_right"):
            packets = bytes_each_way / 1448
            assert counts[side]["lost"] > packets * 0.0002 and counts[side]["reordered"] > packets * 0.002, counts
            assert counts[side]["duplicated"] > packets * 0.0002, counts
    return seconds


def test_a_gigabyte_both_ways_over_a_path_that_loses_repeats_and_reorders(bulk_site):
    over_a_mild_path(bulk_site, 1000 * MB)


WITHOUT = [(machine, bit) for machine in ("client-1", "web-1") for bit in range(3)]
WITHOUT_IDS = [f"{machine}-without-{OPTIONS[bit]}" for machine, bit in WITHOUT]


def test_an_option_less_on_one_side_over_such_a_path(bulk_site):
    for machine, bit in WITHOUT:
        switch_options(bulk_site, machine, 7 & ~(1 << bit))
        over_a_mild_path(bulk_site, 30 * MB)
        switch_options(bulk_site, machine, 7)
    over_a_mild_path(bulk_site, 30 * MB, SPLICED_V6)


@pytest.mark.long
@pytest.mark.parametrize("machine, bit", WITHOUT, ids=WITHOUT_IDS)
def test_a_gigabyte_both_ways_with_an_option_less_on_one_side(bulk_site, machine, bit):
    switch_options(bulk_site, machine, 7 & ~(1 << bit))
    over_a_mild_path(bulk_site, 1000 * MB)


def test_half_a_connection_carries_on_after_the_fin_of_the_other(bulk_site):  # SP-17
    for address, order in itertools.product((SPLICED, SPLICED_V6), ("client-first", "server-first")):
        transfer(bulk_site, address, send=50 * MB, receive=50 * MB, order=order)
        # No byte at all in one direction.
        transfer(bulk_site, address, send=0, receive=MB, order=order)
        transfer(bulk_site, address, send=MB, receive=0, order=order)


@pytest.mark.long
@pytest.mark.parametrize("order", ["client-first", "server-first"])
def test_a_gigabyte_after_the_fin_of_the_other(bulk_site, order):  # SP-17
    transfer(bulk_site, send=1000 * MB, receive=1000 * MB, order=order)


def test_sequence_numbers_wrap(bulk_site):  # SP-14; the endpoint's numbers wrap in 5 GB only
    for isn in (0xffffffff, 0xfffffffe, 0xfffffc17, 0xfffff000, 0xffff0000):
        transfer(bulk_site, send=MB, receive=MB, isn=isn)
    over_a_mild_path(bulk_site, 20 * MB, isn=(1 << 32) - 10 * MB)


@pytest.mark.long
def test_five_gigabytes_both_ways(bulk_site):  # SP-14
    transfer(bulk_site, send=5000 * MB, receive=5000 * MB, timeout=600)
