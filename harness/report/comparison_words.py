"""What a comparison found, in sentences: for all its rows, for those of a scenario, for those of a metric. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.compare.rows import METRICS, Row
from harness.text import plural

METRIC_NAMES: Mapping[str, str] = {
    "rps": "requests/s",
    "p50_ms": "p50 latency",
    "p95_ms": "p95 latency",
    "p99_ms": "p99 latency",
    "all": "all figures",
}
RIGHT_OF_ONE: Mapping[str, str] = {"rps": "more requests/s, which is better"}
"""What a ratio above 1 means; other metrics are latencies."""
LONGER = "a longer latency, which is worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Rows by verdict. `unjudged`: too few trials, invalid or MISSING; rows that are only shown are not counted."""

    faster: tuple[Row, ...]
    slower: tuple[Row, ...]
    same: tuple[Row, ...]
    unjudged: tuple[Row, ...]

    @property
    def total(self) -> int:
        """The number of rows about which something could be claimed."""
        return sum(map(len, (self.faster, self.slower, self.same, self.unjudged)))

    @property
    def verdict(self) -> str:
        """The verdict that a reader must see first, one of formatting.SYMBOLS."""
        if self.slower:
            return "slower"
        if self.unjudged or not self.total:
            return "not judged"
        return "faster" if self.faster else "no difference"


def tally(rows: Sequence[Row]) -> Tally:
    """Counts rows by verdict. A cell that only B has is no loss, and not counted."""
    by = {kind: tuple(row for row in rows if row.verdict == kind) for kind in ("faster", "slower", "~")}
    others = [row for row in rows if row.verdict not in (*by, "shown") and not row.new]
    return Tally(faster=by["faster"], slower=by["slower"], same=by["~"], unjudged=tuple(others))


def sentence(of: Tally, b: str, labels: Mapping[str, str], a: str = "A") -> str:
    """Returns `B is slower than A in 2 of 8 rows, most in p99 latency of upsert: 12.3%; …`."""
    if not of.total:
        return f"nothing is claimed about {b} and {a}: their figures are only shown, or only {b} has them"
    parts = list[str]()
    for word, rows in (("slower", of.slower), ("faster", of.faster)):
        if rows:
            most = max(rows, key=lambda row: row.change)
            where = f"{METRIC_NAMES.get(most.metric, most.metric)} of {labels.get(most.cell, most.cell)}"
            lead = f"{b} is {word} than {a}" if not parts else word
            parts.append(f"{lead} in {len(rows)} of {plural(of.total, 'row')}, most in {where}: {most.change:.1%}")
    if of.same:
        where = f"in {plural(len(of.same), 'row')}"
        parts.append(
            f"no difference is shown {where}" if parts else f"no difference between {b} and {a} is shown {where}"
        )
    if of.unjudged:
        first = of.unjudged[0]
        reason = f": {first.verdict}" + (f", {first.note}" if first.note else "")
        some = f"{plural(len(of.unjudged), 'row')} could not be judged"
        parts.append(f"{some}{reason}" if parts else f"{some} for {b} and {a}{reason}")
    return "; ".join(parts)


def title(of: Tally, metric: str, b: str) -> str:
    """Returns the finding of a picture: `Requests/s: B is slower in 1 of 3 rows`."""
    name = METRIC_NAMES.get(metric, metric)
    name = name if metric in METRICS and metric != "rps" else name[0].upper() + name[1:]
    claims = [f"{word} in {len(rows)}" for word, rows in (("slower", of.slower), ("faster", of.faster)) if rows]
    if claims:
        return f"{name}: {b} is {', '.join(claims)} of {plural(of.total, 'row')}"
    if of.same:
        return f"{name}: no difference is shown in {plural(len(of.same), 'row')}"
    return f"{name}: no row could be judged"
