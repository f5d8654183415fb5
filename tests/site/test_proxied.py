"""Clients that come through a proxy: its PROXY header is read and taken off, and whom it names is whom endpoints are told."""

import json
import pathlib

import pytest

from sluice_site import host, layout, objects
from sluice_site.process import Process
from test_splice import splices
from test_tls_origins import NAME, PLAIN, PORT, SPEAKER, WITH_PROXY, web  # noqa: F401 (a fixture)

PROXY = layout.CLIENTS[1]  # client-2 stands before us
DIRECT, SENDS_V1, SENDS_V2 = 7441, 7442, 7443

HAPROXY = f"""
global
  maxconn 200
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen v1
  bind {PROXY.v4}:{SENDS_V1}
  server us {layout.vip(1)}:{PORT} send-proxy
listen v2
  bind {PROXY.v4}:{SENDS_V2}
  server us {layout.vip(1)}:{PORT} send-proxy-v2 proxy-v2-options unique-id,crc32c
"""

# For each step: sends the pieces (in hexadecimal) one by one and prints so many lines of the answer. Between steps it waits for
# a file, when one is named.
SPEAK = """
import json, os, socket, sys, time

steps = json.loads(sys.argv[1])
try:
    peer = socket.create_connection((sys.argv[2], int(sys.argv[3])), 5)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    read = peer.makefile("rb")
    for number, (pieces, count) in enumerate(steps):
        while number > 0 and len(sys.argv) > 4 and not os.path.exists(sys.argv[4]):
            time.sleep(0.02)
        for piece in pieces:
            peer.sendall(bytes.fromhex(piece))
            time.sleep(0.002)
        for _ in range(count):
            print(read.readline().decode().strip() or "the end", flush=True)
except OSError as error:
    print(type(error).__name__)
"""

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V4_BLOCK = bytes([203, 0, 113, 9, 192, 0, 2, 1]) + (4000).to_bytes(2, "big") + (443).to_bytes(2, "big")


def version_2(block, command=1, family=0x11):
    return SIGNATURE + bytes([0x20 | command, family]) + len(block).to_bytes(2, "big") + block


def speak(site, address, port, steps, client="client-2"):
    return host.run_in(site.network.namespace(client), "/usr/bin/python3", "-c", SPEAK, json.dumps(steps), address, port).stdout


def proxied(items, *prefixes):
    """The objects, with proxies before each VIP."""
    for item in items:
        if item["kind"] == "advertise_policy":
            item["spec"]["sluice"] = {"accept_proxy_protocol": {"trusted_prefixes": list(prefixes)}}
    return items


def with_header_to_endpoints(items):
    for item in items:
        if item["kind"] == "cluster":
            item["spec"]["proxy_protocol_v2"] = {}
    return items


@pytest.fixture
def haproxy(site):
    place = site.directory / "haproxy.cfg"
    place.write_text(HAPROXY)
    process = Process("haproxy", ["haproxy", "-db", "-f", place], site.directory, site.network.namespace("client-2"))
    process.start()
    yield process
    process.stop()


def test_through_haproxy_a_real_server_sees_the_client_and_nobody_else_may_say_who_he_is(site, web, haproxy, tmp_path):
    page, cert = web
    shop = objects.named_service("shop", 1, PORT, WITH_PROXY, layout.ORIGINS[:1], domains=[NAME])
    site.apply([objects.node(), *proxied(with_header_to_endpoints(shop), f"{PROXY.v4}/32")])

    def get(port, path, *more):
        return site.curl(f"https://{NAME}:{port}/{path}", "--connect-to", f"{NAME}:{port}:{PROXY.v4}:{port}", "--cacert", cert, "--fail",
                         *more)

    for port in (SENDS_V1, SENDS_V2):
        for _ in range(10):
            words = get(port, "who", "--local-port", "20000-29999").stdout.split()
            assert [words[0], words[2], words[3], words[4]] == [layout.CLIENTS[0].v4, PROXY.v4, str(port), "TLSv1.3"], words
            assert 20000 <= int(words[1]) <= 29999
        get(port, "page", "-o", tmp_path / "page")
        assert (tmp_path / "page").read_bytes() == page
    assert splices(site)["proxy_header"] >= 22 and splices(site)["pending"] == 0
    assert "proxies only" in site.shell("show", "vips").stdout

    # client-1 itself, with a header that is right in every way: refused, not believed and not ignored.
    direct = [f"https://{NAME}/who", "--connect-to", f"{NAME}:443:{layout.vip(1)}:{PORT}", "--cacert", cert]
    for more in (["--haproxy-protocol"], []):
        refused = site.curl(*direct, *more, check=False)
        assert refused.returncode == 7, refused
    assert site.drops()["reject.proxy_untrusted"] == 2, site.drops()
    # curl where the proxy is: its own address in the header.
    assert site.curl(*direct, "--haproxy-protocol", client="client-2").stdout.split()[0] == PROXY.v4
    # And none at all.
    assert site.curl(*direct, client="client-2", check=False).returncode == 35
    assert site.drops()["reject.not_proxy"] == 1, site.drops()


def test_headers_in_pieces_of_one_byte_before_a_server_that_speaks_first(site, web):
    mail = objects.service("mail", 3, 25, SPEAKER, origins=layout.ORIGINS[:1], forwarding="SPLICE")
    site.apply([objects.node(), *proxied(with_header_to_endpoints(mail), f"{PROXY.v4}/32")])
    v1 = b"PROXY TCP4 203.0.113.9 192.0.2.1 4000 443\r\n"
    v2 = version_2(V4_BLOCK + b"\x04\x00\x03abc")
    named, own = "220 203.0.113.9 4000 192.0.2.1 443\n", f"220 {PROXY.v4} "
    hello, answer = b"HELO here\r\n", "250 HELO here\n"
    for header in (v1, v2):
        for pieces in ([header], [header[i:i + 1] for i in range(len(header))], [header[:20], header[20:]], [header[:-1], header[-1:]]):
            steps = [[[piece.hex() for piece in pieces], 1], [[hello.hex()], 1]]
            assert speak(site, layout.vip(3), 25, steps) == named + answer, pieces
        # The client does not wait for the greeting.
        steps = [[[(header + hello).hex()], 2]]
        assert speak(site, layout.vip(3), 25, steps) == named + answer
    for header in (version_2(b"", command=0), version_2(V4_BLOCK, command=0), version_2(b"/" * 216, family=0x31), b"PROXY UNKNOWN\r\n"):
        assert speak(site, layout.vip(3), 25, [[[header.hex()], 1]]).startswith(own)


BAD = {
    "malformed": [b"PROXY TCP4 203.0.113.9 192.0.2.1 65536 443\r\n", b"PROXY TCP4 2001:db8::9 192.0.2.1 4000 443\r\n",
                  b"PROXY TCP4 203.0.113.09 192.0.2.1 4000 443\r\n", version_2(V4_BLOCK[:-1]), version_2(V4_BLOCK + b"\x04\x00\x09x"),
                  version_2(V4_BLOCK, command=2), version_2(V4_BLOCK, family=0x41)],
    "checksum_wrong": [version_2(V4_BLOCK + b"\x03\x00\x04\x44\xf5\xfc\xec")],
    "too_long": [SIGNATURE + b"\x21\x11\xff\xff", b"PROXY UNKNOWN " + b"x" * 100],
}


def test_bad_headers_are_refused_by_name_and_the_next_client_is_served(site, web):
    mail = objects.service("mail", 3, 25, SPEAKER, origins=layout.ORIGINS[:1], forwarding="SPLICE")
    site.apply([objects.node(), *proxied(with_header_to_endpoints(mail), f"{PROXY.v4}/32")])
    for kind, headers in BAD.items():
        for header in headers:
            assert speak(site, layout.vip(3), 25, [[[header.hex()], 1]]) == "ConnectionResetError\n", header
        assert site.drops()[f"reject.proxy_{kind}"] == len(headers), site.drops()
    assert speak(site, layout.vip(3), 25, [[[version_2(V4_BLOCK).hex()], 1]]) == "220 203.0.113.9 4000 192.0.2.1 443\n"
    assert splices(site)["pending"] == 0


def flow_file(site):
    return pathlib.Path(f"/dev/hugepages/sluice-{site.run_directory.name}-flows")


def assert_is_found(site):
    """The connection of the client whom the header names, by him and by the proxy."""
    for words in (["host", "203.0.113.9"], ["--client", "203.0.113.9"], ["host", PROXY.v4, "port", "4000"], ["--client", PROXY.v4]):
        reply = site.shell("show", "flows", *words, "--json")
        flow, = json.loads(reply.stdout)["flows"]
        assert flow["client"].startswith(f"{PROXY.v4}:") and flow["named_client"] == "203.0.113.9:4000", flow
    assert "203.0.113.9:4000" in site.shell("show", "flows").stdout
    assert json.loads(site.shell("show", "flows", "host", "203.0.113.8", "--json").stdout)["flows"] == []


def test_a_connection_behind_a_header_goes_on_after_kill_9_of_the_dataplane(site):
    def echo():
        return objects.service("echo", 4, 7, layout.ECHO_PORT, origins=layout.ORIGINS[:1], forwarding="SPLICE")

    # So many that the clients whom headers name do not fit into the last hugepage of the flow file: it grows by one, when the
    # first proxy is configured.
    node = objects.node(flows={"capacity": 131072, "splice_capacity": 131072})
    site.apply([node, *echo()])
    without_proxies = flow_file(site).stat().st_size
    site.apply([node, *proxied(echo(), f"{PROXY.v4}/32")])
    assert flow_file(site).stat().st_size == without_proxies + (2 << 20)
    header = version_2(V4_BLOCK)
    before, after, go = b"before the restart\n", b"and after it\n", site.directory / "go"
    steps = [[[header[:9].hex(), (header[9:] + before).hex()], 2], [[after.hex()], 1]]
    client = Process("speaker", ["/usr/bin/python3", "-c", SPEAK, json.dumps(steps), layout.vip(4), "7", go], site.directory,
                     site.network.namespace("client-2")).start()
    host.wait_for(lambda: client.output_text() == "web-1\n" + before.decode(), "the first echo")
    assert_is_found(site)
    site.dataplane.kill()
    site.start_dataplane()
    assert site.ask_dataplane("status")["flows_adopted"] == 1
    assert_is_found(site)
    go.touch()
    assert client.wait(10) == 0
    assert client.output_text() == "web-1\n" + (before + after).decode()
