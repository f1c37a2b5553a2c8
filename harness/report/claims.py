"""The original page's table of five claims beside what was measured; a claim that does not hold is marked so. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.report.blocks import Table, Value, table
from harness.report.phrase import BACKEND_NAMES, MINUS, NOTHING, change, count, number, percent
from harness.report.summary import CellSummary, ScenarioSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A row of the page's table: PostgreSQL's claimed figure, the claimed change as a share of SQLite's.

    `better`: the direction of improvement. The claim holds if PostgreSQL reaches the figure and the change is at
    least as large as claimed.
    """

    title: str
    claimed: tuple[str, str, str]
    figure: float
    factor: float
    better: str
    measure: Callable[[Sequence[CellSummary]], float | None]
    show: Callable[[float | None], str]

    def judge(self, before: float | None, after: float | None) -> tuple[str, str]:
        """(verdict, why): pass, fail, or unknown where one side was not measured."""
        if after is None:
            return "unknown", "PostgreSQL's figure was not measured"
        reached = after >= self.figure if self.better == "higher" else after <= self.figure
        if before is None:
            return ("unknown" if reached else "fail"), (
                "SQLite's figure was not measured" if reached else f"PostgreSQL does not reach {self.claimed[1]}"
            )
        if not before and self.better == "lower":
            return "fail", "naive SQLite had none either"
        grown = after >= before * self.factor if self.better == "higher" else after <= before * self.factor
        missed = [
            text
            for held, text in (
                (reached, f"PostgreSQL does not reach {self.claimed[1]}"),
                (grown, f"the change is smaller than {self.claimed[2]}"),
            )
            if not held
        ]
        return ("fail", "; ".join(missed)) if missed else ("pass", "")


def _share(name: str) -> Callable[[Sequence[CellSummary]], float | None]:
    def share(cells: Sequence[CellSummary]) -> float | None:
        sent = sum(cell.sent or 0 for cell in cells)
        ok = sum(cell.ok or 0 for cell in cells)
        return None if not sent else (ok if name == "ok" else sent - ok) / sent

    return share


def _median(name: str) -> Callable[[Sequence[CellSummary]], float | None]:
    return lambda cells: cells[0].medians.get(name) if len(cells) == 1 else None


def _most_served(cells: Sequence[CellSummary]) -> float | None:
    """The largest number of clients at once at which every request was acknowledged; None if that never was."""
    served = [cell.cell.clients for cell in cells if cell.sent and cell.ok == cell.sent and cell.cell.mode == "closed"]
    return float(max(served)) if served else None


CLAIMS: tuple[Claim, ...] = (
    Claim(
        title="Success rate of concurrent writes",
        claimed=("30 %", "100 %", "+233 %"),
        figure=1.0, factor=1 / 0.3, better="higher",
        measure=_share("ok"), show=percent,
    ),
    Claim(
        title="Mean response time, ms",
        claimed=("500 ms", "50 ms", f"{MINUS}90 %"),
        figure=50.0, factor=0.1, better="lower",
        measure=_median("mean_ms"), show=number,
    ),
    Claim(
        title="Throughput, requests/s",
        claimed=("100 req/s", "1,000 req/s", "+900 %"),
        figure=1000.0, factor=10.0, better="higher",
        measure=_median("rps"), show=number,
    ),
    Claim(
        title="Error rate",
        claimed=("15 %", "0.1 %", f"{MINUS}99.3 %"),
        figure=0.001, factor=1 - 0.993, better="lower",
        measure=_share("not ok"), show=percent,
    ),
)  # fmt: skip

CONNECTIONS = Claim(
    title="Connections at once, all served",
    claimed=("1", "100+", "+9,900 %"),
    figure=100.0, factor=100.0, better="higher",
    measure=_most_served, show=count,
)  # fmt: skip
"""Over all loads of the scenario: the largest at which every request was acknowledged."""


def claims_tables(summary: ScenarioSummary) -> Iterator[Table]:
    """One table for each load that naive SQLite and PostgreSQL were both put under."""
    loads: dict[tuple[object, ...], dict[str, list[CellSummary]]] = {}
    for cell in summary.cells:
        c = cell.cell
        load = (c.hosts, c.mode, c.clients, c.rate, c.requests, c.seconds, tuple(sorted(map(str, c.params.items()))))
        loads.setdefault(load, {}).setdefault(c.backend, []).append(cell)
    for backends in loads.values():
        naive, tuned = backends.get("sqlite-naive", []), backends.get("sqlite-tuned", [])
        for postgres in backends.get("postgres", []):
            if not naive:
                continue
            rows = [_row(claim, naive, tuned, [postgres]) for claim in CLAIMS]
            everywhere = [
                [cell for cell in summary.cells if cell.cell.backend == backend]
                for backend in ("sqlite-naive", "sqlite-tuned", "postgres")
            ]
            rows.append(_row(CONNECTIONS, *everywhere))
            yield table(
                f"The original page's claims, measured: {postgres.label or summary.common}",
                (
                    "metric", BACKEND_NAMES["sqlite-naive"], BACKEND_NAMES["sqlite-tuned"],
                    BACKEND_NAMES["postgres"], "change from naive", "the page claims", "does the claim hold?",
                ),
                rows,
                note="A claim holds if PostgreSQL reaches the figure claimed and the change from naive SQLite is at "
                "least as large as claimed. Connections at once: the largest number of clients tried in this "
                "scenario at which every request was acknowledged.",
            )  # fmt: skip


def _row(
    claim: Claim, naive: Sequence[CellSummary], tuned: Sequence[CellSummary], postgres: Sequence[CellSummary]
) -> list[Value]:
    before, between, after = (claim.measure(cells) for cells in (naive, tuned, postgres))
    verdict, why = claim.judge(before, after)
    tried = max((cell.cell.clients for cell in postgres), default=0)
    if claim is CONNECTIONS and verdict == "fail" and after == tried:
        verdict, why = "unknown", f"no more than {tried:,} were tried"
    said = {"pass": "holds", "fail": "does not hold", "unknown": "not measured"}[verdict]
    return [
        Value(claim.title),
        *(Value(claim.show(value)) for value in (before, between, after)),
        Value(change(before, after) if before else NOTHING),
        Value(" → ".join(claim.claimed[:2]), claim.claimed[2]),
        Value(said, why, verdict),
    ]
