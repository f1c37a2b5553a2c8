"""Histories of requests for the tests of checks, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.model import Cell, Finding, Trial
from harness.record import Evidence

CELL = Cell(scenario="concurrent-writes", hosts=2, clients=3, requests=3, params={"keys": "hot"})
TRIAL = Trial(cell=CELL, number=1, order=1, seed=7)


@dataclass
class Columns:
    """Samples as columns, made by `history`."""

    seq: list[int] = field(default_factory=list)
    op: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    host: list[str] = field(default_factory=list)
    due_us: list[int] = field(default_factory=list)
    sent_us: list[int] = field(default_factory=list)
    done_us: list[int] = field(default_factory=list)
    outcome: list[str] = field(default_factory=list)
    status: list[int] = field(default_factory=list)
    value: list[int | None] = field(default_factory=list)
    error: list[str] = field(default_factory=list)
    id: list[str] = field(default_factory=list)
    load_host: list[str] = field(default_factory=list)
    phase: list[str] = field(default_factory=list)
    captured: dict[str, list[float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seq)


def history(*requests: tuple[int, int, str, int | None], **columns: list[Any]) -> Columns:
    """Requests as (sent_us, done_us, outcome, value) on one key; any column can be replaced."""
    n = len(requests)
    made = Columns(
        seq=list(range(n)),
        op=["increment"] * n,
        key=["hot-0"] * n,
        host=[f"app-{i % 2 + 1}" for i in range(n)],
        due_us=[r[0] for r in requests],
        sent_us=[r[0] for r in requests],
        done_us=[r[1] for r in requests],
        outcome=[r[2] for r in requests],
        status=[200 if r[2] == "ok" else 0 for r in requests],
        value=[r[3] for r in requests],
        error=["" if r[2] == "ok" else "timeout" for r in requests],
        id=[""] * n,
        load_host=["load-1"] * n,
        phase=["measure"] * n,
    )
    for name, values in columns.items():
        setattr(made, name, values)
    return made


def serial(values: list[int | None], outcome: str = "ok") -> Columns:
    """Requests one after another that return `values`."""
    return history(*((10 * i, 10 * i + 5, outcome, value) for i, value in enumerate(values)))


def grown(n: int, key: str = "hot-0", **more: Any) -> Evidence:
    """The key's value went from 0 to `n` in the database."""
    return Evidence(initial={}, final={key: n}, **more)


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {f.check: f.verdict for f in findings}
