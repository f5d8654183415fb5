"""The ledger: every packet that came in went out, was dropped by name, or is held. Exactly.

The terms are in dataplane/pipeline/counters.h. It balances at quiet moments only, so check() waits
for one: a reading that balances; and it fails when none does.
"""

from . import host


def faults(entry):
    """What does not add up in one reading; empty when all of it does."""
    verdicts = entry["verdicts"]
    drops = sum(count for name, count in verdicts.items() if name.startswith("drop"))
    rejected = sum(count for name, count in verdicts.items() if name.startswith("reject"))
    kept = rejected + sum(verdicts.get(name, 0) for name in ("forward", "reply", "punt", "absorb"))
    found = []
    came = entry["received"] + entry.get("copied", 0)
    ended = kept + drops + entry["held"] + entry.get("in_handoff", 0)
    if came != ended:
        found.append(f"received {came}, but {kept} kept + {drops} dropped + {entry['held']} held")
    out = (rejected + sum(verdicts.get(name, 0) for name in ("forward", "reply", "punt"))
           + entry["generated"])
    if entry["sent"] != out:
        found.append(f"sent {entry['sent']}, but {out} were to be sent")
    if verdicts.get("undecided", 0):
        found.append(f"{verdicts['undecided']} packets without a verdict")
    return found


def check(read, timeout=10):
    """`read` asks the dataplane for its ledger."""
    def balances():
        found = faults(read())
        if found:
            raise host.SiteError("; ".join(found))
        return True
    host.wait_for(balances, "the ledger to balance", timeout)
