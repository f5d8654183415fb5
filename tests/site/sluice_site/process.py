"""One supervised process of a site: started in a namespace, logged to a file, found again by pid."""

import ctypes
import os
import pathlib
import signal
import subprocess

from . import host

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    # When the supervisor is killed, nothing it started keeps polling on this machine.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Process:
    """Start, kill and restart one command. The pid file is what a later run cleans up from."""

    def __init__(self, name, command, directory, namespace=None, environment=None):
        self.name = name
        self.command = [str(word) for word in command]
        self.namespace = namespace
        self.environment = environment
        self.directory = pathlib.Path(directory)
        self.log = self.directory / f"{name}.log"
        self.output = self.directory / f"{name}.out"
        self.pid_file = self.directory / f"{name}.pid"
        self._popen = None

    def start(self):
        if self.is_running():
            raise host.SiteError(f"{self.name} runs already")
        command = self.command
        if self.namespace:
            command = host.in_namespace(self.namespace, *command)
        environment = {**os.environ, **(self.environment or {})}
        with open(self.log, "ab") as log, open(self.output, "ab") as output:
            self._popen = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=log, cwd="/", env=environment,
                                           preexec_fn=_die_with_parent, start_new_session=True)
        self.pid_file.write_text(f"{self.pid} {host.start_time(self.pid)}\n")
        self._put_first()
        return self

    def _put_first(self):
        # Whatever else this machine does (a build, say) must not look like a stall of the product.
        # nice() does nothing between sessions; the session's own weight does.
        try:
            pathlib.Path(f"/proc/{self.pid}/autogroup").write_text("-10")
        except OSError:
            pass  # a kernel without autogroups, or the process has ended already

    @property
    def pid(self):
        return self._popen.pid if self._popen else None

    def is_running(self):
        return self._popen is not None and self._popen.poll() is None

    def signal(self, number):
        if not self.is_running():
            raise host.SiteError(f"{self.name} does not run\n{self.log_tail()}")
        self._popen.send_signal(number)

    def kill(self):
        """SIGKILL, and gone on return."""
        self.signal(signal.SIGKILL)
        self.wait(5)

    def stop(self, timeout=15):
        """SIGTERM, then SIGKILL after `timeout` seconds. Fine when it is gone already.

        Returns False when it had to be killed.
        """
        if not self.is_running():
            return True
        self._popen.terminate()
        try:
            self._popen.wait(timeout)
            return True
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(5)
            return False

    def wait(self, timeout):
        """The exit status."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise host.SiteError(f"{self.name} did not end within {timeout} s\n{self.log_tail()}")

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def output_text(self):
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def log_tail(self, lines=20):
        tail = self.log_text().splitlines()[-lines:]
        return "\n".join([f"--- last lines of {self.log.name}"] + tail)


def kill_recorded(pid_file):
    """Kills the process that a pid file names, if it still is that process."""
    try:
        pid, started = pid_file.read_text().split()
        if host.start_time(int(pid)) == int(started):
            os.kill(int(pid), signal.SIGKILL)
            host.wait_for(lambda: host.start_time(int(pid)) != int(started),
                          f"process {pid} to die", 5)
    except (OSError, ValueError):
        pass  # gone already, or the run died while it wrote the file
