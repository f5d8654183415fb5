"""The pictures of a run. Peers' figures were published or taken in another run on a machine of
this kind: they are dashed, and the legend says so."""

import re

from results import by_key
from svg import Bars, Chart, Series

FLOWS = {"1 k flows": 1e3, "64 k flows": 6.4e4, "100 k flows": 1e5, "1 M flows": 1e6, "10 M flows": 1e7}
FLOW_TICKS = [(1e3, "1 k"), (1e4, "10 k"), (1e5, "100 k"), (1e6, "1 M"), (1e7, "10 M")]

# TSC cycles at PEER_GHZ, no I/O, one core, taken before this product was built.
PEER_GHZ = 2.096
PEERS = [
    ("VPP nat44-ed LB + twice-nat *", [(1e3, 95), (1e4, 167), (1e5, 238), (1e6, 327)]),
    ("Katran, cache hit, encapsulates only *", [(1e3, 149), (1.31e5, 287), (1e6, 595)]),
]
PEER_NOTE = "* another run on another day, on a machine of this kind with its TSC at 2.096 GHz: not taken in this run"


OVER_VETH = {"TCP bulk over AF_XDP on veth": "TCP bulk, one connection, Gbit/s",
             "TCP connections per second over veth": "TCP connections per second, 64 at a time"}


def point(x, row, scale=1.0):
    return (x, row["median"] * scale, row["min"] * scale, row["max"] * scale)


def pictures(document):
    """(file name's ending, SVG text) of everything that the rows suffice for."""
    rows = by_key(document)
    facts = document["facts"]
    where = (f"{facts.get('machine')}, TSC {float(facts['tsc_mhz']):.0f} MHz; {facts.get('kernel')}, {facts.get('dpdk')}, "
             f"{facts.get('compiler')}; Sluice {facts.get('commit', '')}")
    # Machines differ in the rate of their TSC: nanoseconds stand beside each other.
    ns_per_clk = 1e3 / float(facts["tsc_mhz"])
    peers = [Series(name, [(x, clk / PEER_GHZ) for x, clk in points], True) for name, points in PEERS]
    ours = {name: [point(flows, rows["established, " + text, name], ns_per_clk)
                   for text, flows in FLOWS.items()
                   if ("established, " + text, name) in rows]
            for name in ("FULL_NAT, both directions", "bare-work floor")}
    if len(ours["bare-work floor"]) > 1:
        most = ours["bare-work floor"][-1][0]
        yield "cycles", Chart(
            "Established flows: nanoseconds per packet, no I/O", where, "flows", "ns per packet",
            [Series("Sluice FULL_NAT", ours["FULL_NAT, both directions"]),
             Series("bare-work floor", ours["bare-work floor"]), *peers],
            [tick for tick in FLOW_TICKS if tick[0] <= max(most, 1e6)], True, PEER_NOTE).text()

    by_size = []
    for (group, name), row in rows.items():
        found = re.fullmatch(r"(\d+) bytes", name)
        if found and group.startswith("by packet size"):
            by_size.append(point(float(found.group(1)), row, ns_per_clk))
    if len(by_size) > 1:
        yield "sizes", Chart(
            "Established flows by packet size: nanoseconds per packet, no I/O", where, "bytes of a frame, FCS included",
            "ns per packet", [Series("Sluice FULL_NAT", sorted(by_size))],
            [(p[0], f"{p[0]:g}") for p in sorted(by_size)], True).text()

    fills = []
    for (_, name), row in rows.items():
        found = re.fullmatch(r"table (\d+) % full", name)
        if found:
            fills.append(point(float(found.group(1)), row))
    if len(fills) > 1:
        yield "connections", Chart(
            "New TCP connections of 10 packets per second", where, "table full, %",
            "connections per second", [Series("Sluice FULL_NAT", sorted(fills))],
            [(p[0], f"{p[0]:g} %") for p in sorted(fills)]).text()

    over_memif = {}
    for (group, name), row in rows.items():
        found = re.fullmatch(r"throughput over memif, .* (\d+)-byte frames", group)
        if found and row["unit"] == "pkt/s":
            over_memif.setdefault(name, []).append(point(float(found.group(1)), row))
    sizes = sorted(p[0] for p in next(iter(over_memif.values()), []))
    if len(sizes) > 1:
        yield "memif", Chart(
            "Throughput over a memif pair, 64 k TCP flows", where, "bytes of a frame, FCS included",
            "packets per second", [Series(name, sorted(points)) for name, points in over_memif.items()],
            [(size, f"{size:g}") for size in sizes]).text()

    beside = []
    for group, heading in OVER_VETH.items():
        bars = [(name, row["median"], row["min"], row["max"]) for (of, name), row in rows.items()
                if of.startswith(group) and row["unit"] != "x"]
        if bars:
            beside.append((heading, bars))
    if beside:
        yield "peers", Bars("Beside peers, over veth in namespaces", where, beside, "Sluice").text()

    steps = [(1, "p50"), (2, "p99"), (3, "p99.9")]
    series = []
    for name in ("the loop alone", "additions instead of the pipeline", "forwarding", "VIPs republished"):
        found = [(x, row) for x, quantile in steps for (group, row_name), row in rows.items()
                 if group.startswith("latency") and row_name.endswith(f"{name}, {quantile}")]
        if found:
            series.append(Series(name, [(x, row["median"]) for x, row in found]))
    if series:
        yield "latency", Chart("Latency added at half load", where, "quantile", "microseconds",
                               series, steps, False, "medians over the turns of the run", True).text()
