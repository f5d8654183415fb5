"""DPDK's own testpmd as the reference: what moving packets costs with nothing done to them, or
with the least that resembles our work."""

import contextlib
import os
import re
import signal
import subprocess

import autogroup

COMMON = ["dpdk-testpmd", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "512",
          "--log-level=*:error"]


def start(devices, mode, cpu, options, namespace=None):
    """A testpmd that waits for commands: main and forwarding core both on `cpu`, the main one sleeps."""
    command = ["nsenter", f"--net=/run/netns/{namespace}", "--"] if namespace else []
    command += [*COMMON, "--lcores", f"(0-1)@{cpu}", *[f"--vdev={device}" for device in devices],
                "--", "-i", "--record-core-cycles", "--nb-cores=1", "--forward-mode", mode, *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, preexec_fn=autogroup.take_priority)


def order(process, *lines):
    process.stdin.write("".join(line + "\n" for line in lines))
    process.stdin.flush()


@contextlib.contextmanager
def forwarding(devices, mode, cpu, directory, options=(), namespace=None):
    """testpmd forwards between these devices as long as the block runs."""
    process = start(devices, mode, cpu, ["--total-num-mbufs=16384", "--rxd=1024", "--txd=1024", *options], namespace)
    # Found and killed by a later run if this one dies.
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    (directory / "testpmd.pid").write_text(f"{process.pid} {fields[19]}\n", encoding="utf-8")
    try:
        order(process, "start")
        yield process
        process.communicate("stop\nquit\n", timeout=30)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()


def cycles_per_packet(capture, mode, seconds):
    """TSC cycles per packet from a looped capture to a null port, one forwarding core.

    `mode`: io or 5tswap. The null port must not make packets of its own: blank ones would be
    forwarded too, and cheaper.
    """
    process = start([f"net_pcap0,rx_pcap={capture},infinite_rx=1", "net_null0,no-rx=1"], mode, os.cpu_count() - 1,
                    ["--total-num-mbufs=32768", "--no-flush-rx"])
    try:
        order(process, "start")
        try:
            process.wait(timeout=seconds)  # it forwards meanwhile
        except subprocess.TimeoutExpired:
            pass
        output, _ = process.communicate("stop\nquit\n", timeout=60)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        process.wait()
        raise
    found = re.search(r"CPU cycles/packet=([0-9.]+)", output)
    if not found:
        raise RuntimeError("testpmd printed no cycles per packet:\n" + output[-2000:])
    return float(found.group(1))
