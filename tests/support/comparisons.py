"""Runs whose figures are simulated, to be compared."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.compare.cells import RunData, comparable_name
from harness.compare.compare import Comparison, compare
from harness.compare.rows import METRICS
from harness.record import TrialResult
from harness.store.csv_rows import from_columns

MANIFEST: dict[str, Any] = {
    "format": 1,
    "status": "finished",
    "verdict": "pass",
    "code": {"commit": "abc123"},
    "rig": {"provider": "podman", "hosts": [{"name": "db", "role": "db", "cpus": 2, "kernel": "6.1.0"}]},
    "settings": {"postgres": {}},
}
LEVEL = {"rps": 3000.0, "p50_ms": 5.0, "p95_ms": 9.0, "p99_ms": 14.0}


def read(columns: Mapping[str, Any]) -> TrialResult:
    """Returns the row of trials.csv with these columns, as the store reads it."""
    return from_columns(Path("trials.csv"), 2, {name: as_written(value) for name, value in columns.items()})


def as_written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "true", False: "false"}[value]
    return str(value)


def run(
    trials: Sequence[Mapping[str, Any]], run_id: str = "A", *, floor: float | None = 1.04, **changes: Any
) -> RunData:
    """Returns a run whose rig has this noise floor for each of its cells; None: none was measured."""
    rows = [read(each) for each in trials]
    measured = {} if floor is None else floors({comparable_name(row.cell) for row in rows}, floor)
    return RunData(run_id=run_id, manifest=copy.deepcopy(MANIFEST) | {"noise_floor": measured} | changes, rows=rows)


def floors(cells: Iterable[str], floor: float) -> dict[str, float]:
    """Returns what `bench --aa 5` stores for the cells."""
    return {f"{metric} {cell}": floor for cell in cells for metric in METRICS} | {f"runs {cell}": 5.0 for cell in cells}


def trial(number: int, *, scenario: str = "throughput", **figures: Any) -> dict[str, Any]:
    """Returns a trial in which each client sends one request: its rate and its latencies are compared."""
    cell = {"scenario": scenario, "backend": "postgres", "strategy": "upsert", "hosts": 4, "pool": 5}
    load = {"mode": "closed", "clients": 64, "rate": "", "requests": 64, "wanted_seconds": "", "params": "{}"}
    columns = {"order": 1, "trial": number, "seed": 1, "steady": "", "valid": "true", "reason": ""}
    return cell | load | columns | LEVEL | figures


def closed(number: int, **figures: Any) -> dict[str, Any]:
    """Returns a trial of a closed loop, whose latencies omit stalls."""
    return trial(number, **{"requests": ""} | figures)


def offered(number: int, rate: float = 2000.0, **figures: Any) -> dict[str, Any]:
    """Returns a trial of an open load at a rate that is a share of a closed cell's."""
    load = {"mode": "open", "rate": rate, "requests": "", "wanted_seconds": 1.0, "params": '{"rate_share": 0.7}'}
    return trial(number, **load | figures)


def simulated(
    rng: random.Random, *, trials: int = 8, noise: float = 0.03, slower: float = 1.0, cells: int = 1
) -> list[dict[str, Any]]:
    """Returns trials whose figures have independent noise; `slower` divides rates and multiplies latencies."""
    effect = {"rps": 1 / slower, "p50_ms": slower, "p95_ms": slower, "p99_ms": slower}
    return [
        trial(
            number,
            scenario=f"cell-{cell}",
            **{name: level * effect[name] * math.exp(rng.gauss(0, noise)) for name, level in LEVEL.items()},
        )
        for cell in range(cells)
        for number in range(trials)
    ]


def compared(seed: int = 1, *, slower: float = 1.0, trials: int = 8, cells: int = 1, **changes: Any) -> Comparison:
    rng = random.Random(seed)
    a = run(simulated(rng, trials=trials, cells=cells), **changes)
    b = run(simulated(rng, trials=trials, cells=cells, slower=slower), "B", **changes)
    return compare(a, b)


def verdicts(comparison: Comparison) -> set[str]:
    return {row.verdict for row in comparison.rows}


def sides(rng: random.Random, number: int = 3, *, between: float = 0.0, slower: float = 1.0) -> list[list[RunData]]:
    """Returns runs of A and of B, each run with its own speed; B is slower."""
    return [
        [
            run(simulated(rng, slower=factor * math.exp(rng.gauss(0, between))), f"{name}{n}", floor=None)
            for n in range(1, number + 1)
        ]
        for name, factor in (("A", 1.0), ("B", slower))
    ]


SLOW = {"p50_ms": 50.0, "p95_ms": 90.0, "p99_ms": 140.0}
