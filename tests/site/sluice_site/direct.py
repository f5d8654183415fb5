"""An origin as an endpoint of direct server return: it has the VIPs on its loopback, takes packets out of tunnels, and
answers the clients by a router of its own, past the appliance."""

import json

from . import host, layout
from .process import Process

DECAP = host.REPOSITORY / "tests" / "tools" / "decap"


class DirectEndpoint:
    def __init__(self, site, origin, vips):
        self.site = site
        self.namespace = site.network.namespace(origin.name)
        self.decap = Process("decap", [DECAP], site.directory / origin.name, self.namespace)
        site.network.add_way_back(origin)
        # It shall not say on its network that the VIP is there: that is the appliance's to say.
        site.network.sysctl(origin.name, net__ipv4__conf__all__arp_ignore=1, net__ipv4__conf__all__arp_announce=2)
        for vip in vips:
            self.take(vip)
        self.decap.start()
        host.wait_for(lambda: "ready" in self.decap.output_text(), "decap to be ready")

    def take(self, vip):
        host.ip_batch(self.namespace, [f"addr add {self._prefix(vip)} dev lo"])

    def give_up(self, vip):
        host.ip_batch(self.namespace, [f"addr del {self._prefix(vip)} dev lo"])

    @staticmethod
    def _prefix(vip):
        return f"{vip}/128 nodad" if ":" in vip else f"{vip}/32"

    def stop(self):
        """How many packets came, by kind of tunnel."""
        assert self.decap.stop()
        return json.loads(self.decap.output_text().splitlines()[-1])
