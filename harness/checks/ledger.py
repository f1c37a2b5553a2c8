"""The ledger check: the service's ledger of Idempotency-Keys against the samples. Pure.

The ledger holds every `ok` id once with the value that was returned, and no `fail` id; per key, final - initial is the
number of its rows.
"""

from __future__ import annotations

from collections import Counter

from harness.checks import names
from harness.checks.finding import finding, no_samples
from harness.model import Cell, Finding, OutcomeCounts
from harness.record import NO_OTHERS, Evidence, Samples


def _mismatch(samples: Samples, row: int, entry: tuple[str, int] | None) -> tuple[str, str] | None:
    """The difference between one request and its ledger row as (kind, sentence), or None."""
    seq, outcome, key, value = samples.seq[row], samples.outcome[row], samples.key[row], samples.value[row]
    if outcome == "ok" and entry is None:
        return "acknowledged but absent", f"request {seq} was acknowledged but its id is not in the ledger"
    if outcome == "ok" and entry is not None and entry != (key, value):
        stored = f"the ledger holds {entry[1]} on '{entry[0]}'"
        return "another value", f"request {seq} returned {value} on '{key}', {stored}"
    if outcome == "fail" and entry is not None:
        return "refused but applied", f"request {seq} was refused but its id is in the ledger"
    return None


def check_ledger(
    cell: Cell,
    samples: Samples | OutcomeCounts,
    evidence: Evidence,
    *,
    op: str = "increment",
    others: OutcomeCounts = NO_OTHERS,
) -> Finding:
    """The ledger and the samples agree, id by id.

    `others`: requests of other lanes without an id; each that is applied increments its key once, with no row.
    """
    if isinstance(samples, Counter):
        return no_samples(cell, names.LEDGER)
    ledger = evidence.ledger
    if ledger is None:
        return finding(cell, names.LEDGER, "unknown", "no ledger was read for this trial")
    problems: list[tuple[str, str]] = []
    ids: dict[str, str] = {}
    for row, (name, ident) in enumerate(zip(samples.op, samples.id, strict=True)):
        if name != op or not ident:
            continue
        if ident in ids:
            problems.append(("sent twice", f"id {ident} was sent twice (request {samples.seq[row]})"))
        ids[ident] = samples.outcome[row]
        problem = _mismatch(samples, row, ledger.get(ident))
        if problem:
            problems.append(problem)
    problems += [("never sent", f"the ledger holds {ident}, which no request sent") for ident in ledger.keys() - ids]
    rows = Counter(key for key, _ in ledger.values())
    applied, perhaps_applied = Counter[str](), Counter[str]()
    for (_, key, outcome), count in others.items():
        applied[key] += count * (outcome == "ok")
        perhaps_applied[key] += count * (outcome == "unknown")
    for key in sorted(rows.keys() | evidence.final.keys()):
        grown = evidence.final.get(key, 0) - evidence.initial.get(key, 0)
        if not rows[key] + applied[key] <= grown <= rows[key] + applied[key] + perhaps_applied[key]:
            text = f"'{key}' grew by {grown:,} but the ledger has {rows[key]:,} rows for it"
            problems.append(("rows differ", text))
    outcomes = Counter(ids.values())
    if problems:
        kinds = Counter(kind for kind, _ in problems)
        counts = ", ".join(f"{n:,} x {kind}" for kind, n in kinds.most_common())
        return finding(cell, names.LEDGER, "fail", f"{counts}; {problems[0][1]}", problems=dict(kinds))
    if not ids:
        return finding(cell, names.LEDGER, "unknown", "no request carried an Idempotency-Key")
    return finding(
        cell,
        names.LEDGER,
        "pass",
        f"{len(ledger):,} rows for {outcomes['ok']:,} acknowledged and {outcomes['unknown']:,} unknown ids, none twice",
        rows=len(ledger),
    )
