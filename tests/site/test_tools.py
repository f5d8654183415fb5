"""The tools see what they are for. nftables stands in the place of Sluice, so that a fault here is
a fault of the tools or of the site."""

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
    import json
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
