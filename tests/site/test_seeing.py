"""Seeing packets: flows by filter, a packet's walk through the stages, captures that Wireshark reads."""

import json
import subprocess

import pytest

from sluice_site import host, layout, objects

WEB = f"{layout.vip(1)}:80"
FLOWS = f"{layout.vip(2)}:7000"
CLIENT = layout.CLIENTS[0].v4


@pytest.fixture
def serving(site):
    site.apply([objects.node(), *objects.service("web", 1, 80, layout.ANSWER_PORT),
                *objects.service("flows", 2, 7000, layout.FLOWS_PORT, origins=layout.ORIGINS[:1])])
    for _ in range(6):  # all next hops are known: nothing waits for them
        site.curl(f"http://{WEB}/")
    return site


def tshark(path, *fields, read=""):
    """The frames as rows of fields; fails on what is malformed."""
    given = [word for field in fields for word in ("-e", field)]
    out = subprocess.run(["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|", *given,
                          *(["-Y", read] if read else [])],
                         check=True, capture_output=True, text=True).stdout
    return [line.split("|") for line in out.splitlines()]


def start_shell(site, *words):
    return subprocess.Popen([site.build / "mgmt" / "sluice", "--run-dir", site.run_directory, *words],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_flows_are_listed_by_the_filter_of_traces_and_captures(serving):
    tool = serving.flows(FLOWS, count=20, interval_ms=200)
    other = serving.flows(FLOWS, "client-2", count=5, interval_ms=200)

    def listed(*words):
        return json.loads(serving.shell("show", "flows", *words, "--json").stdout)["total"]
    assert listed("host", CLIENT, "and", "port", "7000") == 20
    assert listed("vip", "flows") == 25
    assert listed("endpoint", "flows-web-1", "not", "host", CLIENT) == 5
    assert listed("net", "10.77.0.0/16") == 0
    assert listed("state", "established") == listed("proto", "tcp", "state", "established") >= 25
    misspelt = serving.shell("show", "flows", "--vip", "flwos", check=False)
    assert misspelt.returncode == 1 and "no vip is named 'flwos'" in misspelt.stderr
    refused = serving.shell("show", "flows", "verdict", "drop", check=False)
    assert refused.returncode == 1 and "'verdict' is of packets" in refused.stderr
    tool.finish()
    other.finish()


def test_a_trace_prints_the_walk_of_the_next_packets_and_their_reason(serving):
    walk = start_shell(serving, "--json", "trace", "add", "host", CLIENT, "and", "port", "80-81", "4",
                       "--wait", "20")
    while walk.poll() is None:  # also packets from before the trace was there: send until it has its four
        serving.curl(f"http://{WEB}/", "--connect-timeout", "1")
        serving.curl(f"http://{layout.vip(1)}:81/", "--connect-timeout", "0.2", check=False)
    out, errors = walk.communicate()
    assert walk.returncode == 0, errors
    walks = json.loads(out)["walks"]
    assert len(walks) == 4
    for one in walks:
        stages = [step["stage"] for step in one["stages"]]
        assert stages[:2] == ["arrival", "parse"], one
        assert CLIENT in one["before"] or CLIENT in one["after"], one
        if one["verdict"] == "forward":
            assert one["vip"] == "web" and one["flow"]["endpoint"].startswith("10."), one
            assert stages[-1] == "next_hop" and one["after"], one
        elif one["verdict"] == "drop_no_vip":
            assert stages[-1] == "classify" and not one["after"], one
    assert serving.ask_dataplane("captures")["captures"] == []

    text = start_shell(serving, "trace", "add", "verdict", "drop.no_vip", "--wait", "20")
    while text.poll() is None:
        serving.curl(f"http://{layout.vip(1)}:81/", "--connect-timeout", "0.2", check=False)
    out, errors = text.communicate()
    assert text.returncode == 0, errors
    assert f"tcp {CLIENT}:" in out and f"> {layout.vip(1)}:81 syn" in out, out
    assert "drop_no_vip: our address, but no virtual host is advertised" in out, out

    none = serving.shell("trace", "add", "host", "192.0.2.77", "--wait", "0.3", check=False)
    assert none.returncode == 1 and "no packet matched" in none.stderr


def test_a_capture_holds_packets_before_and_after_they_are_rewritten(serving, tmp_path):
    path = tmp_path / "web.pcapng"
    started = serving.shell("capture", "start", str(path), "vip", "web", "--count", "40")
    assert "capture 1 writes to" in started.stdout
    for _ in range(8):
        serving.curl(f"http://{WEB}/")
    host.wait_for(lambda: serving.ask_dataplane("captures")["captures"][0]["state"] == "ended",
                  "the capture to have its 40 packets", 10)
    rows = tshark(path, "frame.interface_name", "frame.packet_flags_direction", "ip.src", "ip.dst",
                  "frame.comment", "_ws.malformed")
    assert len(rows) == 40
    # Every packet that came in left again, right behind it and rewritten.
    for before, after in zip(rows[::2], rows[1::2]):
        assert (before[1], after[1]) == ("0x00000001", "0x00000002") or (before[1], after[1]) == ("1", "2"), rows
        assert before[4].startswith("forward: ") and not before[5] and not after[5]
        if before[0] == "outside":
            assert before[2:4] == [CLIENT, layout.vip(1)] and after[0].startswith("inside"), (before, after)
        else:
            assert after[2:4] == [layout.vip(1), CLIENT] and after[0] == "outside", (before, after)
    # What Wireshark thinks of the checksums that we wrote.
    bad = subprocess.run(["tshark", "-n", "-r", str(path), "-o", "tcp.check_checksum:TRUE", "-o",
                          "ip.check_checksum:TRUE", "-Y",
                          "frame.packet_flags_direction == 2 && (ip.checksum.status == 0 || tcp.checksum.status == 0)"],
                         check=True, capture_output=True, text=True).stdout
    assert bad == ""
    again = serving.shell("capture", "start", str(path), check=False)
    assert again.returncode == 1 and "exists; choose another name" in again.stderr


def test_a_capture_armed_by_a_drop_reason_holds_what_is_dropped_for_it(serving, tmp_path):
    path = tmp_path / "drops.pcapng"
    serving.shell("capture", "start", str(path), "verdict", "drop.no_vip", "--snap", "64", "--at", "received")
    serving.curl(f"http://{WEB}/")
    before = serving.drops()["drop.no_vip"]
    for port in (81, 82, 83):
        serving.curl(f"http://{layout.vip(1)}:{port}/", "--connect-timeout", "0.3", check=False)
    dropped = serving.drops()["drop.no_vip"] - before
    stopped = json.loads(serving.shell("capture", "stop", "1", "--json").stdout)
    assert dropped >= 3 and stopped["packets"] == dropped and stopped["lost"] == 0, (dropped, stopped)
    rows = tshark(path, "tcp.dstport", "frame.cap_len", "frame.len", "frame.comment")
    assert {row[0] for row in rows} == {"81", "82", "83"}
    assert all(int(row[1]) <= 64 <= int(row[2]) for row in rows), rows
    assert all(row[3].startswith("drop_no_vip: our address") for row in rows), rows
    listed = serving.shell("show", "captures").stdout
    assert "ended: stopped" in listed and str(path) in listed


def test_a_trace_of_a_tls_client_tells_its_server_name_and_where_it_led(site):
    site.apply([objects.node(), *objects.named_service("shop", 3, 443, layout.ECHO_PORT, layout.ORIGINS[:1], domains=["*.example.com"])])
    address = f"{layout.vip(3)}:443"

    def peeked(name, *words):
        """What is said of a client's hello; the server behind speaks no TLS."""
        trace = start_shell(site, "--json", "trace", "add", *words, "--wait", "20")
        while trace.poll() is None:
            site.curl(f"https://{name}/", "-k", "--connect-to", f"::{address}", check=False, timeout=1)
        out, errors = trace.communicate()
        assert trace.returncode == 0, errors
        walk = json.loads(out)["walks"][0]
        return walk, {step["stage"]: step["text"] for step in walk["stages"]}.get("peek")
    walk, text = peeked("a.example.com", "verdict", "absorb", "and", "endpoint", "shop-web-1")
    assert text == "server name a.example.com: virtual host shop, endpoint shop-web-1 is called", walk
    assert (walk["server_name"], walk["virtual_host"]) == ("a.example.com", "shop"), walk
    walk, text = peeked("nobody.example.org", "verdict", "reject")
    assert (walk["verdict"], text) == ("reject_name_unknown", "server name nobody.example.org"), walk
    shown = site.shell("show", "vips").stdout
    assert "(no name yet)" in shown, shown
    assert "*.example.com" in site.shell("show", "virtual-hosts").stdout
