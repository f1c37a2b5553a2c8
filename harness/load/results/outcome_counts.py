"""The file of outcomes by key, which a lane without samples keeps instead of single requests.

It is written on the load host, merged there, and checked on the controller. Warm-up and measured phase are counted
together, as the database applied both. Its texts have no comma or quote (job.py checks that).
"""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from sys import intern

from harness.load.outcome import OUTCOMES
from harness.model import OutcomeCounts

COLUMNS = ("op", "key", "outcome", "requests")
MAX_BYTES = 64 * 2**20
MAX_ROWS = 1_000_000
"""Enough for every plan; with MAX_BYTES it bounds the memory of reading an untrusted run, about 200 bytes per row."""
_DIGITS = 15


def write(path: Path, counts: OutcomeCounts) -> None:
    """Writes one row per operation, key and outcome."""
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        file.writelines(f"{op},{key},{outcome},{number}\n" for (op, key, outcome), number in counts.items())


def read(path: Path) -> OutcomeCounts:
    """Reads the counts; columns may be in any order, unknown ones are ignored. Raises ValueError for a damaged file."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    counts = OutcomeCounts()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            names = next(reader, [])
            op, key, outcome, requests = (names.index(name) for name in COLUMNS)
            for row in islice(reader, MAX_ROWS):
                counts[intern(row[op]), row[key], _outcome(row[outcome])] += _number(row[requests])
            more = next(reader, None)
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(f"near line {reader.line_num}: {error}") from error
        if more is not None:
            raise ValueError(f"more than {MAX_ROWS:,} rows")
    return counts


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise ValueError(f"unknown outcome {text[:20]!r}")
    return intern(text)


def _number(text: str) -> int:
    if len(text) > _DIGITS or not text.isdecimal():
        raise ValueError(f"{text[:20]!r} is not a number of requests")
    return int(text)
