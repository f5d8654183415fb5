"""Real TLS clients through server names to nginx, and what real servers make of the PROXY protocol."""

import hashlib
import os

import pytest

from sluice_site import host, layout, objects
from sluice_site.process import Process
from test_splice import certificate

PORT = 443
PLAIN, WITH_PROXY = 8443, 8444  # nginx: TLS, and TLS behind a PROXY header
SPEAKER = 2525
NAME = "shop.example"

NGINX = """daemon off; user root; worker_processes 1; pid {place}/tls.pid; error_log stderr; events {{}}
http {{
  access_log off; default_type text/plain; ssl_certificate {cert}; ssl_certificate_key {key};
  ssl_protocols TLSv1.2 TLSv1.3;
  server {{ listen {PLAIN} ssl http2; listen {WITH_PROXY} ssl proxy_protocol; root {pages};
    location = /who {{ return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port $ssl_protocol\\n"; }} }}
}}"""

# Reads the header (version 1 or 2) and greets the client by the address in it, before the client has said a word.
GREETER = """
import socket, socketserver, struct

class Greeter(socketserver.BaseRequestHandler):
    def handle(self):
        read = self.request.makefile("rb")
        if read.peek(1)[:1] == b"P":
            _, _, client, vip, port, vip_port = read.readline().decode().split()
        else:
            head = read.read(16)
            body = read.read(struct.unpack(">H", head[14:])[0])
            client, vip = socket.inet_ntoa(body[:4]), socket.inet_ntoa(body[4:8])
            port, vip_port = struct.unpack(">HH", body[8:12])
        self.request.sendall(f"220 {client} {port} {vip} {vip_port}\\r\\n".encode())
        self.request.sendall(b"250 " + read.readline())

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("0.0.0.0", %d), Greeter).serve_forever()
""" % SPEAKER


@pytest.fixture
def web(site):
    """web-1 with these servers; (the page, the certificate)."""
    origin = site.origins["web-1"]
    pages = origin.directory / "tls-pages"
    pages.mkdir()
    page = os.urandom(3_000_000)
    (pages / "page").write_bytes(page)
    key, cert = certificate(origin.directory, NAME)
    conf = origin.directory / "tls.conf"
    conf.write_text(NGINX.format(place=origin.directory, cert=cert, key=key, pages=pages, PLAIN=PLAIN, WITH_PROXY=WITH_PROXY))
    greeter = origin.directory / "greeter.py"
    greeter.write_text(GREETER)
    servers = [Process("tls", ["nginx", "-c", conf, "-p", origin.directory, "-e", "stderr"], origin.directory, origin.namespace),
               Process("greeter", ["/usr/bin/python3", greeter], origin.directory, origin.namespace)]
    for server in servers:
        server.start()
    for port in (PLAIN, WITH_PROXY, SPEAKER):
        host.wait_for(lambda: origin.listens(port), f"port {port} of web-1")
    yield page, cert
    for server in servers:
        server.stop()


def serve(site, backend_port, **cluster):
    site.apply([objects.node(), *objects.named_service("shop", 1, PORT, backend_port, layout.ORIGINS[:1], domains=[NAME],
                                                       cluster=cluster)])


def curl(site, cert, path, *more):
    return site.curl(f"https://{NAME}/{path}", "--resolve", f"{NAME}:{PORT}:{layout.vip(1)}", "--cacert", cert, "--fail", *more)


def test_whole_pages_over_tls_through_curl_and_s_client(site, web, tmp_path):
    page, cert = web
    serve(site, PLAIN)
    here = tmp_path / "page"
    for more in (["--http1.1"], ["--http2"], ["--tls-max", "1.2"]):
        for _ in range(3):
            curl(site, cert, "page", "-o", here, *more)
            assert here.read_bytes() == page, more
    for more in (["-tls1_3"], ["-tls1_2"], ["-tls1_3", "-groups", "X25519:P-521:P-384:P-256:X448:ffdhe8192"]):
        client = f"printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -connect {layout.vip(1)}:{PORT} " \
                 f"-servername {NAME} -verify_return_error -CAfile {cert} -verify_hostname {NAME} {' '.join(more)} > {here}"
        host.run_in(site.network.namespace("client-1"), "sh", "-c", client)
        answer = here.read_bytes()
        assert answer.startswith(b"HTTP/1.1 200")
        assert hashlib.sha256(answer.split(b"\r\n\r\n", 1)[1]).digest() == hashlib.sha256(page).digest(), more


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_real_servers_understand_the_proxy_header(site, web, version):
    page, cert = web
    cluster = {f"proxy_protocol_{version}": {}}
    serve(site, WITH_PROXY, **cluster)
    for _ in range(10):
        words = curl(site, cert, "who", "--local-port", "20000-29999").stdout.split()
        assert [words[0], words[2], words[3], words[4]] == [layout.CLIENTS[0].v4, layout.vip(1), str(PORT), "TLSv1.3"], words
        assert 20000 <= int(words[1]) <= 29999
    # One whose server speaks first: no name to look at, and nothing to wait for.
    items = objects.service("mail", 3, 25, SPEAKER, origins=layout.ORIGINS[:1], forwarding="SPLICE")
    for item in items:
        if item["kind"] == "cluster":
            item["spec"].update(cluster)
    site.apply([objects.node(), *items])
    for _ in range(10):
        done = host.run_in(site.network.namespace("client-1"), "/usr/bin/python3", "-c", f"""
import socket
client = socket.create_connection(("{layout.vip(3)}", 25), 5)
read = client.makefile("rb")
print(read.readline().decode().split(), client.getsockname()[1])
client.sendall(b"HELO here\\r\\n")
print(read.readline().decode().strip())
""")
        greeting, answer = done.stdout.splitlines()
        port = greeting.split()[-1]
        assert greeting == f"{['220', layout.CLIENTS[0].v4, port, layout.vip(3), '25']} {port}" and answer == "250 HELO here", done.stdout
