"""The ledger check: the service's ledger of Idempotency-Keys against the samples. Pure.

The ledger holds every `ok` id once with the value that was returned, and no `fail` id; per key, final - initial is the
number of its rows. Some ids are sent twice at once on purpose (harness/load/twin_model.py): both answers have the value
of the one row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from harness.checks import names
from harness.checks.finding import finding, no_samples
from harness.model import Cell, Finding, OutcomeCounts
from harness.record import NO_OTHERS, Evidence, Samples


def _mismatch(samples: Samples, row: int, outcome: str, entry: tuple[str, int] | None) -> tuple[str, str] | None:
    """The difference between one request and its ledger row as (kind, sentence), or None.

    `outcome`: that of all requests with its id together.
    """
    seq, key, value = samples.seq[row], samples.key[row], samples.value[row]
    if samples.outcome[row] == "ok" and entry is None:
        return "acknowledged but absent", f"request {seq} was acknowledged but its id is not in the ledger"
    if samples.outcome[row] == "ok" and entry is not None and entry != (key, value):
        stored = f"the ledger holds {entry[1]} on '{entry[0]}'"
        return "another value", f"request {seq} returned {value} on '{key}', {stored}"
    if outcome == "fail" and entry is not None:
        return "refused but applied", f"request {seq} was refused but its id is in the ledger"
    return None


def _twins(samples: Samples, op: str) -> tuple[dict[str, str], list[tuple[str, str]], int]:
    """Returns id -> outcome of its requests together, the ids sent again without need, and the number of twins.

    A twin is sent once, while the first request is in flight. A retry is sent after all earlier requests of its id have
    ended, none of them acknowledged.
    """
    rows_of: dict[str, list[int]] = {}
    for row, (name, ident) in enumerate(zip(samples.op, samples.id, strict=True)):
        if name == op and ident:
            rows_of.setdefault(ident, []).append(row)
    outcomes: dict[str, str] = {}
    problems: list[tuple[str, str]] = []
    twins = 0
    for ident, rows in rows_of.items():
        outcomes[ident] = min((samples.outcome[row] for row in rows), key=("ok", "unknown", "fail").index)
        first, *others = sorted(rows, key=samples.seq.__getitem__)
        others = [row for number, row in enumerate(others) if not _is_retry(samples, row, [first, *others[:number]])]
        twins += len(others)
        if len(others) > 1 or any(samples.sent_us[row] >= samples.done_us[first] for row in others):
            late = f"id {ident} was sent again, not as a twin (request {samples.seq[others[-1]]})"
            problems.append(("sent again", late))
    return outcomes, problems, twins


def _is_retry(samples: Samples, row: int, earlier: Sequence[int]) -> bool:
    sent_us = samples.sent_us[row]
    return all(samples.outcome[one] != "ok" and samples.done_us[one] <= sent_us for one in earlier)


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
    ids, problems, twins = _twins(samples, op)
    for row, (name, ident) in enumerate(zip(samples.op, samples.id, strict=True)):
        if name == op and ident and (problem := _mismatch(samples, row, ids[ident], ledger.get(ident))):
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
        f"{len(ledger):,} rows for {outcomes['ok']:,} acknowledged and {outcomes['unknown']:,} unknown ids, "
        + (f"none doubled although {twins:,} were sent twice at once" if twins else "none sent twice"),
        rows=len(ledger),
        twins=twins,
    )
