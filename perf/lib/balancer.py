"""The real product for a measurement: sluice-dataplane and sluice-mgmt with a configuration, in a
namespace or none. Processes, namespaces and files carry NAME, so that what a killed run left is found."""

import contextlib
import os
import pathlib
import signal
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "site"))
from sluice_site import host, objects  # noqa: E402
from sluice_site.control import Control  # noqa: E402
from sluice_site.process import Process, kill_recorded  # noqa: E402

NAME = "sluice-perf"
DIRECTORY = pathlib.Path("/run") / NAME
PRIORITY = "-15"  # of the autogroup, as autogroup.py gives it


def put_first(process):
    try:
        pathlib.Path(f"/proc/{process.pid}/autogroup").write_text(PRIORITY)
    except OSError:
        pass


@contextlib.contextmanager
def workbench():
    """An empty folder for one measurement. Whatever was started in it or named after it is gone at the end, also
    after Ctrl-C; and so is what an earlier run left."""
    clean_up()
    DIRECTORY.mkdir(parents=True)
    try:
        yield DIRECTORY
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave half of it
        try:
            clean_up()
        finally:
            signal.signal(signal.SIGINT, before)


def clean_up():
    if DIRECTORY.exists():
        for pid_file in DIRECTORY.rglob("*.pid"):
            kill_recorded(pid_file)
    for namespace in host.namespaces():
        if namespace.startswith(NAME + "-"):
            for pid in host.run("ip", "netns", "pids", namespace, check=False).stdout.split():
                host.run("kill", "-KILL", pid, check=False)
            host.run("ip", "netns", "del", namespace, check=False)
    for place in (pathlib.Path("/dev/hugepages"), pathlib.Path("/sys/fs/bpf")):
        for left in place.glob(f"*{NAME}*"):
            host.remove_tree(left)
    host.remove_tree(DIRECTORY)


def prepare_host():
    """Hugepages and bpffs, as scripts/run does it."""
    host.run("bash", "-c", f"set -eu; . {ROOT}/scripts/lib/progress.sh; . {ROOT}/scripts/lib/host.sh; prepare_host")


class Balancer:
    def __init__(self, build, directory, namespace=None):
        self.directory = directory / "balancer"
        self.run_directory = self.directory / NAME  # its base name also names the flow file
        for folder in (self.run_directory, self.directory / "state"):
            folder.mkdir(parents=True)
        place = ["--run-dir", self.run_directory, "--state-dir", self.directory / "state"]
        self.dataplane = Process("dataplane", [build / "dataplane" / "sluice-dataplane", *place],
                                 self.directory, namespace)
        self.mgmt = Process("mgmt", [build / "mgmt" / "sluice-mgmt", *place, "--profiles", ROOT / "nic_profiles"],
                            self.directory, namespace)

    def ask(self, process, verb, payload=""):
        return Control(self.run_directory / f"{process}.sock").ask(verb, payload)

    def start(self, items):
        """Returns when the dataplane forwards with these objects."""
        for process in (self.dataplane, self.mgmt):
            process.start()
            put_first(process)
            host.wait_for(lambda: self.ask(process.name, "status"), f"{process.name} to answer\n{process.log_tail()}",
                          30)
        generation = self.ask("mgmt", "apply", objects.to_yaml(items))["generation"]

        def is_forwarding():
            status = self.ask("dataplane", "status")
            return status["state"] == "forwarding" and status["generation"] >= generation
        host.wait_for(is_forwarding, f"generation {generation} to be forwarded with\n{self.dataplane.log_tail()}\n"
                      f"{self.mgmt.log_tail()}", 30)
        return self

    def drops(self):
        return {drop["name"]: drop["packets"] for drop in self.ask("dataplane", "drops")["drops"]
                if drop["packets"]}

    def stop(self):
        for process in (self.mgmt, self.dataplane):
            process.stop()
        host.remove_tree(self.directory)
        for left in pathlib.Path("/dev/hugepages").glob(f"*{NAME}*"):
            host.remove_tree(left)


def service(name, vip, port, endpoints, endpoint_port, protocol="TCP"):
    """A VIP with one FULL_NAT cluster; `endpoints`: addresses."""
    def document(kind, spec, suffix=""):
        return objects.document(kind, name + suffix, spec)
    return [
        document("virtual_host", {"proxy": f"{protocol}_PROXY", "advertise_policies": [{"name": name}],
                                  "routes": [{"name": name}]}),
        document("advertise_policy", {"address": vip, "protocol": protocol, "port": port}),
        document("route", {"routes": [{"route_destination": {
            "destinations": [{"cluster": [{"name": name}], "weight": 1}]}}]}),
        document("cluster", {"endpoints": [{"name": f"{name}-{i}"} for i in range(len(endpoints))],
                             "sluice": {"algorithm": "ROUND_ROBIN", "forwarding": "FULL_NAT", "snat_pool": "pool"}}),
        *[document("endpoint", {"ip": address, "port": endpoint_port, "protocol": protocol}, f"-{i}")
          for i, address in enumerate(endpoints)],
    ]


def node(worker, ports, snat, capacity):
    return objects.document("node", "lb", {
        "workers": [worker], "ports": ports, "flows": {"capacity": capacity},
        "snat_pools": [{"name": "pool", "addresses": snat, "port_first": 1024, "port_last": 65535}]})


def cpus():
    """(of the generator, of what is measured)."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]
