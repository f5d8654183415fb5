"""Makes and removes the namespaces, bridges and veth pairs of layout.py."""

import json

from . import host, layout


class Network:
    def __init__(self, prefix, mtu=1500):
        self.prefix = prefix
        self.mtu = mtu
        self.names = ([f"{c.name}" for c in layout.CLIENTS + layout.ORIGINS] + ["mid", "lb"])
        self.all_names = self.names + ["router", layout.FAR.name] + [f"card-{subnet.name}" for subnet in layout.SUBNETS]

    def namespace(self, name):
        return f"{self.prefix}-{name}"

    def up(self):
        for name in self.names:
            host.run("ip", "netns", "add", self.namespace(name))
            self._quiet(name)
        self._bridges()
        for machine in layout.CLIENTS + layout.ORIGINS:
            self._connect(machine)
        for subnet in layout.SUBNETS:
            self._connect_appliance(subnet)

    def down(self):
        existing = set(host.namespaces())
        for name in self.all_names:
            if self.namespace(name) in existing:
                host.run("ip", "netns", "del", self.namespace(name), check=False)

    def sysctl(self, name, **settings):
        words = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
        host.run_in(self.namespace(name), "sysctl", "-qw", *words)

    def _quiet(self, name):
        # No duplicate address detection, no router solicitation, no forwarding: what a capture
        # shows comes from the machines of the site and from nothing else.
        self.sysctl(name,
                    net__ipv4__ip_forward=0,
                    net__ipv6__conf__all__forwarding=0,
                    net__ipv6__conf__default__accept_dad=0,
                    net__ipv6__conf__default__dad_transmits=0,
                    net__ipv6__conf__default__accept_ra=0,
                    net__ipv6__conf__default__router_solicitations=0,
                    net__ipv6__conf__default__disable_ipv6=1 if name == "mid" else 0,
                    net__ipv4__conf__all__rp_filter=0,
                    net__ipv4__conf__default__rp_filter=0,
                    net__ipv4__ip_local_port_range="1024 65535")
        host.ip_batch(self.namespace(name), ["link set lo up"])

    def _bridges(self):
        lines = []
        for subnet in layout.SUBNETS:
            lines += [f"link add {subnet.bridge} type bridge mcast_snooping 0 forward_delay 0",
                      f"link set {subnet.bridge} mtu {self.mtu} up"]
        host.ip_batch(self.namespace("mid"), lines)

    def _veth(self, name, device, bridge_port, bridge):
        host.run("ip", "link", "add", device, "netns", self.namespace(name), "mtu", self.mtu,
                 "type", "veth", "peer", "name", bridge_port, "netns", self.namespace("mid"),
                 "mtu", self.mtu)
        for namespace, interface in ((name, device), ("mid", bridge_port)):
            self._switch_offloads_off(namespace, interface)
        host.ip_batch(self.namespace("mid"), [f"link set {bridge_port} master {bridge} up"])

    def _connect(self, machine):
        subnet = machine.subnet
        self._veth(machine.name, "eth0", machine.name, subnet.bridge)
        lines = [f"addr add {machine.v4}/24 dev eth0",
                 f"addr add {machine.v6}/64 dev eth0 nodad"]
        if machine in layout.CLIENTS:
            base = layout.CLIENTS.index(machine) * len(layout.EXTRA_SOURCES)
            for number in layout.EXTRA_SOURCES:
                # Never chosen by the kernel: for who asks for them by name.
                lines += [f"addr add {subnet.v4}.{number + base}/24 dev eth0",
                          f"addr add {subnet.v6}::{number + base}/64 dev eth0 nodad "
                          "preferred_lft 0"]
        lines += ["link set eth0 up",
                  f"route add default via {subnet.v4}.{layout.OWN_NUMBER}",
                  f"route add ::/0 via {subnet.v6}::{layout.OWN_NUMBER}"]
        host.ip_batch(self.namespace(machine.name), lines)

    def add_far(self, subnet, mtu):
        """A router on `subnet` and the host FAR behind it. The router's link to FAR takes `mtu` bytes;
        FAR knows nothing of it."""
        far, beyond = layout.FAR, layout.BEYOND
        for name in ("router", far.name):
            host.run("ip", "netns", "add", self.namespace(name))
            self._quiet(name)
        self._veth("router", "eth0", "router", subnet.bridge)
        host.run("ip", "link", "add", "eth1", "netns", self.namespace("router"), "mtu", mtu,
                 "type", "veth", "peer", "name", "eth0", "netns", self.namespace(far.name),
                 "mtu", self.mtu)
        for name, interface in (("router", "eth1"), (far.name, "eth0")):
            self._switch_offloads_off(name, interface)
        own = layout.OWN_NUMBER
        self._addresses("router", "eth0", subnet, layout.ROUTER_NUMBER, subnet)
        self._addresses("router", "eth1", beyond, own)
        self._addresses(far.name, "eth0", beyond, far.number, beyond)
        self.sysctl("router", net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)

    def add_way_back(self, origin):
        """Lets the origin reach clients past the appliance: by the router, which add_far() may have made."""
        if self.namespace("router") not in host.namespaces():
            host.run("ip", "netns", "add", self.namespace("router"))
            self._quiet("router")
            self._veth("router", "eth0", "router", layout.OUTSIDE.bridge)
            self._addresses("router", "eth0", layout.OUTSIDE, layout.ROUTER_NUMBER, layout.OUTSIDE)
            self.sysctl("router", net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        if origin.subnet == layout.BEYOND:  # behind the router already, which lacks a way to the clients
            self._veth("router", "out", "router-out", layout.OUTSIDE.bridge)
            self._addresses("router", "out", layout.OUTSIDE, layout.ROUTER_NUMBER)
            return
        if self._has_leg(origin.subnet):
            return
        leg = f"in-{origin.subnet.name}"
        self._veth("router", leg, f"router-{origin.subnet.name}"[:15], origin.subnet.bridge)
        self._addresses("router", leg, origin.subnet, layout.ROUTER_NUMBER)
        host.ip_batch(self.namespace(origin.name), [
            line for beyond in (layout.OUTSIDE, layout.BEYOND) for line in (
                f"route add {beyond.v4}.0/24 via {origin.subnet.v4}.{layout.ROUTER_NUMBER}",
                f"route add {beyond.v6}::/64 via {origin.subnet.v6}::{layout.ROUTER_NUMBER}")])

    def _has_leg(self, subnet):
        shown = host.run("ip", "-n", self.namespace("router"), "-br", "link").stdout
        return f"in-{subnet.name}" in shown

    def _addresses(self, name, device, subnet, number, default_via=None):
        lines = [f"addr add {subnet.v4}.{number}/24 dev {device}",
                 f"addr add {subnet.v6}::{number}/64 dev {device} nodad",
                 f"link set {device} up"]
        if default_via:
            lines += [f"route add default via {default_via.v4}.{layout.OWN_NUMBER}",
                      f"route add ::/0 via {default_via.v6}::{layout.OWN_NUMBER}"]
        host.ip_batch(self.namespace(name), lines)

    def make_trunk(self, subnet, vlans):
        """The appliance's port on `subnet` becomes the end of a trunk: {100: subnet, ...} say which VLAN
        leads to which bridge. Arguments for the tool `trunk`, which is to run in `mid`."""
        accesses = []
        lines = [f"link set lb-{subnet.name} nomaster", f"link set lb-{subnet.name} up"]
        for vlan, behind in vlans.items():
            lines += [f"link set lb-{behind.name} nomaster",
                      f"link add vlan{vlan} type veth peer name to-vlan{vlan}",
                      f"link set to-vlan{vlan} master {behind.bridge} up",
                      f"link set vlan{vlan} up"]
            accesses += ["--access", f"{vlan}=vlan{vlan}"]
        host.ip_batch(self.namespace("mid"), lines)
        for vlan in vlans:
            for interface in (f"vlan{vlan}", f"to-vlan{vlan}"):
                self._switch_offloads_off("mid", interface)
        return ["--trunk", f"lb-{subnet.name}", *accesses]

    def cut(self, subnet):
        """Takes the appliance's cable out of the bridge of `subnet`. (left, right): the interfaces in `mid`
        between which somebody has to carry the packets from now on; the appliance is on the left."""
        left, right, plug = f"lb-{subnet.name}", f"cut-{subnet.name}", f"plug-{subnet.name}"
        host.run("ip", "link", "add", right, "netns", self.namespace("mid"), "mtu", self.mtu, "type",
                 "veth", "peer", "name", plug, "netns", self.namespace("mid"), "mtu", self.mtu)
        for end in (right, plug):
            self._switch_offloads_off("mid", end)
        host.ip_batch(self.namespace("mid"), [f"link set {left} nomaster", f"link set {right} up",
                                              f"link set {plug} master {subnet.bridge} up"])
        return left, right

    def take_out(self, subnet):
        """Moves the appliance's interface on `subnet` into a namespace of its own, whose name is returned. The
        af_packet driver numbers its fanout groups by process and interface, so that those of two processes
        in one namespace can be the same, and the second is refused."""
        name = f"card-{subnet.name}"
        host.run("ip", "netns", "add", self.namespace(name))
        self._quiet(name)
        host.run("ip", "-n", self.namespace("lb"), "link", "set", subnet.name, "netns", self.namespace(name))
        host.ip_batch(self.namespace(name), [f"link set {subnet.name} up"])
        return name

    def mac(self, name, device):
        listed = host.run("ip", "-n", self.namespace(name), "-json", "link", "show", "dev", device)
        return json.loads(listed.stdout)[0]["address"]

    def _switch_offloads_off(self, name, interface):
        # A checksum that the sender leaves to hardware is wrong on a wire without hardware.
        host.run_in(self.namespace(name), "ethtool", "-K", interface, "tx", "off", "tso", "off",
                    "gso", "off", "gro", "off")

    def _connect_appliance(self, subnet):
        self._veth("lb", subnet.name, f"lb-{subnet.name}", subnet.bridge)
        host.ip_batch(self.namespace("lb"), [
            f"addr add {subnet.v4}.{layout.KERNEL_NUMBER}/24 dev {subnet.name}",
            f"addr add {subnet.v6}::{layout.KERNEL_NUMBER}/64 dev {subnet.name} nodad",
            f"link set {subnet.name} up"])


def extra_sources(client, family=4):
    """"first-last" of the further addresses of a client, as the tools' --source takes it."""
    base = layout.CLIENTS.index(client) * len(layout.EXTRA_SOURCES)
    first, last = layout.EXTRA_SOURCES[0] + base, layout.EXTRA_SOURCES[-1] + base
    stem = f"{client.subnet.v4}." if family == 4 else f"{client.subnet.v6}::"
    return f"{stem}{first}-{stem}{last}"
