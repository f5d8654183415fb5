"""Captures at the three ports of the appliance, and what wirecheck says of them.

They are taken on the far ends of its cables (in `mid`), so that they show what was on the wire and
work for every driver.
"""

import json
import re
import signal

from . import host, layout
from .process import Process

WIRECHECK = host.REPOSITORY / "tests" / "tools" / "wirecheck"


class Capture:
    def __init__(self, network, directory, sample=None, name="capture", both=False):
        """Of what the appliance sends; with `both` also of what it is sent.

        `sample`: keep one of so many TCP segments (a power of two), all that carry SYN, FIN or RST,
        and everything else. For tests that move gigabytes: a checksum that is wrong is wrong in
        every packet of a kind.
        """
        self.network = network
        self.directory = directory
        self.files = {}
        self._processes = []
        for subnet in layout.SUBNETS:
            path = directory / f"{name}-{subnet.name}.pcap"
            terms = [] if both else ["inbound"]  # from the appliance into `mid`
            if sample:
                # The checksum field of TCP is as good as random.
                mask = sample - 1
                terms += [f"(not tcp or (tcp[17] & {mask} == 0) or (tcp[13] & 7 != 0))",
                          f"(not ip6 proto 6 or (ip6[57] & {mask} == 0) or (ip6[53] & 7 != 0))"]
            command = ["tcpdump", "-Z", "root", "-n", "-s", "2048", "-B", "65536",
                       "--immediate-mode", "-i", f"lb-{subnet.name}", "-w", path,
                       " and ".join(terms)]
            self.files[subnet.name] = path
            self._processes.append(Process(f"{name}-{subnet.name}", command, directory,
                                           network.namespace("mid")))

    def start(self):
        for process in self._processes:
            process.start()
        for process in self._processes:
            host.wait_for(lambda: "listening on" in process.log_text(), f"{process.name} to listen")
        return self

    def stop(self):
        """Ends the captures when they have read all that the kernel kept for them."""
        for process in self._processes:
            if process.is_running():
                host.wait_for(lambda: self._has_read_all(process), f"{process.name} to catch up")
                process.stop()

    def stop_at_once(self):
        """For a site that is in no state to be waited for."""
        for process in self._processes:
            process.stop()

    @classmethod
    def _has_read_all(cls, process):
        # What waits in the kernel is read between the two looks, and shows.
        return cls._counts(process) == cls._counts(process)

    @staticmethod
    def _counts(process):
        """How far tcpdump is; it says so on SIGUSR1."""
        pattern = r"(\d+) packets? captured, (\d+) packets? received by filter"
        before = len(re.findall(pattern, process.log_text()))
        process.signal(signal.SIGUSR1)
        host.wait_for(lambda: len(re.findall(pattern, process.log_text())) > before,
                      f"{process.name} to say how far it is")
        return re.findall(pattern, process.log_text())[-1]

    def check(self, count=False, ports=None):
        """Stops, and returns wirecheck's report on all ports (or `ports`) together: {"frames"}, and
        with `count` also {"resets", "unreachables"}. SiteError on a bad frame."""
        self.stop()
        done = host.run(WIRECHECK, "--json", *["--count"] * count,
                        *[self.files[port] for port in ports or self.files],
                        check=False, timeout=600)
        if done.returncode not in (0, 1):
            raise host.SiteError(f"wirecheck: {done.stderr}")
        report = json.loads(done.stdout)
        if report["bad"]:
            raise host.SiteError("bad frames on the wire:\n" + "\n".join(report["bad"][:20]))
        return report
