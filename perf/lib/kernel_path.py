"""Real TCP over veth pairs, client - balancer - server, each in a namespace that is made and removed here:

    client 10.1.0.11 ── outside  lb  inside ── 10.2.0.11 server

Bulk: iperf3 through Sluice (FULL_NAT, AF_XDP on both veths) and through testpmd that only hands frames from one to the
other. Connections: `cps` against `answer` through Sluice and through nftables DNAT with masquerading. Both also through
HAProxy (mode tcp) and nginx (stream), one thread each. Contestants take turns; the balancer has the last CPU, client and
server share the first, except nftables, which the kernel runs where the packets are sent."""

import contextlib
import json
import shutil
import subprocess

import balancer
import results
import testpmd
from balancer import NAME, Process, host

CLIENT, LB, SERVER = (f"{NAME}-{name}" for name in ("client", "lb", "server"))
VIP = "10.9.0.1"
BULK_PORT, ANSWER_PORT = 5201, 8081
SNAT = "10.2.0.100"
SERVER_BESIDE_CLIENT = "10.1.0.12"  # where testpmd joins both links into one


def missing():
    for program in ("iperf3", "nft", "ip", "ethtool", "haproxy", "nginx"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def versions():
    """What the programs beside us say that they are."""
    asked = {"haproxy": "-v", "nginx": "-v", "nft": "--version", "iperf3": "--version"}
    said = {}
    for program, option in asked.items():
        done = subprocess.run([program, option], capture_output=True, text=True, check=False)
        said[program] = (done.stdout + done.stderr).partition("\n")[0]
    return said


def make_network():
    for namespace in (CLIENT, LB, SERVER):
        host.run("ip", "netns", "add", namespace)
        host.ip_batch(namespace, ["link set lo up"])
        host.run_in(namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.conf.all.rp_filter=0",
                    "net.ipv4.conf.default.rp_filter=0", "net.ipv4.ip_local_port_range=1024 65535")
    for namespace, device, port in ((CLIENT, "eth0", "outside"), (SERVER, "eth0", "inside")):
        host.run("ip", "link", "add", device, "netns", namespace, "type", "veth", "peer", "name", port, "netns", LB)
        for place, interface in ((namespace, device), (LB, port)):
            # A checksum or a cut that the sender leaves to hardware is wrong on a wire without hardware.
            host.run_in(place, "ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")
            host.ip_batch(place, [f"link set {interface} up"])
    host.ip_batch(CLIENT, ["addr add 10.1.0.11/24 dev eth0", "route add default via 10.1.0.1"])
    host.ip_batch(SERVER, ["addr add 10.2.0.11/24 dev eth0", f"addr add {SERVER_BESIDE_CLIENT}/24 dev eth0",
                           "route del 10.1.0.0/24 dev eth0", "route add 10.1.0.11/32 dev eth0",
                           "route add default via 10.2.0.1"])


def on_cpu(cpu, *command):
    return ["taskset", "-c", cpu, *command]


@contextlib.contextmanager
def servers(build, directory):
    cpu, _ = balancer.cpus()
    running = [Process("iperf3", on_cpu(cpu, "iperf3", "-s", "-p", BULK_PORT), directory, SERVER).start(),
               Process("answer", on_cpu(cpu, build / "tests" / "tools" / "answer", "--name", "server", "--tcp",
                                        ANSWER_PORT), directory, SERVER).start()]
    for process in running:
        balancer.put_first(process)
    try:
        yield
    finally:
        for process in running:
            process.stop()


@contextlib.contextmanager
def through_sluice(build, directory):
    _, cpu = balancer.cpus()
    ports = [{"name": name, "profile": "af_xdp", "device": name, "addresses": [address]}
             for name, address in (("outside", "10.1.0.1/24"), ("inside", "10.2.0.1/24"))]
    product = balancer.Balancer(build, directory, LB).start([
        balancer.node(cpu, ports, [SNAT], 262_144),
        *balancer.service("bulk", VIP, BULK_PORT, ["10.2.0.11"], BULK_PORT),
        *balancer.service("answer", VIP, ANSWER_PORT, ["10.2.0.11"], ANSWER_PORT)])
    try:
        yield VIP
    finally:
        product.stop()


@contextlib.contextmanager
def through_testpmd(_, directory):
    _, cpu = balancer.cpus()
    devices = ["net_af_xdp0,iface=outside,start_queue=0,queue_count=1", "net_af_xdp1,iface=inside,start_queue=0,queue_count=1"]
    with testpmd.forwarding(devices, "io", cpu, directory, namespace=LB):
        yield SERVER_BESIDE_CLIENT


@contextlib.contextmanager
def through_nftables(_, __):
    host.ip_batch(LB, ["addr add 10.1.0.1/24 dev outside", "addr add 10.2.0.1/24 dev inside"])
    host.run_in(LB, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    host.run_in(LB, "nft", "-f", "-", input=f"""
        table ip balancer {{
          chain choose {{
            type nat hook prerouting priority dstnat;
            ip daddr {VIP} tcp dport {{ {BULK_PORT}, {ANSWER_PORT} }} dnat to 10.2.0.11
          }}
          chain hide {{
            type nat hook postrouting priority srcnat;
            oifname "inside" masquerade
          }}
        }}""")
    try:
        yield VIP
    finally:
        host.run_in(LB, "nft", "flush", "ruleset", check=False)


@contextlib.contextmanager
def through_nftables_elsewhere(build, directory):
    """The same with receive packet steering: what the kernel forwards, it forwards on the balancer's CPU."""
    _, cpu = balancer.cpus()
    for port in ("outside", "inside"):
        # A sysfs of the namespace, which only `ip netns exec` brings.
        host.run("ip", "netns", "exec", LB, "sh", "-c",
                 f"echo {1 << cpu:x} > /sys/class/net/{port}/queues/rx-0/rps_cpus")
    with through_nftables(build, directory) as address:
        yield address


@contextlib.contextmanager
def proxy(name, command, configuration, directory):
    """A proxy that takes the VIP for its own, on the balancer's CPU."""
    _, cpu = balancer.cpus()
    host.ip_batch(LB, ["addr add 10.1.0.1/24 dev outside", "addr add 10.2.0.1/24 dev inside", f"addr add {VIP}/32 dev lo"])
    file = directory / f"{name}.conf"
    file.write_text(configuration, encoding="utf-8")
    running = Process(name, on_cpu(cpu, *command, file), directory, LB).start()
    balancer.put_first(running)
    try:
        yield VIP
    finally:
        running.stop()


def through_haproxy(_, directory):
    listeners = "\n".join(f"listen on-{port}\n  bind {VIP}:{port}\n  server origin 10.2.0.11:{port}"
                          for port in (BULK_PORT, ANSWER_PORT))
    return proxy("haproxy", ["haproxy", "-db", "-f"], f"""
global
  nbthread 1
  maxconn 4000
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
{listeners}
""", directory)


def through_nginx(_, directory):
    servers = " ".join(f"server {{ listen {VIP}:{port}; proxy_pass 10.2.0.11:{port}; }}" for port in (BULK_PORT, ANSWER_PORT))
    return proxy("nginx", ["nginx", "-g", "daemon off;", "-p", directory, "-c"], f"""
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1;
pid {directory}/nginx-proxy.pid.txt;
error_log {directory}/nginx-error.log;
events {{ worker_connections 4096; }}
stream {{ {servers} }}
""", directory)


def bulk(_, address, seconds):
    """Gbit/s of one TCP connection, as its receiver counts."""
    cpu, _ = balancer.cpus()

    def counted():
        # A server that still thinks of the last connection says that it is busy: iperf3 itself asks until it is not.
        done = host.run_in(CLIENT, *on_cpu(cpu, "iperf3", "-c", address, "-p", BULK_PORT, "-t", seconds, "-O", 1, "-J",
                                               "--connect-timeout", 2000),
                           timeout=seconds + 60, check=False)
        document = json.loads(done.stdout)
        if "error" in document:
            raise RuntimeError(f"iperf3: {document['error']}")
        return document["end"]["sum_received"]["bits_per_second"] / 1e9

    return host.wait_for(counted, f"iperf3 to {address}:{BULK_PORT}", 30, interval=0.2)


def connections(build, address, seconds):
    """Connections per second, each opened, asked, answered and closed."""
    cpu, _ = balancer.cpus()
    wait_for_answer(address, ANSWER_PORT)
    done = host.run_in(CLIENT, *on_cpu(cpu, build / "tests" / "tools" / "cps", "--connect", f"{address}:{ANSWER_PORT}",
                                       "--seconds", seconds, "--concurrency", 64), timeout=seconds + 60)
    result = json.loads(done.stdout.splitlines()[-1])
    if result["failed"] > 0:
        raise RuntimeError(f"{result['failed']} connections to {address} failed: {result['failed_by']}")
    return result["succeeded"] / result["seconds"]


def wait_for_answer(address, port):
    host.wait_for(lambda: host.run_in(CLIENT, "bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}", check=False,
                                      timeout=5).returncode == 0, f"{address}:{port} to answer", 20)


def rows(build, turns, seconds, say):
    kinds = (
        ("TCP bulk over AF_XDP on veth, one connection", bulk, "Gbit/s", "Sluice / testpmd io",
         {"testpmd io": through_testpmd, "Sluice, FULL_NAT": through_sluice, "nftables DNAT": through_nftables,
          "HAProxy, mode tcp": through_haproxy, "nginx, stream": through_nginx}, ("testpmd io",)),
        ("TCP connections per second over veth, 64 at a time", connections, "conn/s", "Sluice / the faster nftables",
         {"nftables DNAT": through_nftables, "nftables DNAT, on the other CPU": through_nftables_elsewhere,
          "Sluice, FULL_NAT": through_sluice, "HAProxy, mode tcp": through_haproxy, "nginx, stream": through_nginx},
         ("nftables DNAT", "nftables DNAT, on the other CPU")),
    )
    found = []
    for group, measure, unit, ratio_name, contestants, references in kinds:
        samples = {name: [] for name in contestants}
        for turn in range(turns):
            for name, contestant in contestants.items():
                say(f"{group}, turn {turn + 1} of {turns}: {name}")
                with balancer.workbench() as directory:
                    make_network()
                    with servers(build, directory), contestant(build, directory) as address:
                        samples[name].append(measure(build, address, seconds))
        for name, values in samples.items():
            found.append(results.row(group, name, values, unit, better="higher"))
        best = [max(turn) for turn in zip(*(samples[name] for name in references))]
        ratios = [ours / theirs for ours, theirs in zip(samples["Sluice, FULL_NAT"], best)]
        found.append(results.row(group, ratio_name, ratios, "x", better="higher", must=0.9, aim=1.0))
    return found
