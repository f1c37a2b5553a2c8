"""The checker: from a history of list appends and reads to its anomalies, after Elle (VLDB 2020). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.histories import cycles, versions
from harness.histories.graph import Graph, build, explain, real_time
from harness.histories.transaction import Anomaly, Step, Txn
from harness.histories.versions import Reading, read_history

ALWAYS_FORBIDDEN = (
    versions.INTERNAL, versions.DUPLICATE, versions.INCOMPATIBLE, versions.INVENTED, versions.LOST, versions.STALE,
    cycles.G0, versions.G1A, versions.G1B, cycles.G1C,
)  # fmt: skip
_SNAPSHOT = (*ALWAYS_FORBIDDEN, versions.LOST_UPDATE, cycles.G_SINGLE, cycles.G_NONADJACENT)
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "READ UNCOMMITTED": ALWAYS_FORBIDDEN,
    "READ COMMITTED": ALWAYS_FORBIDDEN,
    "REPEATABLE READ": _SNAPSHOT,
    "SERIALIZABLE": (*_SNAPSHOT, cycles.G2_ITEM),
}
"""Level -> the anomalies that PostgreSQL excludes (manual, 13.2): READ UNCOMMITTED is READ COMMITTED there, and
REPEATABLE READ is snapshot isolation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What a history proves. `anomalies`: at least one of each kind found; cycles are the shortest found.

    `strict`: a cycle that only real time closes: the history is serializable, though not strictly.
    """

    anomalies: tuple[Anomaly, ...]
    counts: Mapping[str, int]
    """Kind -> number of anomalies that single reads prove; 1 for a cycle."""
    strict: Anomaly | None
    committed: int
    unknown: int
    """Transactions of unknown outcome, of which `resolved` were read, so they are applied."""
    resolved: int
    failed: int
    operations: int
    reads: int

    def forbidden(self, level: str) -> list[Anomaly]:
        """The first anomaly of each kind that the level forbids."""
        return [each for each in self.anomalies if each.kind in FORBIDDEN[level]]

    def first(self, kind: str) -> Anomaly | None:
        """The anomaly of this kind, if it was found."""
        return next((each for each in self.anomalies if each.kind == kind), None)


def analyse(txns: Sequence[Txn]) -> Analysis:
    """Checks a history, in any order of its transactions. Raises ValueError if its elements are not unique.

    Linear in the number of operations, besides the search of short cycles where there are any.
    """
    txns = sorted(txns, key=lambda txn: (txn.sent_us, txn.seq))
    reading = read_history(txns)
    graph = build(txns, reading)
    seen = {writer for each in reading.versions.values() for writer in each.writers}
    first: dict[str, Anomaly] = {}
    counts: dict[str, int] = {}
    for anomaly in reading.anomalies:
        first.setdefault(anomaly.kind, anomaly)
        counts[anomaly.kind] = counts.get(anomaly.kind, 0) + 1
    found = cycles.shortest_cycles(graph)
    for kind in cycles.CLASSES:
        if kind in found:
            first[kind] = _anomaly(kind, txns, reading, graph, found[kind])
            counts[kind] = 1
    strict: Anomaly | None = None
    if not found:
        applied = [txn.outcome == "ok" or index in seen for index, txn in enumerate(txns)]
        cycle = cycles.real_time_cycle(graph, real_time(txns, applied))
        strict = _anomaly(cycles.REAL_TIME, txns, reading, graph, cycle) if cycle else None
    unknown = [index for index, txn in enumerate(txns) if txn.outcome == "unknown"]
    return Analysis(
        anomalies=tuple(first.values()),
        counts=counts,
        strict=strict,
        committed=sum(txn.outcome == "ok" for txn in txns),
        unknown=len(unknown),
        resolved=sum(index in seen for index in unknown),
        failed=sum(txn.outcome == "fail" for txn in txns),
        operations=sum(len(txn.ops) for txn in txns),
        reads=len(reading.reads),
    )


def _anomaly(kind: str, txns: Sequence[Txn], reading: Reading, graph: Graph, cycle: cycles.Cycle) -> Anomaly:
    steps = []
    for before, after in cycles.edges_of(cycle):
        why = graph.kind(before, after)
        text = explain(txns, reading, before, after, why)
        steps.append(Step(before=txns[before].seq, after=txns[after].seq, kind=why, why=text))
    chain = " ".join(f"T{step.before} -{step.kind}->" for step in steps)
    members = tuple(txns[index] for index in cycle)
    return Anomaly(kind=kind, detail=f"{chain} T{steps[0].before}", txns=members, steps=tuple(steps))
