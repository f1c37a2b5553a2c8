"""Stored trials grouped into cells, with their figures read strictly: what a comparison compares.

A figure that is not there stays away; a figure that cannot be one stops everything, because a median
over what is left of a damaged file would look like any other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import FormatError

_LARGEST = 1e15
"""A figure above it is damage, not a measurement: a millisecond count of 30,000 years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunData:
    """What a comparison needs of a stored run, as plain data: run.yml, and trials.csv by column name (DESIGN.md §6)."""

    run_id: str
    manifest: Mapping[str, Any]
    trials: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CellFigures:
    """The figures by metric of a cell's trials whose times may be used, and how many such trials there are.

    `refused`: of each, the share of its requests that was not acknowledged.
    """

    values: Mapping[str, Sequence[float]]
    valid: int
    refused: Sequence[float]


def by_cell(run: RunData, metrics: Iterable[str]) -> dict[str, CellFigures]:
    """The cells of a run in the order of their first trial; FormatError for a figure that cannot be one."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for trial in run.trials:
        grouped.setdefault(cell_of(trial), []).append(trial)
    cells = {}
    for name, trials in grouped.items():
        valid = [trial for trial in trials if is_timed(trial)]
        values = {
            metric: [
                number
                for trial in valid
                if (number := figure_of(trial.get(metric), run.run_id, name, metric)) is not None
            ]
            for metric in metrics
        }
        counts = [[figure_of(trial.get(key), run.run_id, name, key) for key in ("sent", "ok")] for trial in valid]
        refused = [max(0.0, 1 - ok / sent) for sent, ok in counts if sent and ok is not None]
        cells[name] = CellFigures(values=values, valid=len(valid), refused=refused)
    return cells


def is_timed(trial: Mapping[str, Any]) -> bool:
    """Whether the trial's times may be used: it is valid, and there is no reason to doubt its times."""
    return is_true(trial.get("valid", True)) and not trial.get("reason")


def cell_of(trial: Mapping[str, Any]) -> str:
    """The name under which trials of two runs are the same measurement: `Cell.name`, and how much was asked of a
    trial, the number of requests or else the seconds: the tail of 1,000 at once is not that of 100, and half a second
    sees no checkpoint.
    """
    load = ("rate", "r") if trial.get("mode") == "open" else ("clients", "c")
    columns = (("scenario", ""), ("backend", ""), ("strategy", ""), ("hosts", "h"), ("pool", "p"), load)
    parts = [f"{letter}{_plain(trial[column])}" for column, letter in columns if trial.get(column) not in (None, "")]
    params = trial.get("params") or {}
    if isinstance(params, str):
        params = _parsed(params)
    parts += [f"{key}={_plain(value)}" for key, value in sorted(params.items())]
    if trial.get("requests") not in (None, ""):
        parts.append(f"n{_plain(trial['requests'])}")
    elif trial.get("wanted_seconds") not in (None, ""):
        parts.append(f"s{_plain(trial['wanted_seconds'])}")
    return ".".join(parts)


def figure_of(value: object, run_id: str, cell: str, metric: str) -> float | None:
    """A stored figure: None where there is none, FormatError where it is none that could have been measured."""
    if value is None or value == "":
        return None
    if _is_number(value):
        number = float(value)  # type: ignore[arg-type]  # seen above
        if 0 <= number < _LARGEST:
            return number
    raise FormatError(
        f"run {run_id}, {cell}: {metric} is {value!r:.40}, which is no figure one can measure",
        hint="the stored file is damaged: take the run from its origin again",
    )


def _is_number(value: object) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))  # type: ignore[arg-type]  # or it raises
    except (TypeError, ValueError, OverflowError):
        return False


def _plain(value: object) -> str:
    """One spelling for one number: 4, 4.0 and "4" are the same column of two files."""
    return f"{float(value):.15g}" if _is_number(value) else str(value)  # type: ignore[arg-type]  # seen just before


def _parsed(params: str) -> dict[str, Any]:
    try:
        parsed = json.loads(params)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        raise FormatError(f"params {params!r:.60} is no JSON object", hint="the stored file is damaged")
    return parsed


def is_true(value: object) -> bool:
    """`valid` as stored; what is neither true nor false is not taken for valid."""
    return str(value).strip().lower() in ("true", "1", "yes")
