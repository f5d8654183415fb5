"""Where everything is in a site. Read this first.

    client-1  client-2                         web-1  web-2        web-3
       |         |                               |      |            |
    ===+=========+=== outside        inside-a ===+======+==    ======+=== inside-b
                 |                          |                     |
                 |  lb-outside  lb-inside-a |         lb-inside-b |      (bridge ports in `mid`)
                 +---------------- lb ------+---------------------+

Each name is a network namespace (with the site's name in front); the three bridges are in `mid`,
where the captures are taken too. The ports in `lb` are called outside, inside-a, inside-b.
On each subnet .1 is the appliance's own address, .2 is the kernel's of the appliance host (ssh,
health checks), .100 is an SNAT address. VIPs are routed to the appliance by the clients.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subnet:
    name: str  # also the port of lb, and "lb-<name>" the bridge port towards it
    v4: str    # everything before the last number
    v6: str

    @property
    def bridge(self):
        return f"br-{self.name}"


@dataclass(frozen=True)
class Host:
    name: str
    subnet: Subnet
    number: int

    @property
    def v4(self):
        return f"{self.subnet.v4}.{self.number}"

    @property
    def v6(self):
        return f"{self.subnet.v6}::{self.number}"

    def address(self, family):
        return self.v4 if family == 4 else self.v6


OUTSIDE = Subnet("outside", "10.1.0", "fd00:1")
INSIDE_A = Subnet("inside-a", "10.2.0", "fd00:2")
INSIDE_B = Subnet("inside-b", "10.3.0", "fd00:3")
SUBNETS = (OUTSIDE, INSIDE_A, INSIDE_B)

CLIENTS = (Host("client-1", OUTSIDE, 11), Host("client-2", OUTSIDE, 12))
ORIGINS = (Host("web-1", INSIDE_A, 11), Host("web-2", INSIDE_A, 12), Host("web-3", INSIDE_B, 13))

VIP_V4 = "10.9.0"   # VIPs are 10.9.0.N and fd00:9::N
VIP_V6 = "fd00:9"

OWN_NUMBER = 1
KERNEL_NUMBER = 2
SNAT_NUMBER = 100

# A host behind a router on one of the subnets, for tests that want a path with a narrow link:
# Network.add_far().
BEYOND = Subnet("beyond", "10.7.0", "fd00:7")
FAR = Host("far", BEYOND, 11)
ROUTER_NUMBER = 77

# More addresses of each client, for tests that want many sources.
EXTRA_SOURCES = range(200, 210)

HTTP_PORT = 8080     # nginx
ANSWER_PORT = 8081   # `answer`, TCP
UDP_PORT = 9000      # `answer`, UDP
FLOWS_PORT = 7000    # `flows --serve`, TCP and UDP
ECHO_PORT = 8082     # `answer --echo`: its name first, then all that it is sent
BULK_PORT = 7001     # `bulk --serve`


def vip(number, family=4):
    return f"{VIP_V4}.{number}" if family == 4 else f"{VIP_V6}::{number}"


def host_port(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
