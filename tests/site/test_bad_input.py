"""Bad input of every kind: a refusal that says what and where, and whatever ran goes on."""

import array
import fcntl
import os
import socket
import subprocess

import pytest

from sluice_site import Control, ControlError, Process, host, layout, objects
from sluice_site.control import frame

WEB = f"{layout.vip(1)}:80"


def base():
    return [objects.node(), *objects.service("web", 1, 80, layout.ANSWER_PORT)]


def still_serves(site):
    result = site.cps(WEB, count=30).result()
    return result["failed"] == 0 and len(result["by_server"]) == 3


def refusal(site, items):
    """What an apply that must fail says, all of it as one text."""
    with pytest.raises(ControlError) as caught:
        site.ask_mgmt("apply", items if isinstance(items, str) else objects.to_yaml(items))
    return str(caught.value) + " " + str(caught.value.reply)


def node_with_port(**changes):
    node = objects.node()
    node["spec"]["ports"][0].update(changes)
    return node


def wait_refused(site, words):
    """Until the dataplane has said why it refuses the published tables."""
    def look():
        text = site.dataplane.log_text() + str(site.ask_mgmt("status")) + site.mgmt.log_text()
        return all(word in text for word in words)
    host.wait_for(look, f"a refusal with {words}\n{site.dataplane.log_tail()}", 15)


@pytest.mark.parametrize("changes, words", [
    ({"device": "nosuch0"}, ["nosuch0"]),
    ({"profile": "ixgbe"}, ["ixgbe", "outside"]),
], ids=["no such device", "a profile that does not fit"])
def test_a_port_that_cannot_be_is_refused_by_name_and_the_next_configuration_works(
        site, changes, words):
    bad = objects.to_yaml([node_with_port(**changes),
                           *objects.service("web", 1, 80, layout.ANSWER_PORT)])
    try:
        site.ask_mgmt("apply", bad)
        wait_refused(site, words)
    except ControlError as error:
        assert all(word in str(error.reply) for word in words), error.reply
    assert site.ask_dataplane("status")["state"] == "waiting for configuration"
    site.apply(base())
    assert still_serves(site)


def test_an_unknown_profile_is_refused_with_the_known_ones(site):
    assert "af_xdp" in refusal(site, [node_with_port(profile="af_xpd")])


def test_no_hugepages_is_said_with_what_to_do(make_site):
    site = make_site(capture=False)
    done = host.run_in(site.network.namespace("lb"), "unshare", "-m", "sh", "-c",
                       'umount -a -t hugetlbfs; exec "$@"', "sh", *site.dataplane.command,
                       check=False, timeout=20)
    assert done.returncode != 0
    assert "hugepages" in done.stderr and "nr_hugepages" in done.stderr, done.stderr


def test_a_second_dataplane_on_the_same_run_directory_is_refused(site):
    site.apply(base())
    done = host.run_in(site.network.namespace("lb"), *site.dataplane.command, check=False,
                       timeout=20)
    assert done.returncode != 0 and str(site.dataplane.pid) in done.stderr, done.stderr
    assert still_serves(site)


def test_a_second_dataplane_on_the_same_ports_is_refused_and_the_first_goes_on(site, tmp_path):
    site.apply(base())
    state = tmp_path / "state"
    host.run("cp", "-r", site.state_directory, state)
    run_directory = site.directory / f"sluice-{site.name}-second"
    run_directory.mkdir()
    second = Process("second", [site.build / "dataplane" / "sluice-dataplane", "--run-dir",
                                run_directory, "--state-dir", state], site.directory,
                     site.network.namespace("lb")).start()

    def said():
        return not second.is_running() or "outside" in second.log_text()
    host.wait_for(said, f"the second dataplane to refuse\n{second.log_tail()}", 20)
    assert "outside" in second.log_text(), second.log_tail()
    if second.is_running():
        status = Control(run_directory / "dataplane.sock").ask("status")
        assert status["state"] != "forwarding", status
    assert still_serves(site)
    second.stop()
    assert still_serves(site)


def test_a_vip_that_is_an_endpoint_or_a_host_address_is_refused_naming_both(site):
    site.apply(base())
    clash = objects.service("clash", 5, 80, layout.ANSWER_PORT)
    clash[1]["spec"]["address"] = "10.2.0.11"
    said = refusal(site, clash)
    assert "10.2.0.11" in said and "web-web-1" in said and "clash" in said, said
    clash[1]["spec"]["address"] = "10.1.0.1"
    said = refusal(site, clash)
    assert "10.1.0.1" in said and "outside" in said and "clash" in said, said
    twice = objects.service("twice", 1, 80, layout.ANSWER_PORT)
    said = refusal(site, twice)
    assert "twice" in said and "web" in said, said
    assert still_serves(site)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n---\n"])
def test_an_empty_file_is_refused(site, text):
    site.apply(base())
    before = site.ask_mgmt("config")["yaml"]
    done = site.shell("apply", "-f", "-", check=False, input=text)
    assert done.returncode != 0 and done.stderr.strip(), done
    assert site.ask_mgmt("config")["yaml"] == before
    assert still_serves(site)


def test_an_endless_file_is_refused(site):
    site.apply(base())
    endless = subprocess.Popen(["yes", "a: b"], stdout=subprocess.PIPE)
    done = subprocess.run([site.build / "mgmt" / "sluice", "--run-dir", site.run_directory, "apply",
                           "-f", "-"], stdin=endless.stdout, capture_output=True, text=True,
                          timeout=30)
    endless.kill()
    endless.wait()
    assert done.returncode != 0 and "larger than" in done.stderr, done.stderr[:500]
    assert still_serves(site)


@pytest.mark.parametrize("text", [
    "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)),
    "[" * 100000,
    "kind: node\nkind: node\n",
    "kind: [virtual_host]\n",
    "\0\1\2\xff",
    "kind: virtual_host\nmetadata: {name: web}\nspec: {proxi: TCP_PROXY}\n",
], ids=["aliases", "depth", "duplicate key", "wrong type", "binary", "unknown field"])
def test_yaml_that_cannot_be_is_refused_in_a_second(site, text):
    site.apply(base())
    before = site.ask_mgmt("config")["yaml"]
    said = refusal(site, text)
    assert "line" in said, said
    assert site.ask_mgmt("config")["yaml"] == before
    assert still_serves(site)


@pytest.mark.parametrize("process", ["dataplane", "mgmt"])
def test_noise_on_a_control_socket_changes_nothing(site, process, dice):
    site.apply(base())
    control = Control(site.run_directory / f"{process}.sock")
    generation = site.ask_dataplane("status")["generation"]
    for _ in range(200):
        noise = dice.randbytes(dice.randrange(1, 2000))
        control.send_raw(dice.choice([
            noise, b"SLU1" + noise, frame(noise), frame(noise)[:-1], b"SLU1\xff\xff\xff\xff" + noise,
            frame(b"publish\n" + noise), frame(b"no-such-verb x=1"), frame(b""), b"S"]))
    # Silent peers in the middle of a frame must not keep others out.
    silent = []
    for _ in range(40):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(str(site.run_directory / f"{process}.sock"))
        peer.send(b"SLU1")
        silent.append(peer)
    assert control.ask("status")["process"] == process
    for peer in silent:
        peer.close()
    assert site.ask_dataplane("status")["generation"] == generation
    assert still_serves(site)


def publish(site, image, seals=True):
    """Publishes any bytes as mgmt would; the reply, or the refusal's text."""
    handle = os.memfd_create("snapshot", os.MFD_ALLOW_SEALING)
    os.write(handle, image)
    if seals:
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, 0x0f)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(site.run_directory / "dataplane.sock"))
        peer.sendmsg([frame(b"publish\n")], [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [handle]))])
        reply = Control.read_reply(peer)
    os.close(handle)
    return reply


def test_damaged_snapshots_are_refused_with_a_reason_and_the_old_one_stays(site, dice):
    site.apply(base())
    good = (site.state_directory / "snapshot").read_bytes()
    generation = site.ask_dataplane("status")["generation"]
    images = [b"", b"x", good[:16], good[:len(good) // 2], good[:-1], good + b"x",
              b"XXXXXXXX" + good[8:], bytes(len(good))]
    for _ in range(60):
        flipped = bytearray(good)
        flipped[dice.randrange(len(good))] ^= 1 << dice.randrange(8)
        images.append(bytes(flipped))
    for image in images:
        reply = publish(site, image)
        assert not reply["ok"] and reply["error"], (len(image), reply)
    status = site.ask_dataplane("status")
    assert status["generation"] == generation and status["state"] == "forwarding"
    assert status["snapshot_refused"]["count"] >= len(images), status
    assert not publish(site, good, seals=False)["ok"]
    assert still_serves(site)


def test_the_shell_says_which_process_is_down(site):
    site.apply(base())
    site.mgmt.stop()
    done = site.shell("show", "virtual-hosts", check=False)
    assert done.returncode != 0 and "sluice-mgmt" in done.stderr, done.stderr
    site.dataplane.stop()
    done = site.shell("show", "ports", check=False)
    assert done.returncode != 0 and "sluice-dataplane" in done.stderr, done.stderr
