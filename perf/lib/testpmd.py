"""DPDK's own testpmd as the reference: what moving packets costs with nothing done to them, or
with the least that resembles our work."""

import re
import signal
import subprocess

PROMPT = "testpmd> "


def cycles_per_packet(capture, mode, cpu, seconds, setup):
    """TSC cycles per packet from a looped capture to a null port, one forwarding core.

    `mode`: io or 5tswap. `setup` runs in the child before testpmd, see autogroup. The null port
    must not make packets of its own: blank ones would be forwarded too, and cheaper.
    """
    command = [
        "dpdk-testpmd", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "512",
        "--log-level=*:error", "--lcores", f"(0-1)@{cpu}",
        "--vdev", f"net_pcap0,rx_pcap={capture},infinite_rx=1", "--vdev", "net_null0,no-rx=1",
        "--", "-i", "--record-core-cycles", "--total-num-mbufs=32768", "--nb-cores=1",
        "--no-flush-rx", "--forward-mode", mode,
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, preexec_fn=setup)
    try:
        process.stdin.write("start\n")
        process.stdin.flush()
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
