"""Whether requests succeed again after a fault, in time and by themselves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.analysis.availability import BACK, Availability, FaultEffect
from harness.checks import names
from harness.checks.finding import finding
from harness.fault_record import PERHAPS, FaultRecord, PlannedFault
from harness.model import Cell, Finding, verdict_from
from harness.plan.fault_schedule import KINDS
from harness.record import Evidence, Samples

OUT_S, IN_S = 3.0, 5.0
"""Longest time from the injection until a sick app host is out of rotation, and from the heal until it is back for
good: until the load ends or another fault begins."""
CLOCKS_S = 0.2
"""Longest time by which the clocks of HAProxy's host and of the controller may differ."""
HELD_S = OUT_S + 1.0
"""A fault that is present for less does not show whether HAProxy takes its host out."""
RECOVERY_S = 10.0
"""Longest time from the heal until a request succeeds."""
UNNOTICED_S = 1.0
"""A fault without a longer time without a success, and without a failed request, has nothing to recover from."""
WATCHED_S = 2.0
"""Load after the heal without which nothing is known of the recovery."""


@dataclass(slots=True)
class _Judged:
    """Sentences about several faults: what is wrong, what is not known, and what was seen where all is well."""

    failed: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def finding(self, cell: Cell, check: str, **numbers: object) -> Finding:
        verdict = verdict_from(failed=bool(self.failed), passed=not self.doubtful)
        return finding(cell, check, verdict, "; ".join(self.failed or self.doubtful or self.seen), **numbers)


def name_of(fault: FaultRecord) -> str:
    """The fault and its hosts, such as `app-kill on app-2`."""
    return fault.planned.fault + (f" on {', '.join(fault.hosts)}" if fault.hosts else "")


def check_recovery(cell: Cell, evidence: Evidence, seen: Availability | None) -> Finding:
    """After each fault requests succeed again, within its bound and without a hand; the rate returns; all hosts serve.

    Of faults that overlap only the first success is judged, because the other one may hold back the rest.
    """
    if seen is None or not evidence.faults:
        return finding(cell, names.RECOVERS, "unknown", "no request or no fault was recorded")
    judged = _Judged(failed=list(evidence.misrouted))
    for fault, effect in zip(evidence.faults, seen.effects, strict=True):
        _recovery(judged, fault, effect, seen, alone=not _overlaps(fault, evidence.faults))
    _relapse(judged, evidence.faults, seen)
    return judged.finding(cell, names.RECOVERS, gap_s=seen.gap_s)


def _relapse(judged: _Judged, faults: Sequence[FaultRecord], seen: Availability) -> None:
    """Adds that requests succeeded after the last heal, but from some instant on none did, whenever it was answered."""
    healed = [max(fault.healing_us, _accepted_us(fault) or 0) for fault in faults if fault.healing_us is not None]
    since, died = max(healed, default=0), seen.end_us - seen.dead_s * 1e6
    if len(healed) < len(faults) or seen.dead_s <= UNNOTICED_S or died < since:
        return
    text = f"no request succeeded any more in the last {seen.dead_s:.1f} s of the load"
    (judged.failed if seen.end_us - since >= WATCHED_S * 1e6 else judged.doubtful).append(text)


def _accepted_us(fault: FaultRecord) -> int | None:
    """When PostgreSQL accepted connections, where the fault is one of PostgreSQL and that was observed."""
    return fault.observed_us.get("accepts") if KINDS[fault.planned.fault].first_success_s is not None else None


def _recovery(judged: _Judged, fault: FaultRecord, effect: FaultEffect, seen: Availability, *, alone: bool) -> None:
    name = name_of(fault)
    if fault.helped:
        doubtful = fault.helped.startswith(PERHAPS)
        (judged.doubtful if doubtful else judged.failed).append(f"{name}: it needed help: {fault.helped}")
        return
    if fault.healing_us is None:
        judged.doubtful.append(f"{name}: {fault.problem or 'when it was healed is not known'}")
        return
    since, first, event = fault.healing_us, effect.first_success_s, "the heal"
    accepts = _accepted_us(fault)
    if accepts is not None and accepts > since:  # no request can succeed before
        since, first, event = accepts, effect.accepted_success_s, "PostgreSQL accepted connections"
    watched_s = max(0.0, (seen.end_us - since) / 1e6)
    if watched_s < WATCHED_S and effect.gap_s <= UNNOTICED_S and not effect.failed + effect.unknown:
        judged.seen.append(f"{name}: no request failed, and none had to wait for its end")
    elif first is None or first > RECOVERY_S:
        text = f"{name}: no request succeeded in {min(watched_s, RECOVERY_S):.1f} s after {event}"
        (judged.failed if watched_s >= WATCHED_S else judged.doubtful).append(text)
    elif alone and effect.back_s is None:
        rate = f"{BACK:.0%} of the rate before ({seen.rate_before or 0:,.0f}/s)"
        text = f"{name}: {rate} was not reached in {watched_s:.1f} s after {event}"
        (judged.failed if seen.rate_before and watched_s >= WATCHED_S else judged.doubtful).append(text)
    elif not (alone and _late(judged, fault, effect)):
        text = f"{name}: {effect.gap_s:.2f} s without a success, the first {first:.2f} s after {event}"
        judged.seen.append(text)


def _late(judged: _Judged, fault: FaultRecord, effect: FaultEffect) -> bool:
    """Judges whether requests succeeded in time after PostgreSQL accepted connections; False where they did.

    Without that instant an outage that is shorter than the bound is in time.
    """
    name, bound_s, gap_s = name_of(fault), KINDS[fault.planned.fault].first_success_s, effect.accepted_gap_s
    if bound_s is None or effect.gap_s <= bound_s:
        return False
    if gap_s is None or not fault.watched("postgres"):
        text = f"{effect.gap_s:.1f} s without a success; when PostgreSQL accepted connections was not observed"
        judged.doubtful.append(f"{name}: {text}" + (f": {fault.problem}" if fault.problem else ""))
        return True
    if gap_s > bound_s:
        text = f"{gap_s:.1f} s without a success after PostgreSQL accepted connections, limit {bound_s:g} s"
        judged.failed.append(f"{name}: {text}")
    return gap_s > bound_s


def _overlaps(fault: FaultRecord, faults: Sequence[FaultRecord]) -> bool:
    """Whether another fault was present while this one was, or while its recovery was watched."""
    begin, end = _span(fault)
    spans = [_span(other) for other in faults if other is not fault]
    return any(begin < other_end and other_begin < end for other_begin, other_end in spans)


def _span(fault: FaultRecord) -> tuple[float, float]:
    begin = fault.injected_us or 0
    return begin, (fault.healed_us or fault.healing_us or begin) + RECOVERY_S * 1e6


def check_rotation(cell: Cell, samples: Samples, faults: Sequence[FaultRecord]) -> list[Finding]:
    """A sick app host leaves HAProxy's rotation within OUT_S and is back within IN_S; no finding for other faults."""
    asked = [fault for fault in faults if KINDS[fault.planned.fault].rotation]
    judged = _Judged()
    for fault in asked:
        _rotation(judged, fault, samples, alone=not _overlaps(fault, faults))
    return [judged.finding(cell, names.OUT_OF_ROTATION)] if asked else []


def _rotation(judged: _Judged, fault: FaultRecord, samples: Samples, *, alone: bool) -> None:
    name, injected, healing = name_of(fault), fault.injected_us, fault.healing_us
    out, back, again = map(fault.observed_us.get, ("out-of-rotation", "in-rotation", "out-again"))
    failed = judged.failed if alone else judged.doubtful  # the other fault may be the reason
    if injected is None or healing is None:
        judged.doubtful.append(f"{name}: {fault.problem or 'it was not injected'}")
        return
    early_s = (healing - min(filter(None, (back, again)), default=healing)) / 1e6
    if out is None:
        _never_out(judged, fault, samples, injected, healing, alone=alone)
    elif out <= injected:
        judged.doubtful.append(f"{name}: it was out of rotation before the fault")
    elif (out_s := (out - injected) / 1e6) > OUT_S:
        failed.append(f"{name}: out of rotation after {out_s:.1f} s, limit {OUT_S:g} s")
    elif early_s > CLOCKS_S and KINDS[fault.planned.fault].lasts:
        failed.append(f"{name}: back in rotation {early_s:.1f} s before the heal")
    elif back is None:
        _not_back(judged, fault, healing, again, alone=alone)
    elif (back_s := (back - healing) / 1e6) > IN_S:
        for_good, relapse = ("", "") if again is None else (" for good", _relapsed(again, healing))
        failed.append(f"{name}: back in rotation{for_good} {back_s:.1f} s after the heal, limit {IN_S:g} s{relapse}")
    elif not fault.watched("haproxy"):
        judged.doubtful.append(f"{name}: not seen to stay in rotation: {fault.problem}")
    else:
        judged.seen.append(f"{name}: out of rotation after {out_s:.1f} s, back {max(0.0, back_s):.1f} s after the heal")


def _not_back(judged: _Judged, fault: FaultRecord, healing: int, again: int | None, *, alone: bool) -> None:
    """The host did not come back, or left again: no longer watched than the limit, that is not known."""
    name, until = name_of(fault), fault.observed_us.get("watched-until")
    if until is None or not fault.watched("haproxy"):
        judged.doubtful.append(f"{name}: its return to the rotation was not observed")
        return
    watched_s, relapse = (until - healing) / 1e6, "" if again is None else _relapsed(again, healing)
    text = f"{name}: not back in rotation {watched_s:.1f} s after the heal"
    if watched_s <= IN_S:
        judged.doubtful.append(f"{text}, and no longer watched{relapse}")
    else:
        (judged.failed if alone else judged.doubtful).append(f"{text}, limit {IN_S:g} s{relapse}")


def _relapsed(again: int, healing: int) -> str:
    return f": it was back, and left again {max(0.0, (again - healing) / 1e6):.1f} s after"


def _never_out(
    judged: _Judged, fault: FaultRecord, samples: Samples, injected: int, healing: int, *, alone: bool
) -> None:
    """HAProxy was not seen to take the host out.

    A host that stayed sick for HELD_S should have left; that its requests succeeded after the heal excuses nothing.
    After a crash it is no problem where the host was well again: where no request failed later.
    """
    name, held_s = name_of(fault), (healing - injected) / 1e6
    if not fault.seen or not fault.watched("haproxy"):
        judged.doubtful.append(
            f"{name}: not seen to leave the rotation: {fault.problem or 'it was not seen to happen'}"
        )
    elif not KINDS[fault.planned.fault].lasts:
        _well_again(judged, name, samples, injected, healing, alone=alone)
    elif held_s < HELD_S:
        judged.doubtful.append(f"{name}: not seen to leave the rotation; it was present for {held_s:.1f} s only")
    else:
        text = f"{name}: HAProxy did not take it out in {held_s:.1f} s, limit {OUT_S:g} s"
        (judged.failed if alone else judged.doubtful).append(text)


def _well_again(judged: _Judged, name: str, samples: Samples, injected: int, healing: int, *, alone: bool) -> None:
    since = injected + round(OUT_S * 1e6)
    until = max(healing, since + round((IN_S - OUT_S) * 1e6))
    outcomes = [
        outcome for sent, outcome in zip(samples.sent_us, samples.outcome, strict=True) if since <= sent <= until
    ]
    bad = len(outcomes) - outcomes.count("ok")
    if not outcomes or (bad and not alone):
        judged.doubtful.append(f"{name}: not seen to leave the rotation")
    elif bad:
        text = f"{name}: not seen to leave the rotation, and {bad:,} requests failed later than {OUT_S:g} s"
        judged.failed.append(text)
    else:
        text = f"{name}: well before HAProxy took it out; {len(outcomes):,} requests after {OUT_S:g} s succeeded"
        judged.seen.append(text)


def check_no_failed_request(cell: Cell, samples: Samples, planned: Sequence[PlannedFault]) -> list[Finding]:
    """Every request of the trial succeeded, where none of its faults may fail one; no finding for other trials."""
    if not planned or not all(KINDS[each.fault].no_failed_request for each in planned):
        return []
    bad = [row for row, outcome in enumerate(samples.outcome) if outcome != "ok"]
    if not len(samples):
        return [finding(cell, names.NO_FAILED_REQUEST, "unknown", "no request was recorded")]
    if not bad:
        return [finding(cell, names.NO_FAILED_REQUEST, "pass", f"all {len(samples):,} requests succeeded", failed=0)]
    row = bad[0]
    ident, error = samples.id[row] or f"request {samples.seq[row]}", samples.error[row] or f"HTTP {samples.status[row]}"
    text = f"{len(bad):,} of {len(samples):,} requests failed, the first: {ident} ({samples.outcome[row]}, {error})"
    return [finding(cell, names.NO_FAILED_REQUEST, "fail", text, failed=len(bad))]
