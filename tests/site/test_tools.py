"""The tools see what they are for. nftables stands in the place of Sluice, so that a fault here is
a fault of the tools or of the site."""

import json
import re
import subprocess

import pytest

from sluice_site import Control, Process, SiteError, layout, ledger, objects
from sluice_site.host import REPOSITORY, run_in, wait_for

FLOWS = f"{layout.vip(2)}:7000"


@pytest.fixture
def kernel_site(make_site):
    site = make_site(appliance="kernel")
    site.apply(objects.service("web", 1, 80, layout.HTTP_PORT) +
               objects.service("flows", 2, 7000, layout.FLOWS_PORT) +
               objects.service("flows-udp", 2, 7000, layout.FLOWS_PORT, protocol="UDP") +
               objects.service("echo", 3, 5300, layout.UDP_PORT, protocol="UDP") +
               objects.service("web-v6", 1, 80, layout.HTTP_PORT, family=6))
    return site


def test_cps_counts_who_answered_over_both_families_and_protocols(kernel_site):
    capture = kernel_site.capture(both=True)
    for address, options in ((f"{layout.vip(1)}:80", {"http": True}),
                             (f"[{layout.vip(1, 6)}]:80", {"http": True}),
                             (f"{layout.vip(3)}:5300", {"protocol": "udp"})):
        result = kernel_site.cps(address, count=300, **options).result()
        assert (result["succeeded"], result["failed"]) == (300, 0)
        assert sorted(result["by_server"]) == ["web-1", "web-2", "web-3"]
        assert all(90 <= entry["count"] <= 110 for entry in result["by_server"].values())
    assert capture.check()["frames"] > 3000


def test_cps_names_what_failed(kernel_site):
    refused = kernel_site.cps("10.2.0.11:81", count=10).result()
    assert (refused["failed"], refused["failed_by"]) == (10, {"ECONNREFUSED": 10})
    silent = kernel_site.cps("10.2.0.77:80", count=2, timeout_ms=200).result()
    assert silent["failed_by"] == {"ETIMEDOUT": 2}


def test_flows_hold_and_say_which_endpoint_has_them(kernel_site):
    tcp = kernel_site.flows(FLOWS, count=600, interval_ms=200)
    udp = kernel_site.flows(FLOWS, count=60, interval_ms=50, protocol="udp")
    wait_for(lambda: tcp.progress()["messages"] > 3000, "messages")
    for tool, count in ((tcp, 600), (udp, 60)):
        result = tool.finish()
        assert result["established"] == count == sum(result["by_server"].values())
        assert not any(result[fault] for fault in (
            "failed_to_open", "broken", "stalled", "wrong_bytes", "wrong_flow", "moved", "lost"))
    for origin in kernel_site.origins.values():
        served = origin.flows.finish()
        assert (served["wrong_bytes"], served["wrong_flow"]) == (0, 0)


def test_flows_see_a_killed_endpoint_and_only_its_flows(kernel_site):
    tool = kernel_site.flows(FLOWS, count=300, interval_ms=100)
    kernel_site.origins["web-2"].kill()
    wait_for(lambda: tool.progress()["broken"] >= 100, "the flows of web-2 to break")
    result = tool.finish()
    assert result["broken_by_server"] == {"web-2": 100}


def test_flows_see_a_stall(kernel_site):
    tool = kernel_site.flows(FLOWS, count=30, interval_ms=100)
    lb = kernel_site.network.namespace("lb")
    subprocess.run(["ip", "-n", lb, "link", "set", "outside", "down"], check=True)
    wait_for(lambda: tool.progress()["stalled"] == 30, "all flows to stall", 5)
    subprocess.run(["ip", "-n", lb, "link", "set", "outside", "up"], check=True)
    wait_for(lambda: tool.progress()["waiting"] < 30, "the flows to go on")
    assert tool.finish()["longest_wait_ms"] > 1000


def test_flows_see_damaged_bytes_and_another_flows_bytes(tmp_path, kernel_site):
    # A server that answers each UDP message first damaged and then with another flow's number on it.
    server = tmp_path / "server.py"
    server.write_text("""
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 7777))
last = {}
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(bytes(16) + data[:-1] + bytes([data[-1] ^ 1]), peer)
    for other, theirs in last.items():
        if other != peer:
            s.sendto(bytes(16) + theirs, peer)
    last[peer] = data
    s.sendto(bytes(16) + data, peer)
""")
    liar = Process("liar", ["/usr/bin/python3", server], tmp_path,
                   kernel_site.network.namespace("web-1")).start()
    wait_for(lambda: "7777" in run_in(liar.namespace, "ss", "-Hlun").stdout, "the liar to listen")
    tool = kernel_site.tool("flows", connect="10.2.0.11:7777", protocol="udp", count=2,
                            interval_ms=50)
    wait_for(lambda: tool.progress()["wrong_flow"] > 3, "wrong flows to be seen")
    result = tool.finish()
    liar.stop()
    assert result["wrong_bytes"] > 3 and result["established"] == 2


def test_wirecheck_prints_bad_frames_and_nothing_else(tmp_path, kernel_site):
    capture = kernel_site.capture()
    kernel_site.cps(f"{layout.vip(1)}:80", http=True, count=50).result()
    kernel_site.cps("10.2.0.11:81", count=5).result()
    assert capture.check(count=True)["resets"] >= 5

    from scapy.all import ICMP, IP, TCP, UDP, Ether, IPv6, wrpcap
    good = Ether() / IP(src="10.0.0.1", dst="10.0.0.2")
    frames = {
        "good": good / TCP() / b"GET x",
        # This one's right checksum is 0, sent as 0xffff.
        "good-ffff": good / TCP(chksum=0xffff, sport=0xfb5f, dport=0x8080, flags="S"),
        "ip": Ether() / IP(src="10.0.0.1", dst="10.0.0.2", chksum=1) / UDP(sport=5000) / b"x",
        "tcp": good / TCP(chksum=1) / b"x",
        "udp": good / UDP(sport=53, dport=53, chksum=1) / b"not a name question",
        "udp6": Ether() / IPv6() / UDP(sport=5000, dport=5001, chksum=1) / b"x",
        "icmp": good / ICMP(chksum=1),
    }
    for name, frame in frames.items():
        path = tmp_path / f"{name}.pcap"
        wrpcap(str(path), frame)
        done = subprocess.run([REPOSITORY / "tests/tools/wirecheck", path], capture_output=True,
                              text=True)
        assert (done.returncode, bool(done.stdout)) == ((0, False) if "good" in name
                                                        else (1, True)), (name, done)
    short = tmp_path / "short.pcap"
    whole = (tmp_path / "good.pcap").read_bytes()
    cut = bytearray(whole[:-8])
    cut[32:36] = (len(cut) - 40).to_bytes(4, "little")
    short.write_bytes(cut)
    done = subprocess.run([REPOSITORY / "tests/tools/wirecheck", short], capture_output=True)
    assert done.returncode == 1


def test_ledger_sees_a_packet_that_vanished():
    right = {"received": 10, "generated": 1, "held": 1, "sent": 8,
             "verdicts": {"forward": 6, "reply": 1, "drop_no_vip": 2}}
    assert ledger.faults(right) == []
    assert ledger.faults({**right, "received": 11})
    assert ledger.faults({**right, "sent": 7})
    with pytest.raises(SiteError):
        ledger.check(lambda: {**right, "received": 11}, timeout=0.1)


def test_a_site_whose_owner_was_killed_is_removed_by_the_next(tmp_path, make_site):
    script = tmp_path / "owner.py"
    script.write_text(f"""
import os, sys, signal
sys.path.insert(0, {str(REPOSITORY / "tests/site")!r})
from sluice_site import Site
site = Site("dying", appliance="kernel")
site.up()
os.kill(os.getpid(), signal.SIGKILL)
""")
    subprocess.run(["/usr/bin/python3", script])
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert "dying-lb" in listed
    make_site(appliance="kernel")
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    assert "dying" not in listed
    assert subprocess.run(["pgrep", "-f", "sluice-sites/dying"]).returncode == 1


def test_control_client_speaks_frames(tmp_path):
    import socket
    import threading
    from sluice_site.control import frame
    path = tmp_path / "sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        connection, _ = listener.accept()
        request = connection.recv(65536)
        connection.sendall(frame(json.dumps({"ok": True, "got": request[8:].decode()}).encode()))

    thread = threading.Thread(target=serve)
    thread.start()
    reply = Control(path).ask("apply", "kind: x", dry_run=1)
    thread.join()
    assert reply["got"] == "apply dry_run=1\nkind: x"


# --- impair, bulk, chx, flood

def arrived(site, name, device):
    """How many packets an interface has received."""
    text = run_in(site.network.namespace(name), "ip", "-json", "-stats", "link", "show", "dev", device).stdout
    return json.loads(text)[0]["stats64"]["rx"]["packets"]


def flood_through(site, count=100_000, rate=30_000, **impairment):
    """A UDP flood through a relay: (what was sent, what the relay says of it, what came out of it)."""
    # Room for what comes while this machine does something else.
    relay = site.impair(layout.OUTSIDE, ring=65536, **impairment)
    before = arrived(site, "lb", "outside")
    sent = site.below("flood", connect=f"{layout.vip(9)}:9", kind="udp", sources="10.1.0.11", source_count=1,
                      rate=rate, count=count).result()

    def came_in():
        counts = relay.progress()["from_right"]
        return counts["received"] + counts["ring_full"]

    wait_for(lambda: came_in() >= sent["sent"], "the flood to pass", 20)
    wait_for(lambda: relay.progress()["from_right"]["waiting"] == 0, "the last of it to leave")
    counts = relay.finish()["from_right"]
    assert counts["ring_full"] == counts["send_failed"] == sent["send_failed"] == 0, (counts, sent)
    return sent, counts, arrived(site, "lb", "outside") - before


def is_about(count, total, percent):
    """Within five standard deviations."""
    expected = total * percent / 100
    return abs(count - expected) <= 5 * expected ** 0.5


def test_impair_loses_doubles_reorders_and_damages_as_told(kernel_site):
    sent, counts, came = flood_through(kernel_site, loss=2, duplicate=1, reorder=5, flip=0.5, seed=7)
    print(sent, counts)
    received = counts["received"]
    # The site's own packets (neighbour discovery) may be among them.
    assert sent["sent"] <= received <= sent["sent"] + 20
    assert is_about(counts["lost"], received, 2)
    left = received - counts["lost"]
    assert is_about(counts["flipped"], left, 0.5)
    assert is_about(counts["duplicated"], left, 1) and is_about(counts["set_aside"], left, 5)
    assert counts["reordered"] >= counts["set_aside"] - 20, counts
    assert abs(came - (left + counts["duplicated"])) <= 20


def test_impair_delays_and_decides_alike_for_a_seed(kernel_site):
    def round_trip_ms():  # the best of ten: the machine has other things to do
        text = run_in(kernel_site.network.namespace("client-1"), "ping", "-c", "10", "-i", "0.01", "10.1.0.1").stdout
        return float(re.search(r"min/avg/max/mdev = ([0-9.]+)/", text)[1])

    relay = kernel_site.impair(layout.OUTSIDE, delay_us=20_000)
    assert 40 <= round_trip_ms() < 60  # both ways
    relay.finish()
    kernel_site.impair(layout.OUTSIDE).finish()
    first, second = (flood_through(kernel_site, count=2000, rate=20_000, loss=10, seed=11)[1] for _ in range(2))
    assert abs(first["lost"] - second["lost"]) <= 2, (first, second)  # a packet of the site's own may be among them


def test_impair_keeps_up_with_100_000_packets_a_second(kernel_site):
    sent, counts, came = flood_through(kernel_site, count=200_000, rate=100_000)
    print(f"{sent['per_second']} packets/s sent, {counts['sent']} passed on")
    assert sent["per_second"] > 90_000, "the generator was slow: says nothing of the relay"
    assert abs(came - counts["received"]) <= 20


def test_impair_drops_what_a_rule_names_and_no_more(kernel_site):
    for origin in kernel_site.origins.values():
        origin.serve_bulk()
    kernel_site.apply(objects.service("bulk", 4, 7001, layout.BULK_PORT))

    def transfer(rules, syns_again=0, **impairment):
        relay = kernel_site.impair(layout.OUTSIDE, drop=rules, **impairment)
        result = kernel_site.bulk(f"{layout.vip(4)}:7001", send=100_000, receive=100_000).result()
        assert result["right"] == 1, result
        counts = relay.finish()
        return counts["from_right"]["dropped_by_rule"], counts["from_left"]["dropped_by_rule"]

    assert transfer([]) == (0, 0)
    assert transfer(["syn", "syn-ack times=1"]) == (1, 1)
    assert transfer(["segment=2 times=3 from=right"]) == (3, 0)
    assert transfer(["segment=1 from=left", "fin from=left"]) == (0, 2)
    # The acknowledgment of the SYN-ACK: data makes up for it.
    assert transfer(["ack from=right"]) == (1, 0)


@pytest.mark.parametrize("order", ["both-at-once", "client-first", "server-first"])
def test_bulk_carries_both_streams_in_every_order(kernel_site, order):
    server = kernel_site.origins["web-1"].serve_bulk()
    kernel_site.apply(objects.service("bulk", 4, 7001, layout.BULK_PORT, origins=layout.ORIGINS[:1]))
    tool = kernel_site.bulk(f"{layout.vip(4)}:7001", count=3, send=3_000_001, receive=5_000_001, order=order,
                            isn=(1 << 32) - 1000)
    assert (tool.result()["right"], tool.result()["wrong"]) == (3, 0)
    wait_for(lambda: server.progress()["right"] == 3, "the server to have it all")
    streams = [line for line in server.lines() if line["event"] == "stream"]
    assert all((line["received"], line["sent"]) == (3_000_001, 5_000_001) for line in streams), streams


def test_bulk_sees_a_changed_byte_a_missing_end_and_a_reset(tmp_path, kernel_site):
    # A server that lets the streams through with one byte changed, or ends early, or resets.
    kernel_site.origins["web-1"].serve_bulk()
    server = tmp_path / "spoiler.py"
    server.write_text("""
import socket, struct, threading
listener = socket.create_server(("0.0.0.0", 7777))

def carry(source, target, change, end):
    position = 0
    while piece := source.recv(65536):
        if position <= change < position + len(piece):
            piece = bytearray(piece)
            piece[change - position] ^= 4
        position += len(piece)
        if position > end:
            target.shutdown(socket.SHUT_WR)
            return
        target.sendall(piece)
    target.shutdown(socket.SHUT_WR)

for change, end, is_reset in ((123456, 1 << 40, False), (1 << 40, 200000, False), (1 << 40, 1 << 40, True)):
    client, _ = listener.accept()
    if is_reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.recv(1)
        client.close()
        continue
    there = socket.create_connection(("127.0.0.1", 7001))
    threading.Thread(target=carry, args=(client, there, 1 << 40, 1 << 40), daemon=True).start()
    carry(there, client, change, end)
""")
    spoiler = Process("spoiler", ["/usr/bin/python3", server], tmp_path,
                      kernel_site.network.namespace("web-1")).start()
    wait_for(lambda: kernel_site.origins["web-1"].listens(7777), "the spoiler to listen")

    def stream():
        tool = kernel_site.bulk("10.2.0.11:7777", send=1000, receive=300_000, seconds=10)
        assert tool.result()["right"] == 0
        return tool.event("stream")

    assert stream()["first_wrong_byte"] == 123456
    short = stream()
    assert short["ended"] == "fin" and short["received"] < 200_000 and short["first_wrong_byte"] is None
    assert stream()["ended"] == "ECONNRESET"
    spoiler.stop()


def test_chx_sends_what_it_is_told_and_says_what_came_back(kernel_site):
    kernel_site.apply(objects.service("echo", 4, 82, layout.ECHO_PORT, origins=layout.ORIGINS[:1]) +
                      objects.service("echo-v6", 4, 82, layout.ECHO_PORT, origins=layout.ORIGINS[:1], family=6))
    blobs = [bytes(range(256)) * 8, b"other" * 100]
    whole = {"server": "web-1", "echo": [[0, 2048]]}
    cases = [
        {"id": "whole", "steps": [[0, 1000], [1000, 1048]], "expect": whole},
        {"id": "backwards, the first twice", "steps": [[1000, 1048], [0, 1000], [0, 1000]], "expect": whole},
        {"id": "across the wrap", "isn": (1 << 32) - 700, "steps": [[0, 1000], [1000, 1048]], "expect": whole},
        {"id": "no options, no greeting", "options": "", "greet": False, "steps": [[0, 1000], [1000, 1048]], "expect": whole},
        {"id": "waits", "steps": [[0, 1000], {"wait_ms": 50}, "ack", [1000, 1048]], "expect": whole},
        {"id": "another blob", "steps": [[0, 500, 1]], "expect": {"server": "web-1", "echo": [b"other".hex() * 100]}},
        {"id": "other bytes", "steps": [[0, 500, 1]], "expect": {"server": "web-1", "echo": [[0, 500]]}},
        {"id": "other server", "steps": [[0, 500]], "expect": {"server": "web-2", "echo": [[0, 500]]}},
        {"id": "a hole", "timeout_ms": 500, "steps": [[0, 500], [600, 500]], "expect": {"server": "web-1", "echo": [[0, 1100]]}},
        {"id": "a fin too early", "steps": [[0, 500], "fin"], "expect": whole},
    ]
    wrong = {"other bytes": "wrong bytes", "other server": "wrong bytes", "a hole": "silence", "a fin too early": "closed"}
    for number, case in enumerate(cases):
        case["port"] = 20000 + number
    for address in (f"{layout.vip(4)}:82", f"[{layout.vip(4, 6)}]:82"):
        result = kernel_site.chx(address, blobs, cases)
        assert {fault["id"]: fault["outcome"] for fault in result["faults"]} == wrong, result
        assert (result["right"], result["ring_full"], result["send_failed"]) == (6, 0, 0)
    refused = kernel_site.chx("10.2.0.11:81", blobs, [{"id": "closed port", "port": 1024, "steps": [[0, 10]], "expect": "reset"}])
    assert refused["right"] == 1, refused


def test_flood_makes_the_packets_it_names(tmp_path, kernel_site):
    filters = {"syn": "tcp[13] = 2", "ack": "tcp[13] = 16", "rst": "tcp[13] = 20", "udp": "udp and ip[6:2] & 0x3fff = 0",
               "fragment": "ip[6:2] & 0x3fff = 0x2000", "middle": "ip[6:2] & 0x3fff = 0x2064"}
    capture = tmp_path / "flood.pcap"
    seen = Process("seen", ["tcpdump", "-Z", "root", "-n", "-B", "65536", "-U", "--immediate-mode", "-i", "lb-outside", "-Q", "out",
                            "-w", capture, "net 11.0.0.0/16"], tmp_path, kernel_site.network.namespace("mid")).start()
    wait_for(lambda: "listening on" in seen.log_text(), "tcpdump to listen")
    sent = {kind: kernel_site.below("flood", connect=f"{layout.vip(1)}:80", kind=kind, sources="11.0.0.0", source_count=65536,
                                    rate=20_000, count=2000).result()["sent"] for kind in filters}

    def frames(*its):
        done = subprocess.run(["tcpdump", "-n", "--count", "-r", capture, *its], capture_output=True, text=True)
        return int(done.stdout.split()[0])

    assert set(sent.values()) == {2000}
    wait_for(lambda: frames() == 2000 * len(sent), f"{sent} to be seen")
    seen.stop()
    assert {kind: frames(its) for kind, its in filters.items()} == sent
    done = subprocess.run([REPOSITORY / "tests/tools/wirecheck", capture], capture_output=True, text=True)
    assert done.returncode == 0, done


def test_flood_completes_handshakes(kernel_site):
    run_in(kernel_site.network.namespace("lb"), "ip", "route", "add", "11.0.0.0/16", "via", layout.CLIENTS[1].v4)
    kernel_site.apply(objects.service("answer", 4, 81, layout.ANSWER_PORT))
    flood = kernel_site.below("flood", connect=f"{layout.vip(4)}:81", kind="handshake", sources="11.0.0.0", source_count=65536,
                              rate=1000, seconds=0.5, client="client-2")

    def open_connections():
        return sum(len(run_in(origin.namespace, "ss", "-Hnt", "state", "established", f"sport = :{layout.ANSWER_PORT}")
                       .stdout.splitlines()) for origin in kernel_site.origins.values())

    sent = flood.result()
    assert sent["syns"] >= 400 and open_connections() >= sent["syn_acks"] > sent["syns"] - 128, (sent, open_connections())
