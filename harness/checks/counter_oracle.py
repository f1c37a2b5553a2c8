"""The counter oracle: what the samples and the database prove about each increment. Pure.

Per key (`ok`, `fail` and `unknown` are the outcomes of the increments sent):

    ok <= final - initial <= ok + unknown                        nothing lost, nothing invented
    the acknowledged values lie in initial+1 … final, each once  and exactly fill it where unknown = 0
    the order of the values respects real time                   linearizable, see real_time_order.py

Requests with one Idempotency-Key are one increment (`distinct`).

Each finding names the first requests that prove it. The ledger is checked in ledger.py.

Without samples only the first line can be checked, from the counts of outcomes per key.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.checks import names
from harness.checks.finding import finding, no_samples
from harness.checks.real_time_order import back_in_time, by_load_host, floors, unexplained, values_of
from harness.model import Cell, Finding, OutcomeCounts
from harness.record import NO_EVIDENCE, NO_OTHERS, Evidence, Samples, distinct, increments
from harness.text import plural


@dataclass(slots=True)
class _Key:
    """The acknowledged and the unknown increments of one key, as row numbers of the samples."""

    ok: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)


def _by_key(samples: Samples, op: str) -> dict[str, _Key]:
    keys: defaultdict[str, _Key] = defaultdict(_Key)
    for row, (name, key, outcome) in enumerate(zip(samples.op, samples.key, samples.outcome, strict=True)):
        if name != op:
            continue
        if outcome == "ok":
            keys[key].ok.append(row)
        elif outcome == "unknown":
            keys[key].unknown.append(row)
    return keys


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeyBalance:
    """The increments that the client sent for one key, and the key's value in the database before and after."""

    key: str
    sent: bool
    ok: int
    unknown: int
    initial: int
    final: int

    @property
    def growth(self) -> int:
        """The increments that the database applied."""
        return self.final - self.initial

    @property
    def lost(self) -> int:
        """Acknowledged increments that are not in the database."""
        return max(0, self.ok - self.growth) if self.sent else 0

    @property
    def invented(self) -> int:
        """Increments in the database that no request explains; any change of a key without requests."""
        return max(0, self.growth - self.ok - self.unknown) if self.sent else abs(self.growth)

    def describe(self) -> str:
        """The counts beside the change of the value."""
        if not self.sent:
            return f"key '{self.key}' changed by {self.growth:,} though no request named it"
        return (
            f"key '{self.key}': {self.ok:,} acknowledged and {self.unknown:,} unknown, "
            f"but the value went from {self.initial:,} to {self.final:,}"
        )


def _balances(counts: OutcomeCounts, evidence: Evidence) -> list[_KeyBalance]:
    """A balance for each key that was sent, then for each other key of the database."""
    sent: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (_, key, outcome), number in counts.items():
        sent[key][outcome] += number
    return [
        _KeyBalance(
            key=key,
            sent=key in sent,
            ok=sent[key]["ok"] if key in sent else 0,
            unknown=sent[key]["unknown"] if key in sent else 0,
            initial=evidence.initial.get(key, 0),
            final=evidence.final.get(key, evidence.initial.get(key, 0)),
        )
        for key in dict.fromkeys([*sent, *evidence.final])
    ]


def check_final_value(
    cell: Cell,
    requests: Samples | OutcomeCounts,
    evidence: Evidence,
    *,
    op: str = "increment",
    others: OutcomeCounts = NO_OTHERS,
) -> Finding:
    """Per key: ok <= final - initial <= ok + unknown. Lost and invented updates are counted over all keys.

    `others`: requests of other lanes, each of which increments its key once if it is applied.
    """
    balances = _balances(increments(requests, op, others), evidence)
    numbers = {
        "ok": sum(each.ok for each in balances),
        "unknown": sum(each.unknown for each in balances),
        "applied": sum(each.growth for each in balances),
        "lost": sum(each.lost for each in balances),
        "invented": sum(each.invented for each in balances),
    }
    wrong = next((each for each in balances if each.lost or each.invented), None)
    if wrong is not None:
        problems = " and ".join(f"{numbers[kind]:,} {kind}" for kind in ("lost", "invented") if numbers[kind])
        detail = f"{problems} updates; {wrong.describe()}{_duplicate(requests, wrong, op)}"
        return finding(cell, names.FINAL_VALUE, "fail", detail, **numbers)
    keys = sum(each.sent for each in balances)
    if not keys:
        return finding(cell, names.FINAL_VALUE, "unknown", f"no request named '{op}' was sent", **numbers)
    unknown = f" and {numbers['unknown']:,} unknown" if numbers["unknown"] else ""
    detail = f"final - initial = {numbers['applied']:,} for {numbers['ok']:,} acknowledged{unknown}"
    return finding(cell, names.FINAL_VALUE, "pass", f"{detail} over {plural(keys, 'key')}: no lost update", **numbers)


def _duplicate(requests: Samples | OutcomeCounts, balance: _KeyBalance, op: str) -> str:
    """The proof of a lost update: the earliest two requests that returned the same value. Empty without one."""
    if isinstance(requests, Counter) or not balance.lost:
        return ""
    requests = distinct(requests)
    first_row: dict[int, int] = {}
    for row in sorted(_by_key(requests, op)[balance.key].ok, key=lambda r: requests.done_us[r]):
        value = requests.value[row]
        if value is None:
            continue
        if value in first_row:
            other = first_row[value]
            return (
                f"; the first: requests {requests.seq[other]} ({requests.host[other]}) and "
                f"{requests.seq[row]} ({requests.host[row]}) both returned {value:,}"
            )
        first_row[value] = row
    return ""


def check_value_sequence(
    cell: Cell, samples: Samples | OutcomeCounts, evidence: Evidence, *, op: str = "increment"
) -> Finding:
    """The acknowledged values of each key are initial+1 … final, each once (gaps only where unknown > 0)."""
    if isinstance(samples, Counter):
        return no_samples(cell, names.VALUE_SEQUENCE)
    samples = distinct(samples)
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
        if missing > len(entry.unknown):
            gaps += missing - len(entry.unknown)
            hole = next((v for v in range(low + 1, high + 1) if v not in good), None)
            first = first or f"value {hole} of '{key}' was not returned to any request"
    numbers = {"doubles": doubles, "outside": outside, "gaps": gaps}
    if doubles or outside or gaps:
        return finding(
            cell,
            names.VALUE_SEQUENCE,
            "fail",
            f"{doubles:,} values returned twice, {outside:,} out of range, {gaps:,} not returned; {first}",
            **numbers,
        )
    acknowledged = sum(len(entry.ok) for entry in keys.values())
    if not acknowledged:
        return finding(cell, names.VALUE_SEQUENCE, "unknown", "no increment was acknowledged", **numbers)
    return finding(
        cell, names.VALUE_SEQUENCE, "pass", f"{acknowledged:,} values, each returned exactly once", **numbers
    )


def _first_wrong(samples: Samples, key: str, rows: Iterable[int], low: int, high: int) -> str:
    """The first request whose value is outside low+1 … high, or was returned before."""
    owner: dict[int, int] = {}
    for row in rows:
        value = samples.value[row]
        if value is None or not low < value <= high:
            return f"request {samples.seq[row]} on '{key}' returned {value}, outside {low + 1}…{high}"
        if value in owner:
            both = f"requests {samples.seq[owner[value]]} and {samples.seq[row]}"
            return f"{both} on '{key}' both returned {value:,}"
        owner[value] = row
    return ""


def check_real_time_order(
    cell: Cell,
    samples: Samples | OutcomeCounts,
    evidence: Evidence = NO_EVIDENCE,
    *,
    op: str = "increment",
    clock_shared: bool = False,
) -> Finding:
    """A request that ended before another of its key was sent has the smaller value; unknown ones fill gaps in time.

    Times of different load hosts are compared only if they have one clock (`clock_shared`).
    """
    if isinstance(samples, Counter):
        return no_samples(cell, names.REAL_TIME_ORDER)
    samples = distinct(samples)
    violations = compared = 0
    first = ""
    apart = not clock_shared and len(set(samples.load_host)) > 1
    for key, entry in _by_key(samples, op).items():
        initial = evidence.initial.get(key, 0)
        valued = [row for row in entry.ok if samples.value[row] is not None]
        groups = by_load_host(samples, valued) if apart else {"": valued}
        compared += len(valued)
        for rows in groups.values():
            for ended, row in back_in_time(samples, rows):
                violations += 1
                first = first or (
                    f"on '{key}' request {samples.seq[ended]} had ended with {samples.value[ended]:,} "
                    f"before request {samples.seq[row]} was sent, which returned {samples.value[row]:,}"
                )
        unknown = by_load_host(samples, entry.unknown) if apart else {"": entry.unknown}
        least = [v for host, rows in unknown.items() for v in floors(samples, groups.get(host, ()), rows, initial)]
        late, gap = unexplained(values_of(samples, valued), least, initial)
        violations += late
        if late:
            first = first or (
                f"value {gap:,} of '{key}' was not returned, and too few of {plural(len(least), 'unknown request')} "
                "were sent before a larger value was returned"
            )
    if violations:
        text = f"{violations:,} values violate real-time order; {first}"
        return finding(cell, names.REAL_TIME_ORDER, "fail", text, violations=violations)
    if not compared:
        return finding(cell, names.REAL_TIME_ORDER, "unknown", "no increment was acknowledged", violations=0)
    text = f"{compared:,} values respect real-time order: the counter is linearizable"
    if apart:
        text = (
            f"{compared:,} values respect real-time order within each load host: the counter is linearizable as each "
            "of them sees it; their clocks differ, so times of different load hosts are not compared"
        )
    return finding(cell, names.REAL_TIME_ORDER, "pass", text, violations=0)
