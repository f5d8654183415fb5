"""Says what rules hold, in the Test Anything Protocol that `meson test` reads: one line a rule."""

import sys


class Report:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def rule(self, name, faults):
        """`faults`: one line each, saying where and what; none when the rule holds."""
        self.count += 1
        faults = list(faults)
        print(f"{'not ok' if faults else 'ok'} {self.count} - {name}")
        for fault in faults:
            print(f"# {fault}")
        self.failed += bool(faults)

    def end(self):
        print(f"1..{self.count}")
        sys.exit(1 if self.failed else 0)
