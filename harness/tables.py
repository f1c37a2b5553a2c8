"""The tables of a run: their columns, and a trial as a row of trials.csv and back. Pure.

Columns may be added, not renamed: other people's tools read them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import FormatError
from harness.metrics import FIGURES, TrialRow
from harness.model import Cell, Trial

TRIAL_COLUMNS = (
    "order", "scenario", "backend", "strategy", "hosts", "pool", "mode", "clients", "rate", "requests",
    "wanted_seconds", "params", "trial", "seed", *FIGURES, "steady", "valid", "reason",
)  # fmt: skip
TIMELINE_COLUMNS = ("order", "lane", "phase", "second", "sent", "ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms")
TELEMETRY_COLUMNS = ("second", "order", "host", "metric", "value")


def as_columns(row: TrialRow) -> dict[str, Any]:
    """A row of trials.csv by column name."""
    cell, trial = row.cell, row.trial
    return {
        "order": trial.order,
        "scenario": cell.scenario,
        "backend": cell.backend,
        "strategy": cell.strategy,
        "hosts": cell.hosts,
        "pool": cell.pool,
        "mode": cell.mode,
        "clients": cell.clients,
        "rate": cell.rate,
        "requests": cell.requests,
        "wanted_seconds": cell.seconds,
        "params": json.dumps(dict(cell.params), sort_keys=True),
        "trial": trial.number,
        "seed": trial.seed,
        "steady": "" if row.steady is None else str(row.steady).lower(),
        "valid": "true" if row.valid else "false",
        "reason": row.reason,
    } | {name: None if value is None else round(value, 6) for name, value in row.figures.items()}


def from_columns(path: Path, line: int, raw: Mapping[str, str | None]) -> TrialRow:
    """The trial of a row of trials.csv. Raises FormatError with file and line."""

    def number(name: str) -> float | None:
        text = raw.get(name)
        return float(text) if text else None

    known = set(TRIAL_COLUMNS)
    try:
        figures = {name: number(name) for name in FIGURES if name in raw}
        cell = Cell(
            scenario=raw["scenario"] or "",
            backend=raw["backend"] or "",  # type: ignore[arg-type]  # judged by the reader of the table
            strategy=raw["strategy"] or "",
            hosts=int(raw["hosts"] or 0),
            pool=int(raw["pool"] or 0),
            mode="open" if raw["mode"] == "open" else "closed",
            clients=int(raw["clients"] or 0),
            rate=number("rate"),
            requests=int(raw["requests"] or 0) if raw.get("requests") else None,
            seconds=number("wanted_seconds"),
            params=json.loads(raw.get("params") or "{}"),
        )
        trial = Trial(
            cell=cell,
            number=int(raw["trial"] or 0),
            order=int(raw.get("order") or line - 1),
            seed=int(raw.get("seed") or 0),
        )
        return TrialRow(trial=trial, valid=raw["valid"] == "true", reason=raw.get("reason") or "", figures=figures)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        missing = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"{path}:{line}: {missing}", hint=f"columns: {', '.join(sorted(known))}") from error
