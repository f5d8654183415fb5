"""Configuration objects as the operator writes them, made by functions so that a test says only
what it is about. JSON is YAML, so json.dumps() is the writer."""

import json

from . import layout


def document(kind, name, spec):
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def to_yaml(objects):
    return "---\n".join(json.dumps(item, indent=1) + "\n" for item in objects)


def port(subnet, profile="af_xdp", **more):
    return {"name": subnet.name, "profile": profile, "device": subnet.name,
            "addresses": [f"{subnet.v4}.{layout.OWN_NUMBER}/24",
                          f"{subnet.v6}::{layout.OWN_NUMBER}/64"], **more}


def node(workers=(0,), profile="af_xdp", port_options=None, snat_ports=(1024, 65535),
         capacity=65536, **spec):
    pools = [{"name": "inside",
              "addresses": [f"{layout.INSIDE_A.v4}.{layout.SNAT_NUMBER}",
                            f"{layout.INSIDE_A.v6}::{layout.SNAT_NUMBER}"],
              "port_first": snat_ports[0], "port_last": snat_ports[1]}]
    return document("node", "lb", {
        "workers": list(workers),
        "ports": [port(subnet, profile, **(port_options or {})) for subnet in layout.SUBNETS],
        "snat_pools": pools,
        "flows": {"capacity": capacity},
        **spec})


def health_check(name="tcp", interval=1, timeout=1, healthy=1, unhealthy=2):
    return document("healthcheck", name, {
        "tcp_health_check": {}, "interval": interval, "timeout": timeout,
        "healthy_threshold": healthy, "unhealthy_threshold": unhealthy})


def endpoint(name, origin, backend_port, protocol="TCP", family=4, weight=None,
             health_port=None):
    spec = {"ip": origin.address(family), "port": backend_port, "protocol": protocol}
    if health_port:
        spec["health_check_port"] = health_port
    if weight is not None:
        spec["sluice"] = {"weight": weight}
    return document("endpoint", name, spec)


def service(name, number, vip_port, backend_port, protocol="TCP", family=4,
            origins=layout.ORIGINS, weights=None, algorithm="ROUND_ROBIN", forwarding="FULL_NAT",
            health=None, idle_timeout=None, maglev_size=None):
    """A VIP and all that stands behind it: virtual_host, advertise_policy, route, cluster, endpoints.

    The endpoints are called NAME-ORIGIN. `health` names a healthcheck object that the caller adds.
    """
    sluice = {"algorithm": algorithm, "forwarding": forwarding}
    if forwarding in ("FULL_NAT", "SPLICE"):
        sluice["snat_pool"] = "inside"
    if maglev_size:
        sluice["maglev_size"] = maglev_size
    cluster = {"endpoints": [{"name": f"{name}-{origin.name}"} for origin in origins],
               "sluice": sluice}
    if health:
        cluster["health_checks"] = [{"name": health}]
    host = {"proxy": f"{protocol}_PROXY", "advertise_policies": [{"name": name}],
            "routes": [{"name": name}]}
    if idle_timeout is not None:
        host["idle_timeout"] = idle_timeout
    # A UDP endpoint is alive when the TCP side of the same server is.
    health_port = layout.ANSWER_PORT if protocol == "UDP" and health else None
    return [
        document("virtual_host", name, host),
        document("advertise_policy", name, {
            "address": layout.vip(number, family), "protocol": protocol, "port": vip_port}),
        document("route", name, {"routes": [{"route_destination": {
            "destinations": [{"cluster": [{"name": name}], "weight": 1}]}}]}),
        document("cluster", name, cluster),
        *[endpoint(f"{name}-{origin.name}", origin, backend_port, protocol, family,
                   (weights or {}).get(origin.name), health_port) for origin in origins],
    ]


def named_service(name, number, vip_port, backend_port, origins, advertised_as=None, cluster=None, **spec):
    """A virtual host for server names. Several share an address and port: all but one are `advertised_as` that one."""
    items = service(name, number, vip_port, backend_port, origins=origins, forwarding="SPLICE")
    for item in items:
        if item["kind"] == "virtual_host":
            item["spec"].update(proxy="TCP_PROXY_WITH_SNI", advertise_policies=[{"name": advertised_as or name}], **spec)
        if item["kind"] == "cluster":
            item["spec"].update(cluster or {})
    return [item for item in items if item["kind"] != "advertise_policy" or advertised_as is None]
