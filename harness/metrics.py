"""From what the load hosts counted to figures: the columns of trials.csv. Pure.

Latency counts from the instant a request was due, service time from the send; both are kept. A failed
request counts like any other: nothing is dropped. Only the measured phase counts, never the warm-up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.checks import Samples
from harness.model import Cell, Evidence, Tally, Trial

UNEVEN = 0.15
"""Hosts of one role that differ by more than this share are named."""
CANARIES = {"cpu_ms": "CPU canary", "fsync_ms": "fsync", "rtt_ms": "round trip"}
GRAIN_MS = {"fsync_ms": 1.0, "rtt_ms": 0.2}
"""Differences that mean nothing, whatever share they are: medians of five are no steadier on a shared machine."""
CAPTURED = ("retries", "transactions", "pool_wait_ms")
FIGURES = (
    "sent", "ok", "fail", "unknown", "seconds", "rps",
    "mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms",
    "service_mean_ms", "service_p50_ms", "service_p95_ms", "service_p99_ms", "lag_p99_ms",
    *CAPTURED,
)  # fmt: skip
"""The measured columns of trials.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """A trial's figures by column name of trials.csv (None: not measured, or too few samples to carry it)."""

    trial: Trial
    valid: bool = True
    reason: str = ""
    doubted: bool = False
    """Whether the `reason` is the generator's alone, which may have been the limit, and nothing else is wrong. Only
    such a trial, where that makes it invalid, may be measured once more."""
    steady: bool | None = None
    """Whether the measured phase began from a steady state; None without a warm-up.

    One that did not is valid all the same: on a small machine, or one that is shared, the noise of a few seconds is
    enough to say so, and what was counted is true. The run's warnings name the cells (`unsteady`), and a claim about
    time that rests on nothing else says so (`never_steady`).
    """
    figures: Mapping[str, float | None]

    @property
    def cell(self) -> Cell:
        """The cell it repeats."""
        return self.trial.cell

    @property
    def is_timed(self) -> bool:
        """See `times_hold`."""
        return times_hold(self.valid, self.reason)

    def figure(self, name: str) -> float | None:
        """One figure, None where it is absent."""
        return self.figures.get(name)


def times_hold(valid: bool, reason: object) -> bool:
    """Whether a trial's times may be used: it is valid, and the generator was above suspicion too. Where a scenario's
    criteria rest on counts, a trial stays valid with a `reason` to doubt its times.
    """
    return valid and not reason


def unreplaced(rows: Iterable[TrialRow]) -> list[TrialRow]:
    """The invalid trials that were not made up for by a valid one of the same number."""
    rows = list(rows)
    valid = {(row.cell.name, row.trial.number) for row in rows if row.valid}
    return [row for row in rows if not row.valid and (row.cell.name, row.trial.number) not in valid]


def unsteady(rows: Iterable[TrialRow]) -> list[str]:
    """A sentence for each cell of which valid trials began to measure before the load was steady."""
    said = []
    for name, cell_rows in _warmed_up(rows).items():
        began = [row.steady for row in cell_rows]
        if not all(began):
            some = "the trial" if len(began) == 1 else f"{began.count(False)} of {len(began)} trials"
            said.append(f"{name}: {some} began unsteady: throughput or p95 still moved at the end of the warm-up")
    return said


def never_steady(rows: Iterable[TrialRow]) -> bool:
    """Whether of some cell no valid trial began from a steady state, although all were warmed up."""
    return any(not any(row.steady for row in of_cell) for of_cell in _warmed_up(rows).values())


def _warmed_up(rows: Iterable[TrialRow]) -> dict[str, list[TrialRow]]:
    """Cell -> its valid trials that had a warm-up."""
    cells: dict[str, list[TrialRow]] = {}
    for row in rows:
        if row.valid and row.steady is not None:
            cells.setdefault(row.cell.name, []).append(row)
    return cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that a check may look at: the row, the samples of each lane, and the layers' evidence.

    `tallies`: of the lanes whose samples were not kept, how the requests of each key ended.
    """

    row: TrialRow
    lanes: Mapping[str, Samples]
    evidence: Evidence
    held_back: str = ""
    """What was saturated while the trial's load ran, in words, from its telemetry (harness/attribution.py)."""
    saturated: tuple[str, ...] | None = None
    """The same, the parts by name; None where it is not known."""
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    distilled: Mapping[str, float] = field(default_factory=dict)
    """Where trials are judged together: what the scenario took out of the samples (Scenario.distil)."""

    @property
    def cell(self) -> Cell:
        """The cell measured."""
        return self.row.cell

    @property
    def main(self) -> Samples:
        """The samples of the lane named `main`."""
        return self.lanes["main"]

    @property
    def requests(self) -> Samples | Tally:
        """The samples of the lane named `main`, or its tally where none were kept."""
        return self.main if "main" in self.lanes else self.tallies["main"]


def figures(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one lane, from its merged summary (harness/load/merge.py): they need no samples.

    Percentiles come from the histograms (three significant digits; None below the samples that carry them). `rps` is
    acknowledged requests a second of the measured window. What the app says of itself (database transactions and ms
    waited for a connection) is the mean over the requests whose answer said it, refused or not; retries, all that were
    said, are per acknowledged request: what a commit costs.
    """
    counts = summary["measure"]
    row: dict[str, float | None] = {name: float(counts[name]) for name in ("sent", "ok", "fail", "unknown")}
    row["seconds"], row["rps"] = summary["seconds"], summary["rps"]
    for prefix, part in (("", summary["latency_ms"]), ("service_", summary["service_ms"])):
        for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms"):
            if f"{prefix}{name}" in FIGURES:
                row[f"{prefix}{name}"] = part[name]
    row["lag_p99_ms"] = summary["lag_ms"]["p99_ms"]
    for name in CAPTURED:
        total, number = summary["captured"].get(name, (0.0, 0))
        per = counts["ok"] if name == "retries" else number
        row[name] = total / per if number and per else None
    return row


def uneven_hosts(canaries: Mapping[str, Mapping[str, float]], roles: Mapping[str, str]) -> list[str]:
    """A sentence for each role and canary whose slowest host takes over 15 % longer than the fastest; one for each host
    that has no round trip, where others have. Pure."""
    said = []
    for role in sorted(set(roles.values())):
        hosts = {host: values for host, values in canaries.items() if roles.get(host) == role}
        for name, word in CANARIES.items():
            times = {host: values[name] for host, values in hosts.items() if name in values}
            if len(times) < 2:
                continue
            fastest = min(times, key=lambda host: times[host])
            slow = [f"{host} {ms:.3g} ms" for host, ms in times.items() if _is_more(name, times[fastest], ms)]
            if slow:
                against = f"{fastest} {times[fastest]:.3g} ms"
                said.append(f"{role} hosts are unlike: {word} {', '.join(slow)} against {against}")
    unanswered = [host for host, values in canaries.items() if len(canaries) > 1 and "rtt_ms" not in values]
    return said + [
        f"{host}: no round trip was measured, its neighbour's SSH port did not answer" for host in unanswered
    ]


def drifted_hosts(before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence for each canary that took over 15 % longer at one end of the run than at the other, with the hosts
    of which that is so. Pure."""
    said = []
    for name, word in CANARIES.items():
        pairs = {host: (before.get(host, {}).get(name), values.get(name)) for host, values in after.items()}
        moved = [
            f"{host} {then:.3g} ms, then {now:.3g} ms"
            for host, (then, now) in pairs.items()
            if then is not None and now is not None and _is_more(name, min(then, now), max(then, now))
        ]
        if moved:
            said.append(f"hosts are not as they were before the trials: {word} {'; '.join(moved)}")
    return said


def _is_more(name: str, less_ms: float, ms: float) -> bool:
    return ms > (1 + UNEVEN) * less_ms and ms - less_ms > GRAIN_MS.get(name, 0.0)
