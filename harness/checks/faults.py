"""The checks of a trial with faults: every request accounted for, every fault seen, healed and survived. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from harness.analysis.availability import Availability, availability, outage_ended
from harness.checks import names
from harness.checks.fault_account import FaultAccount, account
from harness.checks.fault_recovery import check_no_failed_request, check_recovery, check_rotation, name_of
from harness.checks.finding import finding
from harness.checks.request_end import check_end
from harness.fault_record import FaultRecord, PlannedFault
from harness.model import Cell, Finding, Verdict
from harness.plan.fault_schedule import LASTING
from harness.record import Evidence, Samples
from harness.text import plural

ACCOUNTED_FOR = "perhaps_sent"
"""Key of `numbers`: the finding holds although a load host that was killed left no samples."""
SURVIVED = "survived"
"""Key of `numbers` of `healed`: the kinds of the faults that were seen to happen and of which nothing is left."""
_KINDS = {
    names.NOTHING_LOST: ("lost",),
    names.NOTHING_DOUBLED: ("doubled",),
    names.NOTHING_INVENTED: ("invented",),
    names.HONEST: ("false_aborted", "other_value"),
}
_WORDS = {
    "lost": "lost",
    "doubled": "applied twice",
    "invented": "applied though not sent",
    "false_aborted": "refused as surely not applied, but applied",
    "other_value": "answered with another value than was stored",
}


def check_faults(
    cell: Cell,
    samples: Samples,
    evidence: Evidence,
    planned: Sequence[PlannedFault],
    *,
    timeout_s: float,
    dead: Collection[str] = (),
) -> list[Finding]:
    """All findings of a trial with faults.

    `timeout_s`: of the clients. `dead`: the load hosts that were killed and left no samples.
    """
    accounted, seen = account(samples, evidence, dead=dead), availability(samples, evidence.faults, lasting=LASTING)
    with_ids, with_ledger = any(samples.id), evidence.ledger is not None
    found = [
        *(_accounting(cell, check, accounted, with_ids=with_ids, with_ledger=with_ledger) for check in _KINDS),
        *check_injected(cell, evidence.faults, planned),
        check_recovery(cell, evidence, seen),
        *check_rotation(cell, samples, evidence.faults),
        *check_no_failed_request(cell, samples, planned),
        check_end(cell, samples, evidence.faults, timeout_s=timeout_s),
        *([_availability(cell, seen, accounted)] if seen else []),
    ]
    common: dict[str, object] = {"faults": sum(bool(fault.seen) for fault in evidence.faults)}
    common |= {ACCOUNTED_FOR: accounted.perhaps_sent} if dead else {}
    return [finding(cell, each.check, each.verdict, each.detail, **{**each.numbers, **common}) for each in found]


def check_injected(cell: Cell, faults: Sequence[FaultRecord], planned: Sequence[PlannedFault]) -> list[Finding]:
    """Every planned fault was seen to have happened and seen to be healed; no findings where none was planned."""
    return [_seen(cell, faults, planned), _healed(cell, faults, planned)] if planned else []


def _numbers(accounted: FaultAccount) -> Mapping[str, object]:
    figures = asdict(accounted) | {"unknown": accounted.unknown, "phantom": accounted.phantom}
    return {name: value for name, value in figures.items() if name not in ("first", "perhaps_sent")}


def _accounting(cell: Cell, check: str, accounted: FaultAccount, *, with_ids: bool, with_ledger: bool) -> Finding:
    numbers = _numbers(accounted)
    wrong = [kind for kind in _KINDS[check] if getattr(accounted, kind)]
    total = f"{accounted.acknowledged:,} acknowledged, {accounted.aborted:,} surely not applied, "
    total += f"{accounted.unknown:,} unknown"
    if with_ids and accounted.unknown:
        total += f" ({accounted.unknown_applied:,} of them applied)"
    if accounted.perhaps_sent:
        total += f", {accounted.perhaps_sent:,} applied of a load host that was killed"
    if accounted.foreign:
        total += f"; {plural(accounted.foreign, 'row')} of earlier trials, applied after their end"
    if wrong:
        counts = " and ".join(f"{getattr(accounted, kind):,} {_WORDS[kind]}" for kind in wrong)
        return finding(cell, check, "fail", f"{counts}: {accounted.first[wrong[0]]}; {total}", **numbers)
    if not accounted.acknowledged:
        return finding(cell, check, "unknown", f"no request was acknowledged: {total}", **numbers)
    if with_ids and not with_ledger:
        return finding(cell, check, "unknown", f"the ledger was not read: {total}", **numbers)
    if with_ids:
        return finding(cell, check, "pass", total, **numbers)
    verdict: Verdict = "unknown" if check == names.HONEST else "pass"
    return finding(cell, check, verdict, f"{total}, by the counters alone: requests had no id", **numbers)


def _seen(cell: Cell, faults: Sequence[FaultRecord], planned: Sequence[PlannedFault]) -> Finding:
    """Every planned fault was seen to have happened."""
    unseen = [f"{name_of(one)}: {one.problem or 'nothing shows that it happened'}" for one in faults if not one.seen]
    if len(faults) < len(planned):
        unseen.append(f"{len(planned) - len(faults)} of {plural(len(planned), 'planned fault')} left no record")
    detail = "; ".join(unseen or [f"{name_of(one)}: {one.seen}" for one in faults])
    return finding(cell, names.FAULT_SEEN, not unseen, detail)


def _healed(cell: Cell, faults: Sequence[FaultRecord], planned: Sequence[PlannedFault]) -> Finding:
    """Nothing of any fault is left."""
    left = [
        f"{name_of(one)}: {one.left or one.problem or 'nothing shows that it was healed'}"
        for one in faults
        if one.left or not one.healed
    ]
    if len(faults) < len(planned):
        left.append(f"{len(planned) - len(faults)} of {plural(len(planned), 'planned fault')} left no record")
    detail = "; ".join(left or [f"{name_of(one)}: {one.healed}" for one in faults])
    survived = sorted({one.planned.fault for one in faults if one.seen and one.healed and not one.left})
    return finding(cell, names.HEALED, not left, detail, **{SURVIVED: survived})


def _availability(cell: Cell, seen: Availability, accounted: FaultAccount) -> Finding:
    """The figures of the trial, which decide nothing."""
    first = [effect.first_success_s for effect in seen.effects if effect.first_success_s is not None]
    back = [effect.back_s for effect in seen.effects]
    numbers = asdict(seen) | {"false_aborted": accounted.false_aborted}
    lasted = "" if outage_ended(numbers) else " or more: it had not ended with the load"
    parts = [f"longest time without a success {seen.gap_s:.2f} s{lasted}"]
    parts += [f"first success at most {max(first):.2f} s after the heal"] if first else []
    if back and None not in back:
        parts.append(f"95 % of the rate at most {max(one for one in back if one is not None):.2f} s after it")
    parts.append(f"{accounted.aborted:,} requests failed, {accounted.unknown:,} unknown")
    return finding(cell, names.AVAILABILITY, "shown", ", ".join(parts), **numbers)
