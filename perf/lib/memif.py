"""Throughput over a memif pair: sluice-pktgen on one core, what is measured on another, one link between them that
carries both directions. Sluice (the real processes, FULL_NAT, 64 k TCP flows, endpoints played by the generator) and
testpmd's 5-tuple swap take turns."""

import json
import os

import balancer
import results
import testpmd
from balancer import host

FLOWS = 64_000
ENDPOINTS = 4
VIP = "10.1.9.1"
OPTIONS = "socket-abstract=no"


class Broken(Exception):
    """Packets were wrong: there is no figure."""


class Link:
    """The generator's end listens; who is measured connects."""

    def __init__(self, build, directory):
        self.generator = build / "perf" / "sluice-pktgen"
        self.directory = directory
        self.socket = directory / "memif.sock"
        self.count = 0

    def start(self, size, seconds, more):
        cpu, _ = balancer.cpus()
        self.count += 1
        self.json = self.directory / f"pktgen-{self.count}.json"
        command = [self.generator, "--port", f"net_memif0,role=server,socket={self.socket},{OPTIONS}", "--cpu", cpu,
                   "--vip", f"{VIP}:80", "--clients", "10.1.0.10+200", "--flows", FLOWS, "--traffic", "tcp",
                   "--size", size, "--seconds", seconds, "--wait", 20, "--verify", "--prebuilt", "--quiet", "--json", self.json, *more]
        self.process = balancer.Process(f"pktgen-{self.count}", command, self.directory).start()
        balancer.put_first(self.process)
        host.wait_for(self.socket.exists, f"the generator to listen\n{self.process.log_tail()}", 20)

    def finish(self, seconds):
        """The generator's account of the run."""
        status = self.process.wait(seconds + 60)
        if status != 0:
            raise Broken(f"sluice-pktgen ended with {status}\n{self.process.output_text()[-3000:]}"
                         f"{self.process.log_tail()}")
        self.socket.unlink(missing_ok=True)
        return json.loads(self.json.read_text(encoding="utf-8"))["steps"][0]


def forwarded_per_second(step):
    """What came out of the device, in either direction."""
    counts = step["counts"]
    return counts["received"] / step["microseconds"] * 1e6


def sluice(build, directory, size, seconds):
    link = Link(build, directory)
    link.start(size, seconds, ["--reflect", "--gateway", "10.1.0.1", "--endpoints", f"10.1.100.1+{ENDPOINTS}",
                               "--opening-rate", "50k"])
    _, cpu = balancer.cpus()
    port = {"name": "wire", "profile": "memif", "device": str(link.socket), "addresses": ["10.1.0.1/16"]}
    product = balancer.Balancer(build, directory).start([
        balancer.node(cpu, [port], [f"10.1.200.{i}" for i in range(4)], 4 * FLOWS),
        *balancer.service("web", VIP, 80, [f"10.1.100.{i + 1}" for i in range(ENDPOINTS)], 8080)])
    try:
        return link.finish(seconds)
    finally:
        product.stop()


def swap(build, directory, size, seconds):
    link = Link(build, directory)
    link.start(size, seconds, ["--to-mac", "02:00:00:00:00:09", "--no-handshake"])
    _, cpu = balancer.cpus()
    with testpmd.forwarding([f"net_memif0,role=client,socket={link.socket},{OPTIONS}"], "5tswap", cpu, directory,
                            ["--port-topology=loop"]):
        return link.finish(seconds)


def rows(build, turns, seconds, sizes, say):
    """One group of rows a frame size; the first is the one with targets."""
    found = []
    for index, size in enumerate(sizes):
        samples = {"testpmd 5tswap": [], "Sluice, FULL_NAT": []}
        steps = {}
        for turn in range(turns):
            for name, contestant in (("testpmd 5tswap", swap), ("Sluice, FULL_NAT", sluice)):
                say(f"memif, {size} bytes, turn {turn + 1} of {turns}: {name}")
                with balancer.workbench() as directory:
                    steps[name] = contestant(build, directory, size, seconds)
                samples[name].append(forwarded_per_second(steps[name]))
        group = f"throughput over memif, 64 k TCP flows, {size}-byte frames"
        for name, values in samples.items():
            counts = steps[name]["counts"]
            note = f"{sorted(values)[len(values) // 2] * (size + 20) * 8 / 1e9:.2f} Gbit/s on a wire"
            if counts["tx_refusals"] == 0:
                note += "; the generator was the slower one"
            found.append(results.row(group, name, values, "pkt/s", better="higher", note=note))
        ratios = [ours / theirs for ours, theirs in zip(samples["Sluice, FULL_NAT"], samples["testpmd 5tswap"])]
        targets = {"must": 0.75, "aim": 0.9} if index == 0 else {}
        found.append(results.row(group, "Sluice / 5tswap", ratios, "x", better="higher", **targets))
    return found


def missing():
    """Why this cannot be measured here; nothing when it can."""
    if os.geteuid() != 0:
        return "it wants root, for namespaces and hugepages"
    return "it wants two CPUs" if len(set(balancer.cpus())) < 2 else None
