"""The samples file: one line a request, the columns that checks and reports rely on.

Written on the load host, read on the controller. The texts in it hold no comma, quote or line break (job.py and
answer.py see to that), so a row is written with a join.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, TextIO

COLUMNS = (
    "seq",
    "op",
    "key",
    "host",
    "due_us",
    "sent_us",
    "done_us",
    "outcome",
    "status",
    "value",
    "error",
    "id",
    "load_host",
    "phase",
)
GZIP_ROWS = 50_000
"""From so many rows on the file is compressed (samples.csv.gz)."""


class Row(NamedTuple):
    """One request as stored; `captured` are the numbers of the columns `c_<name>`, NaN where there was none."""

    seq: int
    op: str
    key: str
    host: str
    due_us: int
    sent_us: int
    done_us: int
    outcome: str
    status: int
    value: int | None
    error: str
    id: str
    load_host: str
    phase: str
    captured: tuple[float, ...] = ()


def header(captures: tuple[str, ...] = ()) -> str:
    return ",".join([*COLUMNS, *(f"c_{name}" for name in captures)])


def _line(row: Row) -> str:
    values = ["" if value is None else str(value) for value in row[:-1]]
    return ",".join(values + ["" if math.isnan(number) else f"{number:g}" for number in row.captured])


def open_text(path: Path, mode: Literal["r", "w"]) -> TextIO:
    """A text file, compressed if its name ends in .gz (level 1: the samples of a second in a second)."""
    newline = "\n" if mode == "w" else None
    if path.suffix == ".gz":
        raw = gzip.GzipFile(path, f"{mode}b", compresslevel=1, mtime=0)
        return io.TextIOWrapper(raw, encoding="utf-8", newline=newline)
    return io.TextIOWrapper(io.FileIO(path, mode), encoding="utf-8", newline=newline)


def write(path: Path, rows: Iterable[Row], captures: tuple[str, ...] = ()) -> None:
    with open_text(path, "w") as file:
        file.write(header(captures) + "\n")
        file.writelines(_line(row) + "\n" for row in rows)


def sample_file(folder: Path) -> Path | None:
    """The samples file of a results folder, compressed or not; None if no samples were kept."""
    for name in ("samples.csv.gz", "samples.csv"):
        if (folder / name).exists():
            return folder / name
    return None
