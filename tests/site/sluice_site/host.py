"""What a site asks of the machine: commands, namespaces, files in /proc, and waiting for conditions."""

import os
import pathlib
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]


class SiteError(Exception):
    """Something outside the product went wrong, or a condition did not come true in time."""


def run(*command, check=True, timeout=60, input=None):
    """Runs a command and returns its CompletedProcess with text output; SiteError when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          timeout=timeout, input=input)
    if check and done.returncode != 0:
        raise SiteError(f"{' '.join(map(str, command))}: status {done.returncode}\n"
                        f"{done.stdout}{done.stderr}".rstrip())
    return done


def in_namespace(namespace, *command):
    """The command line that runs `command` in a namespace and keeps /sys and bpffs as they are."""
    return ["nsenter", f"--net=/run/netns/{namespace}", "--", *map(str, command)]


def run_in(namespace, *command, **options):
    return run(*in_namespace(namespace, *command), **options)


def ip_batch(namespace, lines):
    """Runs many `ip` commands in one process; `lines` without the leading "ip"."""
    run("ip", "-n", namespace, "-batch", "-", input="\n".join(lines) + "\n")


def wait_for(condition, what, timeout=10.0, interval=0.02):
    """Polls until condition() is true and returns its value; SiteError names `what` otherwise.

    An exception of the condition counts as "not yet" and is shown when the time is over.
    """
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = f"last value: {value!r}"
        except Exception as error:  # a socket that is not there yet, a file half written
            last = f"last error: {error}"
        if time.monotonic() >= deadline:
            raise SiteError(f"waited {timeout:g} s for {what}; {last}")
        time.sleep(interval)


def start_time(pid):
    """When a process started, in clock ticks since boot; None when it is gone.

    A pid with its start time names one process for ever, whatever the kernel reuses.
    """
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def namespaces():
    done = run("ip", "-json", "netns", "list", check=False)
    import json
    return [entry["name"] for entry in json.loads(done.stdout or "[]")]


def has_bpffs():
    return any(line.split()[1:3] == ["/sys/fs/bpf", "bpf"] for line in open("/proc/mounts"))


def remove_tree(path):
    """rm -rf without following links."""
    run("rm", "-rf", "--", path)


def cpu_count():
    return len(os.sched_getaffinity(0))
