"""A trial with faults over time, and the story of single requests, from its samples and its evidence. Pure."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.stats import percentiles
from harness.record import Evidence, Samples, distinct

STEP_S = 0.25
BEFORE_S, AFTER_S = 0.5, 1.0
"""A request's story includes events of others from BEFORE_S before its send until AFTER_S after its end."""
MOST_LINES = 8
"""Log lines in a story; the nearest to the request are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Requests that ended within STEP_S: successes and errors per second, median and longest latency in ms.

    `at_s`: its beginning, in seconds from the first due instant. None: too few requests for a median, or none at all.
    """

    at_s: float
    ok: float
    fail: float
    unknown: float
    p50_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """From the injection of a fault to its heal, in seconds from the first due instant."""

    fault: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, in ms from the request's first send. `where`: the part of the rig that tells it."""

    at_ms: float
    where: str
    what: str


def steps(samples: Samples) -> list[Step]:
    """The trial in steps, from its first due instant to its last answer; latency counts from the due instant."""
    samples = distinct(samples)
    if not len(samples):
        return []
    begin, width = min(samples.due_us), round(STEP_S * 1e6)
    last = (max(samples.done_us) - begin) // width
    counts = [Counter[str]() for _ in range(last + 1)]
    latencies = [array("q") for _ in range(last + 1)]
    for due, done, outcome in zip(samples.due_us, samples.done_us, samples.outcome, strict=True):
        number = (done - begin) // width
        counts[number][outcome] += 1
        latencies[number].append(done - due)
    found = []
    for number, (count, latency) in enumerate(zip(counts, latencies, strict=True)):
        (p50,) = percentiles(latency, (50.0,))
        found.append(
            Step(
                at_s=number * STEP_S,
                ok=count["ok"] / STEP_S,
                fail=count["fail"] / STEP_S,
                unknown=count["unknown"] / STEP_S,
                p50_ms=None if p50 is None else p50 / 1000,
                max_ms=max(latency) / 1000 if latency else None,
            )
        )
    return found


def bands(samples: Samples, evidence: Evidence) -> list[Band]:
    """The faults that were injected. One that was never healed lasts until the last answer."""
    if not len(samples):
        return []
    begin, end = min(samples.due_us), max(samples.done_us)
    return [
        Band(
            fault=fault.planned.fault,
            from_s=(fault.injected_us - begin) / 1e6,
            to_s=((fault.healing_us or end) - begin) / 1e6,
        )
        for fault in evidence.faults
        if fault.injected_us is not None
    ]


def story(samples: Samples, evidence: Evidence, ident: str) -> list[Event]:
    """The events of the requests with this Idempotency-Key, from samples, faults and logs, in order.

    Without a request of this id (it was never sent, or its load host was killed) only the ledger has it.
    """
    rows = [row for row, name in enumerate(samples.id) if name == ident]
    entries: list[tuple[int, str, str]] = []
    for row in rows:
        entries.append((samples.sent_us[row], "client", f"sent to '{samples.key[row]}'"))
        entries.append((samples.done_us[row], "client", _answer(samples, row)))
    begin = min((samples.sent_us[row] for row in rows), default=0)
    if rows:
        since = begin - round(BEFORE_S * 1e6)
        until = max(samples.done_us[row] for row in rows) + round(AFTER_S * 1e6)
        for fault in evidence.faults:
            hosts = ", ".join(fault.hosts)
            if fault.injected_us is not None:
                entries.append(
                    (fault.injected_us, "fault", f"{fault.planned.fault} on {hosts}: {fault.seen or 'not seen'}")
                )
            if fault.healing_us is not None:
                entries.append((fault.healing_us, "fault", f"{fault.planned.fault}: heal"))
        lines = [line for line in evidence.logs if since <= line.at_us <= until or ident in line.text]
        lines.sort(key=lambda line: (ident not in line.text, abs(line.at_us - begin)))
        entries += [(line.at_us, f"{line.unit} on {line.host}", line.text) for line in lines[:MOST_LINES]]
    events = [Event(at_ms=(at - begin) / 1000, where=where, what=what) for at, where, what in sorted(entries)]
    return [*events, _in_database(evidence, ident, events)]


def _answer(samples: Samples, row: int) -> str:
    value = samples.value[row]
    outcome = samples.outcome[row]
    if outcome == "ok":
        return f"answered {samples.status[row]}: acknowledged with value {value}"
    reason = samples.error[row] or f"HTTP {samples.status[row]}"
    return f"{reason}: {'surely not applied' if outcome == 'fail' else 'applied or not, the client cannot know'}"


def _in_database(evidence: Evidence, ident: str, events: Sequence[Event]) -> Event:
    entry = (evidence.ledger or {}).get(ident)
    what = (
        "the ledger does not have it" if entry is None else f"the ledger has it, with value {entry[1]} of '{entry[0]}'"
    )
    return Event(at_ms=events[-1].at_ms if events else 0.0, where="database, afterwards", what=what)
