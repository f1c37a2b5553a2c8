"""Whether every request of a trial with faults ended before its client gave up. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.checks import names
from harness.checks.fault_recovery import RECOVERY_S, name_of
from harness.checks.finding import finding
from harness.fault_record import FaultRecord
from harness.model import Cell, Finding
from harness.record import Samples

MARGIN_S = 1.0
"""A request that ends so long before its time-out, or later, counts as given up."""
SILENT = ("lb-kill", "host-down")
"""Faults that end a host or HAProxy without closing its connections: clients wait until they time out."""


def check_end(cell: Cell, samples: Samples, faults: Sequence[FaultRecord], *, timeout_s: float) -> Finding:
    """No request hung until its client gave up, which it does after `timeout_s`.

    Excused are those that were in flight while a host or HAProxy vanished (SILENT), and those to whom faults left less
    than RECOVERY_S. A request that was never sent, for lack of a connection, hung nowhere.
    """
    lasted = [
        (done - sent, row)
        for row, (sent, done, error) in enumerate(zip(samples.sent_us, samples.done_us, samples.error, strict=True))
        if error != "not sent"
    ]
    if not lasted:
        return finding(cell, names.ENDED, "unknown", "no request was recorded")
    limit_s = timeout_s - MARGIN_S
    rows = [row for lasted_us, row in lasted if lasted_us >= limit_s * 1e6]
    excuses = {row: _excuse(samples.sent_us[row], samples.done_us[row], faults) for row in rows}
    bad = [row for row in rows if not excuses[row]]
    longest_s = max(lasted)[0] / 1e6
    numbers: dict[str, object] = {"given_up": len(bad), "excused": len(rows) - len(bad), "longest_s": longest_s}
    if bad:
        row = bad[0]
        ident = samples.id[row] or f"request {samples.seq[row]}"
        what = f"{samples.outcome[row]}, {samples.error[row] or f'HTTP {samples.status[row]}'}"
        text = f"{len(bad):,} of {len(lasted):,} requests took {limit_s:g} s or longer, the first: {ident} ({what})"
        return finding(cell, names.ENDED, "fail", text, **numbers)
    text = f"the longest of {len(lasted):,} requests took {longest_s:.1f} s, clients wait for {timeout_s:g} s"
    excused = Counter(excuses.values())
    notes = [f"; {count:,} while {faults} was present" for faults, count in excused.items()]
    return finding(cell, names.ENDED, "pass", text + "".join(notes), **numbers)


def _excuse(sent_us: int, done_us: int, faults: Sequence[FaultRecord]) -> str:
    """The faults that explain why a request was given up; empty if none does."""
    left_us, present = done_us - sent_us, []
    for fault in faults:
        if fault.injected_us is None:
            continue
        ends = (fault.healing_us, fault.healed_us, fault.observed_us.get("accepts"))
        end_us = done_us if fault.healing_us is None else max(at for at in ends if at is not None)
        shared_us = min(done_us, end_us) - max(sent_us, fault.injected_us)
        if shared_us > 0 and fault.planned.fault in SILENT:
            return name_of(fault)
        if shared_us > 0:
            present.append(name_of(fault))
            left_us -= shared_us
    return " and ".join(present) if left_us < RECOVERY_S * 1e6 else ""
