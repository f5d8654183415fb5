"""scripts/run, as an operator uses it."""

import os
import signal
import subprocess

from sluice_site import host
from sluice_site.host import REPOSITORY
from sluice_site.site import SITES

RUN = REPOSITORY / "scripts" / "run"
PARTS = ("dataplane", "mgmt", "web-1/nginx", "owner")


def check():
    return subprocess.run([RUN, "--check"], capture_output=True, text=True, timeout=240,
                          stdin=subprocess.DEVNULL)


def leftovers():
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    return [name for name in listed.split() if name.startswith("demo-")] + list(SITES.glob("demo"))


def test_run_check_is_right_twice_in_a_row_and_leaves_nothing():
    for _ in range(2):
        done = check()
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        for vip in ("10.9.0.1:80/tcp", "[fd00:9::1]:80/tcp", "10.9.0.1:5300/udp",
                    "[fd00:9::1]:5300/udp"):
            answered = [line for line in done.stdout.splitlines() if line.strip().startswith(vip)]
            assert {f"web-{i}" for i in (1, 2, 3)} <= {line.split()[2] for line in answered}
        assert leftovers() == []


def test_run_works_after_kill_9_of_each_part():
    """Also of its own supervisor, which leaves the whole site standing for the next run to find."""
    for part in PARTS:
        # The shell reads from a pipe that stays open: the site stays up.
        running = subprocess.Popen([RUN], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True)
        pid_file = SITES / "demo" / f"{part}.pid"
        host.wait_for(lambda: b"sluice" in shell_command(running.pid), "the shell to be open", 90)
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        if part != "owner":
            running.stdin.close()
        running.wait(60)
    done = check()
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert leftovers() == []


def shell_command(pid):
    """The command line of the shell that scripts/run opened, or nothing."""
    listed = subprocess.run(["pgrep", "-P", str(pid), "-f", "mgmt/sluice --run-dir"],
                            capture_output=True, text=True).stdout.split()
    return open(f"/proc/{listed[0]}/cmdline", "rb").read() if listed else b""
