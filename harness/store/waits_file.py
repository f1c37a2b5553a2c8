"""The file of a trial's session waits: `evidence/<order>-waits.csv.gz`, one line per tick and session.

Columns: `at_us` (on the clock of the samples), `pid` (0: a tick without a session that was not idle), `wait` (see
SessionWaits). Texts come from the database host, so they are made safe for CSV and bounded.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path

from harness.errors import FormatError
from harness.load.results.samples import MAX_LINE, MAX_RATIO, open_text
from harness.record import SessionWaits
from harness.store.files import disk_errors, is_own
from harness.text import printable

COLUMNS = ["at_us", "pid", "wait"]
MAX_ROWS = 2_000_000
MAX_WAIT = 120
"""Greatest length of a wait's text."""

Row = tuple[int, int, str]


def path_of(folder: Path, order: int) -> Path:
    """Returns the path of the file of trial `order` in a run's folder."""
    return folder / "evidence" / f"{order:03d}-waits.csv.gz"


def write(path: Path, rows: Iterable[Row]) -> None:
    """Writes the rows, which must be in the order of time."""
    with disk_errors(path), open_text(path, "w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for at_us, pid, wait in islice(rows, MAX_ROWS):
            file.write(f"{at_us},{pid},{_safe(wait)}\n")


def _safe(wait: str) -> str:
    return printable(wait, MAX_WAIT).replace(",", ";").replace('"', "'")


def read(path: Path) -> SessionWaits | None:
    """Reads the file; None where there is none. Raises FormatError."""
    if not is_own(path):
        return None
    ticks, at, pids, waits = array("q"), array("q"), array("q"), list[str]()
    try:
        for number, line in enumerate(_lines(path), start=1):
            at_us, pid, wait = line.split(",")
            if number > MAX_ROWS:
                raise FormatError(f"{path}: more than {MAX_ROWS:,} rows", hint="the file is damaged")
            if not ticks or ticks[-1] != int(at_us):
                ticks.append(int(at_us))
            if int(pid):
                at.append(int(at_us))
                pids.append(int(pid))
                waits.append(sys.intern(wait))
    except (ValueError, OverflowError, OSError, EOFError, zlib.error) as error:
        raise FormatError(f"{path}: {printable(error, 200)}", hint="the file is damaged") from error
    if any(later < earlier for earlier, later in pairwise(ticks)):
        raise FormatError(f"{path}: the rows are not in the order of time", hint="the file is damaged")
    return SessionWaits(tick_us=ticks, at_us=at, pid=pids, wait=waits)


def _lines(path: Path) -> Iterator[str]:
    """The lines of the file without its header. Raises ValueError for another header, or where it unpacks too far."""
    most = max(2**20, MAX_RATIO * path.stat().st_size)
    with open_text(path, "r") as file:
        if file.readline(MAX_LINE).rstrip("\n") != ",".join(COLUMNS):
            raise ValueError(f"the columns are not {', '.join(COLUMNS)}")
        while line := file.readline(MAX_LINE):
            if file.buffer.tell() > most:
                raise ValueError(f"it unpacks to more than {MAX_RATIO} times its size")
            yield line.rstrip("\n")
