"""A whole site: made, used, checked and removed. The picture of it is in layout.py."""

import fcntl
import json
import os
import pathlib
import shutil
import time

from . import capture, host, kernel_balancer, layout, ledger, objects
from .control import Control
from .network import Network, extra_sources
from .origin import Origin
from .process import Process, kill_recorded
from .tools import Tool, options

SITES = pathlib.Path("/run/sluice-sites")


class Site:
    """with Site("demo") as site: ...  makes everything but the appliance's configuration.

    `build`: the build folder with the binaries. `appliance`: "sluice", or "kernel" for nftables in
    its place. `profile`: of the ports that the test will configure; `profiles`: files of NIC profiles beside
    those of the product. `mtu`: of every link. `name` becomes part of every namespace, folder and file, so that sites can stand side
    by side and a dead one can be found.
    """

    def __init__(self, name, build=None, appliance="sluice", profile="af_xdp", profiles=(), mtu=1500):
        self.name = name
        self.build = pathlib.Path(build or os.environ.get("SLUICE_BUILD", host.REPOSITORY / "build")).resolve()
        self.tools = self.build / "tests" / "tools"
        self.directory = SITES / name
        # The base name of the run directory also names the flow file and the pinned maps.
        self.run_directory = self.directory / f"sluice-{name}"
        self.state_directory = self.directory / "state"
        self.profile = profile
        self.profiles = profiles
        self.appliance = appliance
        self.network = Network(name, mtu)
        self.captures = []
        self.clients = {client.name: client for client in layout.CLIENTS}
        self.origins = {}
        self.dataplane = self.mgmt = self.kernel = None
        self._tool_count = 0
        self._cuts = {}
        self._lock = None

    # --- up and down

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def up(self):
        remove_dead_sites()
        if self.directory.exists():
            raise host.SiteError(f"the site {self.name} is up already: leave its shell, or remove it "
                                 "with scripts/run --down")
        self.directory.mkdir(parents=True)
        self._lock = lock(self.directory)
        (self.directory / "owner.pid").write_text(f"{os.getpid()} {host.start_time(os.getpid())}\n")
        self.run_directory.mkdir()
        self.state_directory.mkdir()
        self.network.up()
        self.origins = {machine.name: Origin(machine, self.network, self.directory, self.tools)
                        for machine in layout.ORIGINS}
        for origin in self.origins.values():
            origin.start()
        if self.appliance == "kernel":
            self._start_kernel()
        else:
            self._describe_processes()

    def _start_kernel(self):
        lines = [f"addr add {s.v4}.{layout.OWN_NUMBER}/24 dev {s.name}" for s in layout.SUBNETS]
        lines += [f"addr add {s.v6}::{layout.OWN_NUMBER}/64 dev {s.name} nodad"
                  for s in layout.SUBNETS]
        host.ip_batch(self.network.namespace("lb"), lines)
        self.kernel = kernel_balancer.KernelBalancer(self.network)
        self.kernel.start()

    def _describe_processes(self):
        namespace = self.network.namespace("lb")
        if self.profile != "af_xdp":
            # The kernel sees every packet too. For IPv4 it is silent when it does not forward; for
            # IPv6 it would say "no route" to the clients of our VIPs.
            host.ip_batch(namespace, ["route add blackhole ::/0"])
        profiles = host.REPOSITORY / "nic_profiles"
        if self.profiles:
            shutil.copytree(profiles, self.directory / "nic_profiles")
            profiles = self.directory / "nic_profiles"
            for extra in self.profiles:
                shutil.copy(extra, profiles)
        place = ["--run-dir", self.run_directory, "--state-dir", self.state_directory]
        self.dataplane = Process(
            "dataplane", [self.build / "dataplane" / "sluice-dataplane", *place],
            self.directory, namespace)
        self.mgmt = Process(
            "mgmt", [self.build / "mgmt" / "sluice-mgmt", *place,
                     "--profiles", profiles], self.directory, namespace)

    def down(self):
        """Removes the site. Says what of it did not end by itself."""
        for one in self.captures:
            one.stop_at_once()
        stubborn = [process.name for process in (self.mgmt, self.dataplane)
                    if process and not process.stop()]
        for _, _, relay in self._cuts.values():
            relay.stop()
        for origin in self.origins.values():
            origin.stop()
        if self._lock is not None:  # else it was never ours
            remove(self.directory)
            os.close(self._lock)
            self._lock = None
        return stubborn

    # --- the appliance

    def start_dataplane(self):
        self.dataplane.start()
        self.wait_dataplane()

    def wait_dataplane(self):
        host.wait_for(lambda: self._alive(self.dataplane) and self.ask_dataplane("status"),
                      "the dataplane to answer on its control socket", 30)

    def start_mgmt(self):
        self.mgmt.start()
        host.wait_for(lambda: self._alive(self.mgmt) and self.ask_mgmt("status"),
                      "mgmt to answer on its control socket", 15)

    def start_appliance(self):
        if self.appliance == "sluice":
            self.start_dataplane()
            self.start_mgmt()

    @staticmethod
    def _alive(process):
        if not process.is_running():
            raise host.SiteError(f"{process.name} ended\n{process.log_tail()}")
        return True

    def ask_dataplane(self, verb, payload="", **arguments):
        return Control(self.run_directory / "dataplane.sock").ask(verb, payload, **arguments)

    def ask_mgmt(self, verb, payload="", **arguments):
        return Control(self.run_directory / "mgmt.sock").ask(verb, payload, **arguments)

    def shell(self, *words, check=True, input=None):
        """Runs one command of the operator's shell; a CompletedProcess."""
        return host.run(self.build / "mgmt" / "sluice", "--run-dir", self.run_directory, *words,
                        check=check, input=input)

    def apply(self, items):
        """Applies objects and returns when the dataplane forwards with them."""
        if self.appliance == "kernel":
            return self.kernel.apply(items)
        reply = self.ask_mgmt("apply", objects.to_yaml(items))
        self.wait_generation(reply["generation"])
        return reply

    def wait_generation(self, generation, timeout=15):
        def look():
            status = self.ask_dataplane("status")
            return status["state"] == "forwarding" and status["generation"] >= generation
        host.wait_for(look, f"the dataplane to forward with generation {generation}\n"
                      f"{self.dataplane.log_tail()}\n{self.mgmt.log_tail()}", timeout)

    def wait_endpoints(self, up, names=None, timeout=20):
        """Until `up` endpoints are up by their health checks (of `names`, or of all)."""
        def look():
            listed = self.ask_mgmt("endpoints")["endpoints"]
            states = {e["name"]: e["health"] for e in listed if not names or e["name"] in names}
            return sum(health == "up" for health in states.values()) == up
        host.wait_for(look, f"{up} endpoints to be up", timeout)

    def drops(self):
        return {drop["name"]: drop["packets"] for drop in self.ask_dataplane("drops")["drops"]}

    def check_ledger(self):
        ledger.check(lambda: self.ask_dataplane("ledger"))

    # --- traffic

    def tool(self, program, client="client-1", **given):
        self._tool_count += 1
        process = Tool(f"{program}-{self._tool_count}", [self.tools / program, *options(given)],
                       self.directory, self.network.namespace(client))
        return process.start()

    def flows(self, address, client="client-1", **given):
        """Starts `flows` and returns when all of them are open or failed."""
        tool = self.tool("flows", client, connect=address, **given)
        tool.wait_event("ready", 60)
        return tool

    def cps(self, address, client="client-1", **given):
        return self.tool("cps", client, connect=address, **given)

    def bulk(self, address, client="client-1", **given):
        return self.tool("bulk", client, connect=address, **given)

    def below(self, program, client="client-1", **given):
        """Starts a tool that speaks below the client's kernel, toward the appliance."""
        return self.tool(program, client, interface="eth0",
                         gateway_mac=self.network.mac("lb", layout.OUTSIDE.name), **given)

    def impair(self, subnet, **given):
        """From now on a relay carries what goes between the appliance (left) and `subnet` (right), in
        place of an earlier one."""
        if subnet.name not in self._cuts:
            self._cuts[subnet.name] = (*self.network.cut(subnet), None)
        left, right, earlier = self._cuts[subnet.name]
        if earlier is not None:
            earlier.stop()
        relay = self.tool("impair", "mid", left=left, right=right, **given)
        self._cuts[subnet.name] = (left, right, relay)
        return relay

    def chx(self, address, blobs, cases, client="client-1", timeout=120, **given):
        """Runs the cases (as tests/tools/chx.cc describes them) from an address whose TCP the kernel of the
        client leaves alone; the result, with the cases that went wrong under "faults"."""
        family = 6 if address.startswith("[") else 4
        source = extra_sources(self.clients[client], family).split("-")[0]
        self._silence(client, source, family)
        plan = self.directory / f"plan-{self._tool_count}.json"
        plan.write_text("\n".join([json.dumps({"blobs": [blob.hex() for blob in blobs]}),
                                   *map(json.dumps, cases)]) + "\n")
        tool = self.below("chx", client, connect=address, source=source, plan=plan, **given)
        result = tool.result(timeout)
        result["source"] = source
        result["faults"] = [line for line in tool.lines() if line["event"] == "case" and not line["right"]]
        return result

    def _silence(self, client, address, family):
        # Above the taps of the tool and below the kernel's TCP. ARP and neighbour discovery go on.
        word = "ip" if family == 4 else "ip6"
        host.run_in(self.network.namespace(client), "nft", "-f", "-", input=f"""
            table {word} silent {{
              chain in {{ type filter hook prerouting priority raw; {word} daddr {address} meta l4proto tcp drop; }}
            }}""")

    def curl(self, url, *more, client="client-1", check=True, timeout=300):
        return host.run_in(self.network.namespace(client), "curl", "-sS", "--max-time", timeout,
                           *more, url, check=check, timeout=timeout + 5)

    def capture(self, sample=None, name="capture", both=False):
        one = capture.Capture(self.network, self.directory, sample, name, both).start()
        self.captures.append(one)
        return one


# --- what dead runs left behind

def lock(directory, create=True):
    """An open, locked file that says "the owner of this site lives"."""
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    handle = os.open(directory / "owner.lock", flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    return handle


def has_owner(directory):
    try:
        os.close(lock(directory, create=False))
        return False
    except BlockingIOError:
        return True
    except FileNotFoundError:
        # Being made or being removed, by an owner that lives; or left in the middle of it, long ago.
        return directory.exists() and time.time() - directory.stat().st_mtime < 10


def remove_dead_sites():
    """Removes every site whose owner is gone, however it went."""
    for directory in sorted(SITES.glob("*")) if SITES.exists() else []:
        if directory.is_dir() and not has_owner(directory):
            remove(directory)


def remove(directory):
    """Processes by pid file and by namespace, then namespaces, then files. Safe to repeat."""
    name = directory.name
    for pid_file in directory.rglob("*.pid"):
        if pid_file.name != "owner.pid":
            kill_recorded(pid_file)
    existing = set(host.namespaces())
    network = Network(name)
    for namespace in (network.namespace(machine) for machine in network.all_names):
        if namespace in existing:
            for pid in host.run("ip", "netns", "pids", namespace, check=False).stdout.split():
                host.run("kill", "-KILL", pid, check=False)
    network.down()
    for place in (pathlib.Path("/dev/hugepages"), pathlib.Path("/sys/fs/bpf")):
        for left in place.glob(f"*sluice-{name}*"):
            host.remove_tree(left)
    host.remove_tree(directory)
