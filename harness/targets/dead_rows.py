"""Dead row versions while a trial's load runs: how many VACUUM cannot remove yet, and what it removes in all.

Only while a long transaction is open is to be seen what it costs: as soon as it ends, everything can be removed.
So VACUUM is asked now and then, from a thread, as long as the context lasts.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg

EVERY_S = 0.5
_SAID = re.compile(r"tuples: (\d+) removed, (\d+) remain, (\d+) are dead but not yet removable")
"""As PostgreSQL says it since version 15."""

Reading = tuple[int, int, int]
"""Row versions that VACUUM removed, that remain, and of these the dead that a transaction may still need."""


def vacuum(db: psycopg.Connection[Any], table: str) -> Reading | None:
    """VACUUMs the table; None where it does not say what it found. Raises psycopg.Error."""
    text: list[str] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        text.append(notice.message_primary or "")

    db.add_notice_handler(hear)
    try:
        db.execute(psycopg.sql.SQL("VACUUM (VERBOSE) {}").format(psycopg.sql.Identifier(table)))
    finally:
        db.remove_notice_handler(hear)
    found = _SAID.search("\n".join(text))
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


@contextlib.contextmanager
def vacuumed(
    db: psycopg.Connection[Any], table: str, every_s: float = EVERY_S
) -> Iterator[Callable[[], dict[str, int]]]:
    """VACUUMs while the context lasts; the function handed out ends that, VACUUMs once more and sums up (`summary`)."""
    readings: list[Reading | None] = []
    over = threading.Event()

    def work() -> None:
        with contextlib.suppress(psycopg.Error):  # what the database says then, whoever asks it next is told
            while not over.wait(every_s):
                readings.append(vacuum(db, table))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def end() -> dict[str, int]:
        over.set()
        thread.join()
        return summary(readings, vacuum(db, table))

    try:
        yield end
    finally:
        over.set()
        thread.join()


def summary(during: Sequence[Reading | None], after: Reading | None) -> dict[str, int]:
    """`kept`: the most dead versions that could not be removed while the load ran (absent: nobody looked); `removed`:
    all that were removed; `not_removable`: what could not be removed at the end either. Empty without a last look.
    """
    if after is None:
        return {}
    seen = [reading for reading in during if reading is not None]
    kept = {"kept": max(reading[2] for reading in seen)} if seen else {}
    return {**kept, "removed": sum(reading[0] for reading in (*seen, after)), "not_removable": after[2]}
