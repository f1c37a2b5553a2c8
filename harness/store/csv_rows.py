"""The columns of a run's tables, and the conversion of a trial to a row of trials.csv and back. Pure.

Columns may be added, but not renamed: users' tools read them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.analysis.figures import FIGURES
from harness.errors import FormatError
from harness.model import Cell, Mode, Trial
from harness.record import TrialResult, Validity
from harness.text import printable

TRIAL_COLUMNS = (
    "order", "scenario", "backend", "strategy", "hosts", "pool", "mode", "clients", "rate", "requests",
    "wanted_seconds", "params", "trial", "seed", *FIGURES, "steady", "valid", "reason", "doubted",
)  # fmt: skip
TIMELINE_COLUMNS = ("order", "lane", "phase", "second", "sent", "ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms")
TELEMETRY_COLUMNS = ("second", "order", "host", "metric", "value")


_DIGITS = 15
"""Most digits of a whole number in a table; every count, seed and size has fewer."""
_QUOTED = ("=", "+", "-", "@", "'")


def as_cell(value: Any) -> Any:
    """A table cell without line breaks, and without text that a spreadsheet runs as a formula (see `as_text`)."""
    if not isinstance(value, str):
        return value
    flat = " ".join(value.split())
    return f"'{flat}" if flat.startswith(_QUOTED) else flat


def as_text(cell: str | None) -> str:
    """The text that `as_cell` got, except for line breaks."""
    return (cell or "").removeprefix("'")


def as_columns(row: TrialResult) -> dict[str, object]:
    """A trial as a row of trials.csv, by column name."""
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
        "doubted": "true" if row.validity in ("timing_doubtful", "generator_bound") else "false",
    } | {
        name: round(value, 6) if value is not None and math.isfinite(value) else None
        for name, value in row.figures.items()
    }


def from_columns(path: Path, line: int, raw: Mapping[str, str | None]) -> TrialResult:
    """A trial from a row of trials.csv. Raises FormatError with file and line."""

    def number(name: str) -> float | None:
        return _number(name, raw.get(name))

    known = set(TRIAL_COLUMNS)
    try:
        figures = {name: number(name) for name in FIGURES if name in raw}
        cell = Cell(
            scenario=as_text(raw["scenario"]),
            backend=as_text(raw["backend"]),  # type: ignore[arg-type]  # an unknown name is kept
            strategy=as_text(raw["strategy"]),
            hosts=_whole("hosts", raw["hosts"]),
            pool=_whole("pool", raw["pool"]),
            mode=_mode(raw["mode"], number("rate")),
            clients=_whole("clients", raw["clients"]),
            rate=number("rate"),
            requests=_whole("requests", raw["requests"]) if raw.get("requests") else None,
            seconds=number("wanted_seconds"),
            params=_params(as_text(raw.get("params"))),
        )
        trial = Trial(
            cell=cell,
            number=_whole("trial", raw["trial"]),
            order=_whole("order", raw.get("order") or str(line - 1)),
            seed=_whole("seed", raw.get("seed")),
        )
        return TrialResult(
            trial=trial,
            validity=_validity(raw),
            reasons=(reason,) if (reason := as_text(raw.get("reason"))) else (),
            steady=_truth("steady", raw["steady"]) if raw.get("steady") else None,
            figures=figures,
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        missing = f"no column {error}" if isinstance(error, KeyError) else printable(error, 200)
        raise FormatError(f"{path}:{line}: {missing}", hint=f"columns: {', '.join(sorted(known))}") from error


def _whole(name: str, text: str | None) -> int:
    if text and (len(text) > _DIGITS or not text.isdecimal()):
        raise ValueError(f"{name} is {text!r}, expected a whole number of at most {_DIGITS} digits")
    return int(text or 0)


def _number(name: str, text: str | None) -> float | None:
    value = float(text) if text else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    return value


def _truth(name: str, text: str | None) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{name} is {text!r}, not true or false")
    return text == "true"


def _validity(raw: Mapping[str, str | None]) -> Validity:
    """The validity that `as_columns` stored in the columns `valid`, `reason` and `doubted` (absent from old runs)."""
    doubted = _truth("doubted", raw["doubted"]) if raw.get("doubted") else False
    if _truth("valid", raw["valid"]):
        return "timing_doubtful" if doubted or raw.get("reason") else "valid"
    return "generator_bound" if doubted else "broken"


def _mode(text: str | None, rate: float | None) -> Mode:
    if text == "open" and rate is not None:
        return "open"
    if text == "closed":
        return "closed"
    raise ValueError(f"mode is {text!r} with rate {rate}")


def _params(text: str) -> dict[str, object]:
    params = json.loads(text or "{}")
    if not isinstance(params, dict):
        raise TypeError(f"params is {text}, not an object")
    return params
