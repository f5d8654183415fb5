"""nftables in the place of Sluice: what the tools and the site are proven with.

It takes the same objects (TCP and UDP VIPs, FULL_NAT, equal weights) and nothing more.
"""

from . import host


class KernelBalancer:
    def __init__(self, network):
        self.network = network

    def start(self):
        self.network.sysctl("lb", net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        host.run_in(self.network.namespace("lb"), "nft", "-f", "-", input="""
            table inet balancer {
              chain choose { type nat hook prerouting priority dstnat; }
              chain hide {
                type nat hook postrouting priority srcnat;
                oifname "inside-*" masquerade
              }
            }""")

    def apply(self, objects):
        rules = "".join(self._rule(objects, item) for item in objects
                        if item["kind"] == "virtual_host")
        host.run_in(self.network.namespace("lb"), "nft", "-f", "-", input=rules)

    def _rule(self, objects, virtual_host):
        def find(kind, name):
            return next(item["spec"] for item in objects
                        if item["kind"] == kind and item["metadata"]["name"] == name)
        name = virtual_host["metadata"]["name"]
        policy = find("advertise_policy", name)
        endpoints = [find("endpoint", entry["name"]) for entry in find("cluster", name)["endpoints"]]
        family = "ip6" if ":" in policy["address"] else "ip"
        slots = ", ".join(f"{i} : {e['ip']} . {e['port']}" for i, e in enumerate(endpoints))
        return (f"add rule inet balancer choose {family} daddr {policy['address']} "
                f"{policy['protocol'].lower()} dport {policy['port']} "
                f"dnat {family} addr . port to numgen inc mod {len(endpoints)} "
                f"map {{ {slots} }}\n")

    def stop(self):
        host.run_in(self.network.namespace("lb"), "nft", "flush", "ruleset", check=False)
        self.network.sysctl("lb", net__ipv4__ip_forward=0, net__ipv6__conf__all__forwarding=0)


