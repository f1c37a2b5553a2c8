"""Runs VACUUM while a trial's load runs, and counts the dead row versions that it cannot remove yet.

A long transaction keeps dead rows only while it is open, so VACUUM runs at intervals during the load, in a thread.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from harness.record import DeadRows

EVERY_S = 0.5
END_S = 90.0
"""Longest wait for the last VACUUM, which has the connection's own deadline."""
_TUPLES = re.compile(r"tuples: (\d+) removed, (\d+) remain, (\d+) are dead but not yet removable")
"""The wording since PostgreSQL 15."""

VacuumReading = tuple[int, int, int]
"""Row versions that a VACUUM removed, that remain, and the dead ones among these that a transaction may still need."""


def vacuum(db: psycopg.Connection[Any], table: str) -> VacuumReading | None:
    """Runs VACUUM on the table; None where its message has no counts. Raises psycopg.Error."""
    messages: list[str] = []

    def collect(notice: psycopg.errors.Diagnostic) -> None:
        messages.append(notice.message_primary or "")

    db.add_notice_handler(collect)
    try:
        db.execute(psycopg.sql.SQL("VACUUM (VERBOSE) {}").format(psycopg.sql.Identifier(table)))
    finally:
        db.remove_notice_handler(collect)
    match = _TUPLES.search("\n".join(messages))
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


@contextlib.contextmanager
def vacuuming(
    db: psycopg.Connection[Any], table: str, every_s: float = EVERY_S
) -> Iterator[Sequence[VacuumReading | None]]:
    """Runs VACUUM at intervals while the context lasts; yields the list that grows with each result."""
    readings: list[VacuumReading | None] = []
    stop = threading.Event()

    def work() -> None:
        with contextlib.suppress(psycopg.Error):  # the connection's next user gets the error
            while not stop.wait(every_s):
                readings.append(vacuum(db, table))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield readings
    finally:
        stop.set()
        thread.join(END_S)  # the connection itself has a deadline; its next user gets the error


def summary(during: Sequence[VacuumReading | None], after: VacuumReading | None) -> DeadRows | None:
    """Sums the results of VACUUM up; None without a last one."""
    if after is None:
        return None
    readings = [reading for reading in during if reading is not None]
    return DeadRows(
        removed=sum(removed for removed, _, _ in (*readings, after)),
        not_removable=after[2],
        kept=max((reading[2] for reading in readings), default=None),
    )
