"""Connections that the balancer answers before their endpoint is chosen: real kernels on both sides."""

import json
import os

import pytest

from sluice_site import host, layout, objects
from sluice_site.control import ControlError
from sluice_site.process import Process

WEB = f"{layout.vip(1)}:80"
WEB_V6 = f"[{layout.vip(1, 6)}]:80"
FLOWS = f"{layout.vip(2)}:7000"
TLS_PORT = 8443
PROXY_PORT = 8090

SPLICED = [
    objects.node(),
    *objects.service("web", 1, 80, layout.HTTP_PORT, forwarding="SPLICE"),
    *objects.service("web-v6", 1, 80, layout.HTTP_PORT, family=6, forwarding="SPLICE"),
    *objects.service("flows", 2, 7000, layout.FLOWS_PORT, forwarding="SPLICE"),
]


def splices(site):
    return {line["name"]: line["count"] for line in site.ask_dataplane("splices")["splices"]}


def changed(items, kind, **spec):
    """The objects, with more in the spec of those of a kind."""
    for item in items:
        if item["kind"] == kind:
            item["spec"].update(spec)
    return items


@pytest.mark.parametrize("address", [WEB, WEB_V6], ids=["ipv4", "ipv6"])
def test_1000_spliced_connections_over_three_endpoints_none_failed(site, address):
    site.apply(SPLICED)
    result = site.cps(address, http=True, count=1000).result()
    assert (result["succeeded"], result["failed"]) == (1000, 0), result
    shares = [entry["count"] for entry in result["by_server"].values()]
    assert len(shares) == 3 and max(shares) - min(shares) <= 2, result
    assert splices(site)["joined"] >= 1000 and splices(site)["pending"] == 0


def test_spliced_connections_go_on_after_kill_9_of_the_dataplane(site):
    site.apply(SPLICED)
    tool = site.flows(FLOWS, count=300, interval_ms=300)
    assert tool.event("ready")["established"] == 300
    site.dataplane.kill()
    site.start_dataplane()
    assert site.ask_dataplane("status")["flows_adopted"] >= 300
    before = tool.progress()["messages"]
    host.wait_for(lambda: tool.progress()["messages"] >= before + 600, "two rounds of echoes", 20)
    ended = tool.finish()
    assert ended["broken"] == ended["wrong_bytes"] == ended["wrong_flow"] == ended["moved"] == 0, ended


def certificate(directory, name):
    """A key, and a certificate for *.NAME and NAME that vouches for itself."""
    key, cert = directory / f"{name}.key", directory / f"{name}.pem"
    host.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name},DNS:*.{name}",
             "-keyout", key, "-out", cert)
    return key, cert


def serve_tls(site, machine, name):
    """A TLS server that answers with pages of its own, /who and a larger /block; its certificate."""
    pages = site.directory / f"tls-{machine}"
    pages.mkdir()
    key, cert = certificate(pages, name)
    namespace = site.network.namespace(machine)
    server = Process(f"tls-{machine}", ["openssl", "s_server", "-quiet", "-WWW", "-accept", TLS_PORT, "-key", key,
                                        "-cert", cert], pages, namespace)
    (pages / "who").write_text(f"{machine}\n")
    (pages / "block").write_bytes(os.urandom(3_000_000))
    server.command = ["sh", "-c", f"cd {pages} && exec " + " ".join(map(str, server.command))]
    server.start()
    host.wait_for(lambda: host.run_in(namespace, "ss", "-Hltn", f"sport = :{TLS_PORT}").stdout.strip(), f"TLS at {machine}")
    return server, cert


def named(name, number, origin, **spec):
    items = objects.service(name, number, 443, TLS_PORT, origins=[origin], forwarding="SPLICE")
    changed(items, "virtual_host", proxy="TCP_PROXY_WITH_SNI", **spec)
    # All of them behind the first one's address and port.
    for item in items:
        if item["kind"] == "virtual_host":
            item["spec"]["advertise_policies"] = [{"name": "shop"}]
    return [item for item in items if item["kind"] != "advertise_policy" or name == "shop"]


def test_server_names_lead_to_their_own_endpoints_end_to_end(site):  # V09
    servers = []
    try:
        certs = {}
        for origin, name in (("web-1", "shop.example"), ("web-2", "mail.example")):
            server, certs[name] = serve_tls(site, origin, name)
            servers.append(server)
        shop, mail = layout.ORIGINS[0], layout.ORIGINS[1]
        site.apply([objects.node(), *named("shop", 1, shop, domains=["shop.example", "*.shop.example"]),
                    *named("mail", 1, mail, domains=["mail.example", "*.mail.example"])])
        vip = layout.vip(1)

        def ask(name, cert, *more, **options):
            return site.curl(f"https://{name}/who", "--resolve", f"{name}:443:{vip}", "--cacert", cert, *more, **options)

        for _ in range(5):
            assert ask("shop.example", certs["shop.example"]).stdout.endswith("web-1\n")
            assert ask("www.shop.example", certs["shop.example"]).stdout.endswith("web-1\n")
            assert ask("mail.example", certs["mail.example"]).stdout.endswith("web-2\n")
        # The certificate is the origin's own: another one's is not believed.
        assert ask("mail.example", certs["shop.example"], check=False).returncode == 60
        # No such name: an alert that says so, and a reset.
        refused = ask("other.example", certs["shop.example"], check=False)
        assert refused.returncode == 35 and "unrecognized name" in refused.stderr, refused
        # No TLS at all.
        assert site.curl(f"http://{vip}:443/", check=False).returncode in (52, 56)
        drops = site.drops()
        assert drops["reject.name_unknown"] == 1 and drops["reject.not_tls"] == 1, drops
        shown = site.shell("show", "virtual-hosts").stdout
        assert "shop" in shown and "mail" in shown
        # By expression; the more particular name comes first all the same.
        site.apply([*named("mail", 1, mail, domains=["mail.example"],
                           sluice={"domain_regexes": [r"m[0-9]+\.mail\.example", r".*\.shop\.example"]})])
        assert ask("M7.mail.example", certs["mail.example"]).stdout.endswith("web-2\n")
        assert ask("m7.shop.example", certs["shop.example"]).stdout.endswith("web-1\n")
        assert ask("mx.mail.example", certs["mail.example"], check=False).returncode == 35
        with pytest.raises(ControlError) as refused:
            site.apply(named("mail", 1, mail, sluice={"domain_regexes": ["m(7"]}))
        assert "Missing close parenthesis" in json.dumps(refused.value.reply)
        # Somebody takes the rest.
        site.apply([*named("mail", 1, mail, domains=["mail.example"], default_loadbalancer={})])
        assert ask("other.example", certs["mail.example"], "-k").stdout.endswith("web-2\n")
    finally:
        for server in servers:
            server.stop()


HERE = layout.Host("here", layout.Subnet("kernel", "192.168.77", "fd77"), 1)


def test_a_name_is_terminated_on_this_box_and_another_one_passed_through(site, tmp_path):
    """Both on one VIP and port. The server here is the box's own kernel's, behind the exception port."""
    servers = []
    try:
        shop, shop_cert = serve_tls(site, "web-1", "shop.example")
        servers.append(shop)
        server, cert = serve_tls(site, "lb", "here.example")
        servers.append(server)
        site.apply([objects.node(exception_port={"interface": "sluice0", "addresses": [HERE.v4]}),
                    *named("shop", 1, layout.ORIGINS[0], domains=["shop.example"]),
                    *named("here", 1, HERE, domains=["here.example"])])

        def ask(name, cert, page, *more, **options):
            return site.curl(f"https://{name}/{page}", "--resolve", f"{name}:443:{layout.vip(1)}", "--cacert", cert, *more,
                             **options)

        for _ in range(10):
            assert ask("shop.example", shop_cert, "who").stdout.endswith("web-1\n")
            assert ask("here.example", cert, "who").stdout.endswith("lb\n")
        ask("here.example", cert, "block", "-o", tmp_path / "block")
        assert (tmp_path / "block").read_bytes().endswith((site.directory / "tls-lb" / "block").read_bytes())
        # Nobody else reaches it.
        assert site.curl(f"https://{HERE.v4}:{TLS_PORT}/who", "--connect-timeout", "0.5", check=False).returncode == 28
        assert site.drops()["drop.not_local"] > 0
        rows = {row["address"]: row for row in site.ask_dataplane("neighbors")["neighbors"]}
        assert rows[HERE.v4]["port"] == "kernel", rows
    finally:
        for process in servers:
            process.stop()


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_proxy_protocol_tells_the_endpoint_its_client(site, version):
    origin = site.origins["web-1"]
    conf = origin.directory / "proxy.conf"
    conf.write_text(f"""daemon off; user root; worker_processes 1; pid {origin.directory}/proxy.pid;
        error_log stderr; events {{}}
        http {{ access_log off; server {{ listen {PROXY_PORT} proxy_protocol; default_type text/plain;
          location / {{ return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr\\n"; }} }} }}""")
    nginx = Process("nginx-proxy", ["nginx", "-c", conf, "-p", origin.directory, "-e", "stderr"], origin.directory,
                    origin.namespace)
    nginx.start()
    try:
        host.wait_for(lambda: origin.listens(PROXY_PORT), "nginx with PROXY protocol")
        items = objects.service("web", 1, 80, PROXY_PORT, origins=layout.ORIGINS[:1], forwarding="SPLICE")
        site.apply([objects.node(), *changed(items, "cluster", **{f"proxy_protocol_{version}": {}})])
        for _ in range(20):
            words = site.curl(f"http://{WEB}/", "--local-port", "20000-29999").stdout.split()
            assert words[0] == layout.CLIENTS[0].v4 and words[2] == layout.vip(1), words
            assert 20000 <= int(words[1]) <= 29999
    finally:
        nginx.stop()
