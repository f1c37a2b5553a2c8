"""The samples file: one line per request, with the columns that checks and reports use.

It is written on the load host and read on the controller. Its texts have no comma, quote or line break (job.py and
outcome.py ensure that), so a row is written with a join.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

from harness.load.outcome import OUTCOMES
from harness.record import Samples

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
MAX_LINE = 2**16
"""Greatest length of a line: a compressed file without line breaks must not fill the memory."""
MAX_RATIO = 64
"""Greatest ratio of unpacked to stored size: samples compress to a fifth, a decompression bomb to a thousandth."""
MAX_COLUMNS = 200
MAX_BYTES = 4 * 2**30
"""Greatest memory of the samples of a trial, as estimated while they are read: about fourteen million requests."""
_ROW_BYTES, _TEXT_BYTES = 150, 60
"""Memory of a row without captured fields and texts; of a text besides its characters (64-bit CPython)."""
GZIP_ROWS = 50_000
"""A file with this many rows or more is compressed (samples.csv.gz)."""


_ID_CHARACTERS = 40
"""Of an id, which has the run, the load host and a number."""


def memory_bytes(requests: float, captures: int) -> float:
    """Returns the estimated memory of `read_samples` in bytes, for `requests` with `captures` fields each."""
    return requests * (_ROW_BYTES + 8 * captures + _TEXT_BYTES + _ID_CHARACTERS)


class MemoryBudget:
    """What several samples files together may take in memory; raises ValueError where it is used up."""

    def __init__(self, limit_bytes: int = MAX_BYTES) -> None:
        self._limit_bytes = self._left_bytes = limit_bytes

    def take(self, size: int) -> None:
        """Counts `size` bytes."""
        self._left_bytes -= size
        if self._left_bytes < 0:
            raise ValueError(f"the samples of the trial take more than {self._limit_bytes:,} bytes of memory")


class Sample(NamedTuple):
    """One request as stored; `captured` are the numbers of the columns `c_<name>`, NaN if there was none."""

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


def _line(row: Sample) -> str:
    values = ["" if value is None else str(value) for value in row[:-1]]
    return ",".join(values + ["" if math.isnan(number) else f"{number:.10g}" for number in row.captured])


def open_text(path: Path, mode: Literal["r", "w"]) -> TextIO:
    """Opens a text file, compressed if its name ends in .gz (level 1, which keeps up with the load)."""
    newline = "\n" if mode == "w" else None
    if path.suffix == ".gz":
        raw = gzip.GzipFile(path, f"{mode}b", compresslevel=1, mtime=0)
        return io.TextIOWrapper(raw, encoding="utf-8", newline=newline)
    return io.TextIOWrapper(io.FileIO(path, mode), encoding="utf-8", newline=newline)


def write(path: Path, rows: Iterable[Sample], captures: tuple[str, ...] = ()) -> None:
    with open_text(path, "w") as file:
        file.write(header(captures) + "\n")
        file.writelines(_line(row) + "\n" for row in rows)


def sample_file(folder: Path) -> Path | None:
    """Returns the samples file of a results folder, compressed or not; None if no samples were kept."""
    for name in ("samples.csv.gz", "samples.csv"):
        if (folder / name).exists():
            return folder / name
    return None


_INTEGERS = ("seq", "due_us", "sent_us", "done_us", "status")
_READ = 2**15
"""Characters read at once: few enough that their texts are still in the processor's cache when they are converted."""


def read_samples(path: Path, budget: MemoryBudget | None = None) -> Samples:
    """Reads a samples file, compressed or not; columns may be in any order, unknown ones are ignored.

    Files that are read with the same `budget` share it.

    Raises ValueError with the reason for a damaged file, OSError and EOFError for one that cannot be read.
    """
    max_bytes = max(2**20, MAX_RATIO * path.stat().st_size)
    budget = budget or MemoryBudget()
    with open_text(path, "r") as file:
        names = next(csv.reader([file.readline(MAX_LINE)]), [])
        if len(names) > MAX_COLUMNS:
            raise ValueError(f"more than {MAX_COLUMNS} columns")
        missing = [name for name in COLUMNS if name not in names]
        if missing or len(set(names)) < len(names):
            raise ValueError(f"columns are missing or repeated: {', '.join(missing) or ', '.join(names)}")
        columns: dict[str, Any] = {name: array("q") if name in _INTEGERS else [] for name in COLUMNS}
        captured = {name[2:]: array("d") for name in names if name.startswith("c_")}
        row_bytes = _ROW_BYTES + 8 * len(captured)
        known: set[str] = set()
        line = 1
        try:
            for lines in _lines(file, max_bytes):
                line += len(lines)
                budget.take(row_bytes * len(lines))
                for name, texts in zip(names, _columns(lines, len(names)), strict=True):
                    if name in _INTEGERS:
                        columns[name].extend(map(int, texts))
                    elif name == "value":
                        integers = map(int, texts) if "" not in texts else (int(t) if t else None for t in texts)
                        columns[name].extend(integers)
                    elif name == "id":
                        budget.take(_TEXT_BYTES * len(texts) + sum(map(len, texts)))
                        columns[name].extend(texts)
                    elif name in columns:
                        if new := set(texts) - known:
                            known |= new
                            budget.take(2 * _TEXT_BYTES * len(new) + sum(map(len, new)))
                        columns[name].extend(map(sys.intern, texts))
                    elif name.startswith("c_"):
                        captured[name[2:]].extend([float(text) if text else math.nan for text in texts])
        except (ValueError, OverflowError, csv.Error) as error:
            raise ValueError(f"near line {line}: {error}") from error
    unknown = set(columns["outcome"]).difference(OUTCOMES)
    if unknown:
        raise ValueError(f"unknown outcome {unknown.pop()!r}")
    return Samples(**columns, captured=captured)


def _lines(file: TextIO, max_bytes: int) -> Iterator[list[str]]:
    """Yields the remaining lines in batches; raises ValueError if a line or the file is too long."""
    rest = ""
    while text := file.read(_READ):
        if file.buffer.tell() > max_bytes:
            raise ValueError(f"it unpacks to more than {MAX_RATIO} times its size")
        *lines, rest = (rest + text).split("\n")
        if len(rest) > MAX_LINE:
            raise ValueError(f"a line of more than {MAX_LINE:,} characters")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _columns(lines: list[str], width: int) -> Iterable[Sequence[str]]:
    """Returns the fields of lines by column. Lines without quotes, as pgcrucible writes them, are split at once."""
    text = ",".join(lines)
    if '"' in text:
        return zip(*csv.reader(lines), strict=True)
    if any(line.count(",") != width - 1 for line in lines):
        raise ValueError(f"a line does not have {width} fields")
    fields = text.split(",")
    return [fields[column::width] for column in range(width)]
