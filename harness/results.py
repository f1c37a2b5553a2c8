"""Stored runs as tables for other programs: lists of dicts, or frames of pandas or polars.

    from harness.results import frame, open_results

    run = open_results("20261128-150645")        # a folder, an id under results/, or the newest without an argument
    run.trials()                                 # [{"order": 1, "scenario": "throughput", …, "valid": True}, …]
    frame(run.samples(order=1))                  # a DataFrame

Keys are the columns of the files (docs/results.md). Values are int, float, bool, str, or None where the file is empty.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.errors import FormatError, UsageError
from harness.record import Samples
from harness.store.csv_rows import COUNTS, TELEMETRY_COLUMNS, TIMELINE_COLUMNS, as_columns, as_text
from harness.store.files import read_rows
from harness.store.run_reader import RESULTS, Run, find_run, load_run
from harness.text import nearest, printable

Rows = list[dict[str, Any]]
FRAMES = ("pandas", "polars")
_TEXTS = ("lane", "phase", "host", "metric")
_WHOLE = {"timeline.csv": ("order", "second", *COUNTS), "telemetry.csv": ("order",)}
"""Table -> its columns of whole numbers. Other columns, but those of text, are float."""
_TRUTHS = {"true": True, "false": False, "": None}


@dataclass(frozen=True, slots=True)
class Results:
    """The tables of one run. Every method raises FormatError, naming the file, where it is damaged."""

    run: Run

    def trials(self) -> Rows:
        """One dict per trial. `steady`, `valid` and `doubted` are bool or None; `params` is JSON text.

        A trial with `valid` False has figures that no claim may use; of one with a `reason` only the counts hold.
        """
        return [
            {
                name: _TRUTHS[str(value)] if name in ("steady", "valid", "doubted") else value
                for name, value in as_columns(row).items()
            }
            for row in self.run.rows
        ]

    def timeline(self) -> Rows:
        """One dict per second, trial and lane; times in ms, counts per second."""
        return self._table("timeline.csv", TIMELINE_COLUMNS)

    def telemetry(self) -> Rows:
        """One dict per second, host and metric; a day of it has millions."""
        return self._table("telemetry.csv", TELEMETRY_COLUMNS)

    def samples(self, order: int) -> Rows:
        """One dict per request of trial `order`, with its `order` and `lane`; times in µs. About 1 kB of memory each.

        Empty where the trial kept no samples. Raises UsageError for a trial that the run does not have.
        """
        if order not in {row.trial.order for row in self.run.rows}:
            raise UsageError(f"{self.run.path}: no trial {order}", hint=f"the run has {len(self.run.rows)} trials")
        return [
            {"order": order, "lane": lane} | one
            for lane, samples in self.run.lanes(order).items()
            for one in _requests(samples)
        ]

    def _table(self, name: str, columns: Sequence[str]) -> Rows:
        path = self.run.path / name
        return [_typed(path, row) for row in read_rows(path, columns)]


def open_results(which: str | os.PathLike[str] | None = None, root: Path = RESULTS) -> Results:
    """Opens a run: a folder, an id under `root`, or the newest. Raises UsageError, or FormatError for a damaged run."""
    return Results(load_run(find_run(None if which is None else os.fspath(which), root)))


def frame(rows: Sequence[Mapping[str, Any]], library: str | None = None) -> Any:
    """Returns the rows as a DataFrame of pandas or polars: of `library`, else of the first one that is installed.

    Neither is a dependency of pgcrucible. Raises UsageError where there is none.
    """
    if library not in (None, *FRAMES):
        raise UsageError(f"there are no frames of '{library}'", hint=nearest(str(library), FRAMES))
    for name in (library,) if library else FRAMES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        options = {"infer_schema_length": None} if name == "polars" else {}  # a column may begin with empty rows
        return module.DataFrame(list(rows), **options)
    raise UsageError(f"{library or 'neither pandas nor polars'} is not installed", hint="pip install pandas")


def _requests(samples: Samples) -> Rows:
    names = [each.name for each in fields(samples) if each.name != "captured"]
    columns = {name: getattr(samples, name) for name in names}
    columns |= {f"c_{name}": values for name, values in samples.captured.items()}
    return [
        {name: _present(value) for name, value in zip(columns, values, strict=True)}
        for values in zip(*columns.values(), strict=True)
    ]


def _present(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _typed(path: Path, row: Mapping[str, str]) -> dict[str, Any]:
    """A row with numbers in place of text. Raises FormatError."""
    whole = _WHOLE[path.name]
    return {
        name: as_text(text) if name in _TEXTS else _number(path, name, text, int if name in whole else float)
        for name, text in row.items()
    }


def _number(path: Path, name: str, text: str, kind: type[int] | type[float]) -> int | float | None:
    if not text:
        return None
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FormatError(f"{path}: {name} is {printable(text, 40)!r}, not a number", hint="the table is damaged")
    return value
