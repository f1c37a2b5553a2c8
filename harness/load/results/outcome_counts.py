"""The tally file: how the requests of each key ended, all that a lane without samples leaves of single requests.

Written on the load host, read there to be merged and on the controller to be judged. Warm-up and measured phase are
counted together, as the database has seen them. The texts in it hold no comma or quote (job.py sees to that).
"""

from __future__ import annotations

import csv
from pathlib import Path

from harness.load.outcome import OUTCOMES
from harness.model import OutcomeCounts

COLUMNS = ("op", "key", "outcome", "requests")
MAX_BYTES = 64 * 2**20
"""Two million keys, and as many as fit the memory of whoever reads a foreign run."""
_DIGITS = 15


def write(path: Path, tally: OutcomeCounts) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        file.writelines(f"{op},{key},{outcome},{number}\n" for (op, key, outcome), number in tally.items())


def read(path: Path) -> OutcomeCounts:
    """Read a tally whose columns may stand in any order, unknown ones ignored; ValueError says what is damaged."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    tally = OutcomeCounts()
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            names = next(reader, [])
            op, key, outcome, requests = (names.index(name) for name in COLUMNS)
            for row in reader:
                tally[row[op], row[key], _outcome(row[outcome])] += _number(row[requests])
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(f"near line {reader.line_num}: {error}") from error
    return tally


def _outcome(text: str) -> str:
    if text not in OUTCOMES:
        raise ValueError(f"unknown outcome {text[:20]!r}")
    return text


def _number(text: str) -> int:
    if len(text) > _DIGITS or not text.isdecimal():
        raise ValueError(f"{text[:20]!r} is no number of requests")
    return int(text)
