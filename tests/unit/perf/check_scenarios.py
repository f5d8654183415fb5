#!/usr/bin/python3
"""The generated scripts for other generators: they are what the table says, and they do it. TRex profiles run
against a stand-in for TRex's library and scapy's real packets, Lua scripts against a stand-in for Pktgen-DPDK that
loses above 60 % of the line.

check_scenarios.py ROOT
"""

import importlib.machinery
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
import types

ROOT = pathlib.Path(sys.argv[1]).resolve()
sys.path.insert(0, str(ROOT / "tests" / "rules"))
sys.dont_write_bytecode = True
from tap import Report  # noqa: E402

FOLDER = ROOT / "perf" / "scenarios"


def load(path, name):
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


generate = load(FOLDER / "generate", "generate")
network, scenarios = generate.load(FOLDER / "scenarios.toml")


class Said:
    """Anything of TRex: keeps what it was called with."""

    def __init__(self, *_, **words):
        self.__dict__.update(words)
        self.items = _[0] if _ else []


def trex_library():
    import scapy.layers.inet
    import scapy.layers.inet6
    library = types.ModuleType("trex_stl_lib.api")
    for name in ("STLScVmRaw", "STLVmTupleGen", "STLVmWrFlowVar", "STLVmFixChecksumHw", "STLPktBuilder", "STLStream",
                 "STLTXCont", "STLFlowLatencyStats"):
        setattr(library, name, type(name, (Said,), {}))
    library.CTRexVmInsFixHwCs = types.SimpleNamespace(L4_TYPE_UDP=17, L4_TYPE_TCP=6)
    library.Ether, library.IP = scapy.layers.inet.Ether, scapy.layers.inet.IP
    library.UDP, library.TCP = scapy.layers.inet.UDP, scapy.layers.inet.TCP
    library.IPv6 = scapy.layers.inet6.IPv6
    return library


def faults_of_profile(one):
    profile = load(FOLDER / "trex" / f"{one['name']}.py", one["name"].replace("-", "_")).register()
    streams = profile.get_streams(direction=0, tunables=["--dst_mac", "02:00:00:00:00:09"])
    sizes = [(len(stream.packet.pkt) + 4, stream.mode.pps) for stream in streams]
    if sizes != [tuple(size) for size in one["sizes"]]:
        yield f"{one['name']}: sizes and shares {sizes}"
    for stream in streams:
        packet, vm = stream.packet.pkt, stream.packet.vm.items
        if packet.dst != "02:00:00:00:00:09":
            yield f"{one['name']}: MAC {packet.dst}"
        layer = packet["IP"] if one["family"] == 4 else packet["IPv6"]
        if layer.dst != network[f"vip_v{one['family']}"] or layer.src != network[f"clients_v{one['family']}"]:
            yield f"{one['name']}: addresses {layer.src} {layer.dst}"
        if one["protocol"] == "syn" and packet["TCP"].flags != "S":
            yield f"{one['name']}: flags {packet['TCP'].flags}"
        tuples = vm[0]
        if (tuples.port_max - tuples.port_min + 1, tuples.limit_flows) != (one["ports"], one["flows"]):
            yield f"{one['name']}: tuples"
        if type(vm[-1]).__name__ != "STLVmFixChecksumHw":
            yield f"{one['name']}: the checksums are not the last"
    if not any(hasattr(stream, "flow_stats") for stream in profile.get_streams(tunables=["--latency"])):
        yield f"{one['name']}: no latency stream"


LUA_STAND_IN = """
local state = {rate = 0, sent = 0, arrived = 0, size = 0}
local fields = {}
pktgen = {
  range = setmetatable({}, {__index = function(_, field)
    return function(port, what, value) fields[field .. "." .. what] = value end end}),
  set = function(port, what, value) state[what] = value end,
  set_proto = function() end, set_range = function() end, stop = function() end,
  clr = function() state.sent, state.arrived = 0, 0 end,
  start = function()
    state.sent = math.floor(1e6 * state.rate)
    state.arrived = math.min(state.sent, 60000000)
  end,
  delay = function() end,
  portStats = function(port) return {[tonumber(port)] = {opackets = state.sent, ipackets = state.arrived}} end,
}
package.preload["Pktgen"] = function() return {} end
dofile(arg[1])
for _, field in ipairs({"src_ip", "src_port"}) do
  print("FIELD", field, fields[field .. ".min"], fields[field .. ".max"], fields[field .. ".inc"])
end
"""


def faults_of_script(one):
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as stand_in:
        stand_in.write(LUA_STAND_IN)
        stand_in.flush()
        done = subprocess.run(["lua5.4", stand_in.name, FOLDER / "pktgen-dpdk" / f"{one['name']}.lua"],
                              capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        yield f"{one['name']}: {done.stderr.strip()}"
        return
    port = network["client_port_first"]
    wanted = [f"FIELD\tsrc_ip\t{network['clients_v4']}\t{generate.last(network['clients_v4'], one['addresses'])}\t0.0.0.1",
              f"FIELD\tsrc_port\t{port}\t{port + one['ports'] - 1}\t1"]
    if [line for line in done.stdout.splitlines() if line.startswith("FIELD")] != wanted:
        yield f"{one['name']}: ranges: {done.stdout}"
    if one["search"]:
        found = [float(text) for text in re.findall(r"([\d.]+) % of the line without loss", done.stdout)]
        if len(found) != len(network["sizes_rfc2544"]) or not all(59.5 <= rate <= 60 for rate in found):
            yield f"{one['name']}: found {found} of 60 %"
    elif "rate  75 %" not in done.stdout or "lost 15000000" not in done.stdout:
        yield f"{one['name']}: {done.stdout}"


def refusals():
    good = {"name": "x", "addresses": 8, "ports": 125, "protocol": "udp", "family": 4, "sizes": [[64, 1]],
            "tools": ["trex"]}
    for change in ({"ports": 124}, {"addresses": 255, "ports": 1024}, {"ports": 64513}, {"tools": ["iperf"]},
                   {"protocol": "tcp"}, {"tools": ["pktgen-dpdk"], "family": 6}):
        try:
            generate.check({**good, **change}, network)
            yield f"{change} was accepted"
        except generate.ScenarioError:
            pass
    generate.check(good, network)


def main():
    report = Report()
    report.rule("the generated files are what scenarios.toml says (perf/scenarios/generate)",
                generate.differences(generate.files(scenarios, network), FOLDER))
    api = trex_library()
    sys.modules["trex_stl_lib"] = types.ModuleType("trex_stl_lib")
    sys.modules["trex_stl_lib.api"] = api
    report.rule("every TRex profile makes its packets",
                (fault for one in scenarios if "trex" in one["tools"] for fault in faults_of_profile(one)))
    report.rule("every script for Pktgen-DPDK runs, and the search finds the limit",
                (fault for one in scenarios if "pktgen-dpdk" in one["tools"] for fault in faults_of_script(one)))
    report.rule("scenarios that a tool cannot do are refused", refusals())
    report.rule("there are scenarios for every tool",
                [tool for tool in generate.TOOLS if not any(tool in one["tools"] for one in scenarios)])
    report.end()


main()
