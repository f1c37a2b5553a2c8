"""The columns of a run's tables, and the conversion of a trial to a row of trials.csv and back. Pure.

Columns may be added, but not renamed: users' tools read them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.analysis.figures import FIGURES, LATER_FIGURES, without_thin_percentiles
from harness.errors import FormatError
from harness.model import Cell, Mode, Trial
from harness.record import TrialResult, Validity
from harness.text import printable

TRIAL_COLUMNS = (
    "order", "scenario", "backend", "strategy", "hosts", "pool", "mode", "clients", "rate", "requests",
    "wanted_seconds", "params", "trial", "seed", *FIGURES, "steady", "valid", "reason", "doubted",
    *LATER_FIGURES,
)  # fmt: skip
LATER_COLUMNS = ("service_mean_ms", "doubted", *LATER_FIGURES)
"""Columns that older runs do not have."""
MAX_TRIALS = 20_000
TIMELINE_COLUMNS = ("order", "lane", "phase", "second", "sent", "ok", "fail", "unknown", "p50_ms", "p95_ms", "p99_ms")
TELEMETRY_COLUMNS = ("second", "order", "host", "metric", "value")


_DIGITS = 15
"""Most digits of a whole number in a table; every count, seed and size has fewer."""
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,30})(?:\.(?:0|\d{0,30}[1-9]))?(?:e[+-]\d{2,3})?", re.ASCII)
"""As Python prints numbers: no separator of thousands, no 1E+05, and no zero at the end but in `1.0`."""
COUNTS = ("sent", "ok", "fail", "unknown")
_MAX_PARAMS = 20_000
"""Characters of the column `params`."""
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


def from_columns(path: Path, line: int, raw: Mapping[str, str]) -> TrialResult:
    """A trial from a row of trials.csv that has all columns. Raises FormatError with file and line.

    A value in a form that `as_columns` does not write is refused: another program may have changed it (`1E+05`,
    `1.000`, an empty cell).
    """

    def number(name: str) -> float | None:
        return _number(name, raw[name])

    def whole(name: str) -> int:
        return _whole(name, raw[name])

    try:
        cell = Cell(
            scenario=_name("scenario", raw["scenario"]),
            backend=_name("backend", raw["backend"]),  # type: ignore[arg-type]  # an unknown name is kept
            strategy=as_text(raw["strategy"]),
            hosts=whole("hosts"),
            pool=whole("pool"),
            mode=_mode(raw["mode"], number("rate")),
            clients=whole("clients"),
            rate=number("rate"),
            requests=whole("requests") if raw["requests"] else None,
            seconds=number("wanted_seconds"),
            params=_params(as_text(raw["params"])),
        )
        trial = Trial(cell=cell, number=whole("trial"), order=whole("order"), seed=whole("seed"))
        return TrialResult(
            trial=trial,
            validity=_validity(raw),
            reasons=(reason,) if (reason := as_text(raw["reason"])) else (),
            steady=_truth("steady", raw["steady"]) if raw["steady"] else None,
            figures=_figures(raw),
        )
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        problem = f"no column {error}" if isinstance(error, KeyError) else printable(error, 200)
        raise FormatError(f"{path}:{line}: {problem}", hint="was the table saved by another program?") from error


def _figures(raw: Mapping[str, str]) -> dict[str, float | None]:
    figures = {name: _number(name, raw[name]) for name in (*FIGURES, *LATER_FIGURES) if name in raw}
    for name in COUNTS:
        if (count := figures.get(name)) is not None and (count < 0 or count != int(count)):
            raise ValueError(f"{name} is {raw[name]!r}, not a number of requests")
    return without_thin_percentiles(figures)


def _name(column: str, text: str) -> str:
    name = as_text(text)
    if not name:
        raise ValueError(f"{column} is empty")
    return name


def _whole(name: str, text: str) -> int:
    if len(text) > _DIGITS or not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name} is {text!r}, expected a whole number of at most {_DIGITS} digits")
    return int(text)


def _number(name: str, text: str) -> float | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{name} is {text!r}, expected a number like 1234.5")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    return value


def _truth(name: str, text: str | None) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{name} is {text!r}, not true or false")
    return text == "true"


def _validity(raw: Mapping[str, str]) -> Validity:
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
    if len(text) > _MAX_PARAMS:
        raise ValueError(f"params has more than {_MAX_PARAMS:,} characters")
    params = json.loads(text or "{}", parse_constant=_finite, parse_float=_finite, parse_int=_bounded)
    if not isinstance(params, dict):
        raise TypeError(f"params is {text}, not an object")
    return params


def _bounded(text: str) -> int:
    if len(text) > _DIGITS + 1:
        raise ValueError(f"params has the number {text[:40]}, of more than {_DIGITS} digits")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"params has the number {text[:40]}")
    return value
