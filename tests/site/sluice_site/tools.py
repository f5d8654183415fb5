"""The C++ traffic tools as Python objects: started in a namespace, read as JSON lines."""

import json
import signal

from . import host
from .process import Process


class Tool(Process):
    """A tool that prints JSON lines with an "event" each."""

    def lines(self):
        complete = self.output_text().rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def event(self, name):
        """The last line with this event, or None."""
        found = [line for line in self.lines() if line["event"] == name]
        return found[-1] if found else None

    def start(self):
        """Returns when the tool hears signals."""
        super().start()
        self.wait_event("begin")
        return self

    def wait_event(self, name, timeout=30):
        def look():
            line = self.event(name)
            if line is None and not self.is_running():
                raise host.SiteError(f"{self.name} ended\n{self.log_tail()}")
            return line
        return host.wait_for(look, f"{self.name} to say {name}\n{self.log_tail()}", timeout)

    def progress(self):
        before = len([line for line in self.lines() if line["event"] == "progress"])
        self.signal(signal.SIGUSR1)
        host.wait_for(lambda: len([line for line in self.lines()
                                   if line["event"] == "progress"]) > before,
                      f"{self.name} to report")
        return self.event("progress")

    def finish(self, timeout=30):
        """Asks it to end and returns its result."""
        if self.is_running():
            self.signal(signal.SIGTERM)
        return self.result(timeout)

    def result(self, timeout=60):
        """Waits until it ends by itself and returns its result."""
        status = self.wait(timeout)
        line = self.event("result")
        if status != 0 or line is None:
            raise host.SiteError(f"{self.name}: status {status}, no result\n{self.log_tail()}")
        return line


def options(given):
    """{"open_rate": 5, "http": True} as ["--open-rate", "5", "--http"]."""
    words = []
    for key, value in given.items():
        if value is None or value is False:
            continue
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words.append("--" + key.replace("_", "-"))
            if one is not True:
                words.append(str(one))
    return words
