"""The counter oracle: what the samples and the database prove about each increment. Pure.

Per key (`ok`, `fail` and `unknown` are the outcomes of the increments sent):

    ok <= final - initial <= ok + unknown                        nothing lost, nothing invented
    the acknowledged values lie in initial+1 … final, each once  and exactly fill it where unknown = 0
    a.done < b.sent  =>  a.value < b.value                       linearizable: real-time order

The last line is the whole of linearizability for a counter whose increments answer their new value
(Herlihy and Wing 1990: the order of values is the only candidate order, so it need only respect real time).
With a ledger: every `ok` id is there once with the value that was answered, no `fail` id is, and
final - initial = rows of the key. Each finding names the first requests that prove it.

Of a trial without samples only the first line can be judged: how many requests of each key ended how is known.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from harness.checks import names
from harness.checks.finding import finding
from harness.model import Cell, Finding, OutcomeCounts
from harness.record import Evidence, Samples, count_outcomes


@dataclass(slots=True)
class _Key:
    """The increments of one key: those acknowledged as row numbers into the samples, the unknown ones as a count."""

    ok: list[int] = field(default_factory=list)
    unknown: int = 0


def _by_key(samples: Samples, op: str) -> dict[str, _Key]:
    keys: defaultdict[str, _Key] = defaultdict(_Key)
    for row, (name, key, outcome) in enumerate(zip(samples.op, samples.key, samples.outcome, strict=True)):
        if name != op:
            continue
        if outcome == "ok":
            keys[key].ok.append(row)
        elif outcome == "unknown":
            keys[key].unknown += 1
    return keys


def _no_samples(cell: Cell, check: str) -> Finding:
    return finding(cell, check, "unknown", "no samples were kept")


def check_final_value(
    cell: Cell, requests: Samples | OutcomeCounts, evidence: Evidence, *, op: str = "increment"
) -> Finding:
    """Per key: ok <= final - initial <= ok + unknown. Lost and invented updates are counted over all keys."""
    lost = invented = ok = unknown = applied = 0
    first = ""
    keys: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (name, key, outcome), number in count_outcomes(requests).items():
        if name == op:
            keys[key][outcome] += number
    untouched = [key for key in evidence.final if key not in keys]
    for key, ended in keys.items():
        ok += ended["ok"]
        unknown += ended["unknown"]
        if key not in evidence.final:
            if not ended["ok"]:
                continue
            grown = 0
        else:
            grown = evidence.final[key] - evidence.initial.get(key, 0)
        applied += grown
        missing, surplus = ended["ok"] - grown, grown - ended["ok"] - ended["unknown"]
        lost += max(0, missing)
        invented += max(0, surplus)
        if not first and (missing > 0 or surplus > 0):
            first = (
                f"key '{key}': {ended['ok']:,} acknowledged and {ended['unknown']:,} unknown, "
                f"but the value went from {evidence.initial.get(key, 0):,} to "
                f"{evidence.final.get(key, evidence.initial.get(key, 0)):,}"
            )
            if missing > 0 and not isinstance(requests, Counter):
                first += _first_double(requests, _by_key(requests, op)[key].ok)
    for key in untouched:
        grown = evidence.final[key] - evidence.initial.get(key, 0)
        applied += grown
        if grown:
            invented += abs(grown)
            first = first or f"key '{key}' changed by {grown:,} though no request named it"
    numbers = {"ok": ok, "unknown": unknown, "applied": applied, "lost": lost, "invented": invented}
    if lost or invented:
        said = " and ".join(text for n, text in ((lost, f"{lost:,} lost"), (invented, f"{invented:,} invented")) if n)
        return finding(cell, names.FINAL_VALUE, "fail", f"{said} updates; {first}", **numbers)
    if not keys:
        return finding(cell, names.FINAL_VALUE, "unknown", f"no request named '{op}' was sent", **numbers)
    return finding(
        cell,
        names.FINAL_VALUE,
        "pass",
        f"final - initial = {applied:,} for {ok:,} acknowledged"
        + (f" and {unknown:,} unknown" if unknown else "")
        + f" over {len(keys):,} key{'s' if len(keys) != 1 else ''}: no lost update",
        **numbers,
    )


def _first_double(samples: Samples, rows: Iterable[int]) -> str:
    """The lost update's witness: the earliest two requests that were answered the same value."""
    owner: dict[int, int] = {}
    best: tuple[int, int, int] | None = None
    for row in sorted(rows, key=lambda r: samples.done_us[r]):
        value = samples.value[row]
        if value is None:
            continue
        if value in owner:
            best = (owner[value], row, value)
            break
        owner[value] = row
    if best is None:
        return ""
    a, b, value = best
    return (
        f"; the first: requests {samples.seq[a]} ({samples.host[a]}) and "
        f"{samples.seq[b]} ({samples.host[b]}) were both answered {value:,}"
    )


def check_value_sequence(
    cell: Cell, samples: Samples | OutcomeCounts, evidence: Evidence, *, op: str = "increment"
) -> Finding:
    """The acknowledged values of each key are initial+1 … final, each once (gaps only where unknown > 0)."""
    if isinstance(samples, Counter):
        return _no_samples(cell, names.VALUE_SEQUENCE)
    doubles = outside = gaps = 0
    first = ""
    values, keys = samples.value, _by_key(samples, op)
    for key, entry in keys.items():
        low, high = evidence.initial.get(key, 0), evidence.final.get(key, 0)
        answered = [values[row] for row in entry.ok]
        good = {value for value in set(answered) if value is not None and low < value <= high}
        if len(good) < len(answered):
            beyond = sum(value not in good for value in answered)
            outside += beyond
            doubles += len(answered) - beyond - len(good)
            first = first or _first_wrong(samples, key, entry.ok, low, high)
        missing = max(0, high - low) - len(good)
        if missing > entry.unknown:
            gaps += missing - entry.unknown
            hole = next((v for v in range(low + 1, high + 1) if v not in good), None)
            first = first or f"value {hole} of '{key}' was answered to nobody"
    numbers = {"doubles": doubles, "outside": outside, "gaps": gaps}
    if doubles or outside or gaps:
        return finding(
            cell,
            names.VALUE_SEQUENCE,
            "fail",
            f"{doubles:,} values answered twice, {outside:,} out of range, {gaps:,} answered to nobody; {first}",
            **numbers,
        )
    acknowledged = sum(len(entry.ok) for entry in keys.values())
    if not acknowledged:
        return finding(cell, names.VALUE_SEQUENCE, "unknown", "no increment was acknowledged", **numbers)
    return finding(
        cell, names.VALUE_SEQUENCE, "pass", f"{acknowledged:,} values, each answered exactly once", **numbers
    )


def _first_wrong(samples: Samples, key: str, rows: Iterable[int], low: int, high: int) -> str:
    """The first request whose value does not lie in low+1 … high, or is another's."""
    owner: dict[int, int] = {}
    for row in rows:
        value = samples.value[row]
        if value is None or not low < value <= high:
            return f"request {samples.seq[row]} on '{key}' was answered {value}, outside {low + 1}…{high}"
        if value in owner:
            both = f"requests {samples.seq[owner[value]]} and {samples.seq[row]}"
            return f"{both} on '{key}' were both answered {value:,}"
        owner[value] = row
    return ""


def check_real_time_order(cell: Cell, samples: Samples | OutcomeCounts, *, op: str = "increment") -> Finding:
    """A request that ended before another on its key was sent has the smaller value.

    Instants of different load hosts are compared only through each host's own clock: pairs are formed
    within a load host. O(n log n): values are walked downwards with the earliest `done` seen so far.
    """
    if isinstance(samples, Counter):
        return _no_samples(cell, names.REAL_TIME_ORDER)
    violations = compared = 0
    first = ""
    values, several = samples.value, len(set(samples.load_host)) > 1
    for key, entry in _by_key(samples, op).items():
        valued = [row for row in entry.ok if values[row] is not None]
        for rows in _by_load_host(samples, valued) if several else [valued]:
            compared += len(rows)
            for ended, row in _back_in_time(samples, rows):
                violations += 1
                first = first or (
                    f"on '{key}' request {samples.seq[ended]} had ended with {samples.value[ended]:,} "
                    f"before request {samples.seq[row]} was sent, which was answered {samples.value[row]:,}"
                )
    if violations:
        text = f"{violations:,} answers go back in time; {first}"
        return finding(cell, names.REAL_TIME_ORDER, "fail", text, violations=violations)
    if not compared:
        return finding(cell, names.REAL_TIME_ORDER, "unknown", "no increment was acknowledged", violations=0)
    text = f"{compared:,} answers respect real time: the counter is linearizable"
    return finding(cell, names.REAL_TIME_ORDER, "pass", text, violations=0)


def _by_load_host(samples: Samples, rows: Sequence[int]) -> Iterable[list[int]]:
    """Rows split by the load host whose clock timed them."""
    split: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        split[samples.load_host[row]].append(row)
    return split.values()


def _back_in_time(samples: Samples, rows: list[int]) -> Iterator[tuple[int, int]]:
    """Pairs (ended, sent later but with a smaller value): for each such later row, the earliest that ended."""
    value, sent, done = samples.value, samples.sent_us, samples.done_us
    last: int | None = None
    earliest = soonest = math.inf  # among larger values; among equal ones, which say nothing of each other
    earliest_row = soonest_row = -1
    for row in sorted(rows, key=value.__getitem__, reverse=True):  # type: ignore[arg-type]  # None was left out
        if value[row] != last:
            last = value[row]
            if soonest < earliest:
                earliest, earliest_row = soonest, soonest_row
            soonest = math.inf
        if earliest < sent[row]:
            yield earliest_row, row
        if done[row] < soonest:
            soonest, soonest_row = done[row], row


def _mismatch(samples: Samples, row: int, entry: tuple[str, int] | None) -> tuple[str, str] | None:
    """What is wrong between one request and its ledger row: (kind, sentence), or None."""
    seq, outcome, key, value = samples.seq[row], samples.outcome[row], samples.key[row], samples.value[row]
    if outcome == "ok" and entry is None:
        return "acknowledged but absent", f"request {seq} was acknowledged but its id is not there"
    if outcome == "ok" and entry is not None and entry != (key, value):
        there = f"the ledger holds {entry[1]} on '{entry[0]}'"
        return "another value", f"request {seq} was answered {value} on '{key}', {there}"
    if outcome == "fail" and entry is not None:
        return "refused but applied", f"request {seq} was refused but its id is there"
    return None


def check_ledger(cell: Cell, samples: Samples | OutcomeCounts, evidence: Evidence, *, op: str = "increment") -> Finding:
    """The ledger and the samples tell one story, id by id."""
    if isinstance(samples, Counter):
        return _no_samples(cell, names.LEDGER)
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
    problems += [("never sent", f"the ledger holds {ident}, which nobody sent") for ident in ledger.keys() - ids]
    rows = Counter(key for key, _ in ledger.values())
    for key in sorted(rows.keys() | evidence.final.keys()):
        grown = evidence.final.get(key, 0) - evidence.initial.get(key, 0)
        if grown != rows[key]:
            text = f"'{key}' grew by {grown:,} but the ledger has {rows[key]:,} rows for it"
            problems.append(("rows differ", text))
    outcomes = Counter(ids.values())
    if problems:
        kinds = Counter(kind for kind, _ in problems)
        said = ", ".join(f"{n:,} x {kind}" for kind, n in kinds.most_common())
        return finding(cell, names.LEDGER, "fail", f"{said}; {problems[0][1]}", problems=dict(kinds))
    if not ids:
        return finding(cell, names.LEDGER, "unknown", "no request carried an Idempotency-Key")
    return finding(
        cell,
        names.LEDGER,
        "pass",
        f"{len(ledger):,} rows for {outcomes['ok']:,} acknowledged and {outcomes['unknown']:,} unknown ids, "
        "none doubled",
        rows=len(ledger),
    )
