"""The part of scripts/run that comes after building: a site, real traffic, a table, the shell."""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "site"))

from sluice_site import ControlError, Site, SiteError, layout  # noqa: E402
from sluice_site import site as sites  # noqa: E402
from sluice_site.host import wait_for  # noqa: E402

NAME = "demo"
REQUESTS = 300        # by curl, each on a connection of its own
RATE_SECONDS = 2.0    # closed loop of `cps`

WEB = {4: layout.host_port(layout.vip(1), 80), 6: layout.host_port(layout.vip(1, 6), 80)}
ECHO = {4: layout.host_port(layout.vip(1), 5300), 6: layout.host_port(layout.vip(1, 6), 5300)}


class Demo:
    def __init__(self, site):
        self.site = site
        self.faults = []
        self.began = time.monotonic()

    def say(self, text):
        print(f"  {text}", flush=True)

    def timed(self, text, work):
        begin = time.monotonic()
        result = work()
        self.say(f"done {text} ({time.monotonic() - begin:.1f} s)")
        return result

    def expect(self, condition, text):
        if not condition:
            self.faults.append(text)
            print(f"  WRONG: {text}", flush=True)

    def bring_up(self):
        self.timed("Making the site: 2 clients, the appliance, 3 origin servers", self.site.up)
        self.timed("Starting the data plane and the management process", self.site.start_appliance)
        self.timed("Applying scripts/example", lambda: self.site.shell(
            "apply", "-f", ROOT / "scripts" / "example"))
        self.timed("Waiting until all endpoints are up and every VIP answers", self.wait_ready)

    def wait_ready(self):
        def all_up():
            endpoints = self.site.ask_mgmt("endpoints")["endpoints"]
            return endpoints and all(one["health"] == "up" for one in endpoints)
        wait_for(all_up, f"all endpoints to be up\n{self.site.mgmt.log_tail()}", 30)
        for address in WEB.values():
            wait_for(lambda: self.site.curl(f"http://{address}/", timeout=2).stdout,
                     f"an answer from http://{address}/\n{self.site.dataplane.log_tail()}", 20)

    def traffic(self):
        rows = []
        for family in (4, 6):
            rows += self.by_curl(family)
        for address, options in ((WEB[4], {"http": True}), (WEB[6], {"http": True}),
                                 (ECHO[4], {"protocol": "udp"}), (ECHO[6], {"protocol": "udp"})):
            rows += self.by_cps(address, **options)
        print()
        print_table(("VIP", "asked by", "endpoint", "answered", "share", "per second"), rows)
        print()

    def by_curl(self, family):
        begin = time.monotonic()
        done = self.site.curl(f"http://{WEB[family]}/?[1-{REQUESTS}]", "-H", "Connection: close",
                              client="client-2", check=False)
        seconds = time.monotonic() - begin
        names = done.stdout.split()
        self.expect(done.returncode == 0 and len(names) == REQUESTS,
                    f"curl got {len(names)} of {REQUESTS} answers from http://{WEB[family]}/ "
                    f"(status {done.returncode}) {done.stderr.strip()[:200]}")
        counts = {name: names.count(name) for name in sorted(set(names))}
        return self.rows(f"{WEB[family]}/tcp", "curl", counts, seconds)

    def by_cps(self, address, **options):
        result = self.site.cps(address, seconds=RATE_SECONDS, concurrency=8, **options).result()
        protocol = result["protocol"]
        self.expect(result["failed"] == 0,
                    f"{address}/{protocol}: {result['failed']} of "
                    f"{result['failed'] + result['succeeded']} failed {result['failed_by']}")
        counts = {name: entry["count"] for name, entry in sorted(result["by_server"].items())}
        return self.rows(f"{address}/{protocol}", "cps", counts, result["seconds"])

    def rows(self, vip, by, counts, seconds):
        self.expect(sorted(counts) == [origin.name for origin in layout.ORIGINS],
                    f"{vip}: answered by {', '.join(counts) or 'nobody'}, expected all three")
        total = sum(counts.values()) or 1
        return [(vip, by, name, str(count), f"{100 * count / total:.1f} %",
                 f"{count / seconds:,.0f}") for name, count in counts.items()]

    def check(self):
        capture = self.site.capture()
        self.traffic()
        drops = {name: count for name, count in self.site.drops().items() if count}
        self.say("dropped: " + (", ".join(f"{count} {name}" for name, count in drops.items())
                                or "nothing"))
        report = self.timed("Looking for bad checksums and malformed frames", capture.check)
        self.expect(report["frames"] > 4 * REQUESTS, f"captured only {report['frames']} frames")
        self.say(f"{report['frames']} frames captured, none of them bad")
        self.timed("Balancing the ledger", self.site.check_ledger)

    def shell(self):
        self.say("The site is up. This is the shell of its balancer; it goes when you leave.")
        self.say(f"In another terminal:  ip netns exec {NAME}-client-1 curl http://{WEB[4]}/")
        print(flush=True)
        # Ctrl-C belongs to the shell.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        subprocess.run([self.site.build / "mgmt" / "sluice", "--run-dir", self.site.run_directory],
                       check=False, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        signal.signal(signal.SIGINT, before)


def print_table(head, rows):
    table = [head, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [cell.ljust(width) if i < 3 else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        print("  " + "  ".join(cells).rstrip())


def remove_earlier():
    """Also a site whose owner runs: that is what --down is for."""
    directory = sites.SITES / NAME
    owner = directory / "owner.pid"
    if owner.exists():
        sites.kill_recorded(owner)
    sites.remove_dead_sites()
    if directory.exists():
        sites.remove(directory)


def on_terminate(number, _):
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--down", action="store_true")
    arguments = parser.parse_args()
    if arguments.down:
        remove_earlier()
        print("Nothing of the site is left.")
        return 0
    signal.signal(signal.SIGTERM, on_terminate)
    signal.signal(signal.SIGHUP, on_terminate)
    site = Site(NAME)
    demo = Demo(site)
    try:
        demo.bring_up()
        if arguments.check:
            demo.check()
        else:
            demo.traffic()
            demo.shell()
    except (SiteError, ControlError) as error:
        demo.expect(False, str(error))
    except KeyboardInterrupt:
        demo.expect(False, "interrupted")
    finally:
        for name in site.down():
            demo.expect(False, f"{name} did not end by itself when asked to")
    if demo.faults:
        print(f"{len(demo.faults)} things were wrong.", file=sys.stderr)
        return 1
    print(f"  All right. From the site's begin to its end: {time.monotonic() - demo.began:.0f} s")
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
