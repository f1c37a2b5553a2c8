"""Reads or empties the shared SQLite file: sent as text to an app host (`python3 -`). Standard library only.

Emptied it is packed too, and its log written back: what VACUUM and CHECKPOINT are for PostgreSQL's trials.
Standard input is this text, so the wish comes as arguments: the path, then `read` or `empty`. Prints JSON.
A damaged file is an answer, not an error: what SQLite says of it stands under `integrity`.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import Any


def tidy(connection: sqlite3.Connection) -> list[str]:
    """Packs the file and empties its log; what others that have it open did not allow, in words."""
    connection.execute("PRAGMA busy_timeout = 2000")
    try:
        connection.execute("VACUUM")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        return [f"the SQLite file was not vacuumed before each trial: {error}"]
    return ["the SQLite file's log was not emptied before each trial: somebody reads it"] if busy else []


def main(path: str, wish: str) -> dict[str, Any]:
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=20, isolation_level=None)
    seen: dict[str, Any] = {"counters": {}, "ledger": {}, "integrity": []}
    try:
        if wish == "empty":
            connection.execute("BEGIN IMMEDIATE")
            for table in ("counters", "data", "ledger"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
            connection.execute("COMMIT")
            return {"not_done": tidy(connection)}
        # First, because in a damaged file it is the one question that has an answer.
        seen["integrity"] = [str(row[0]) for row in connection.execute("PRAGMA integrity_check").fetchall()]
        seen["counters"] = {str(k): v for k, v in connection.execute("SELECT key, value FROM counters").fetchall()}
        ledger = connection.execute("SELECT id, key, value FROM ledger").fetchall()
        seen["ledger"] = {str(i): [k, v] for i, k, v in ledger}
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise  # by another connection: nothing is wrong with the file
        seen["integrity"] = [str(error), *(text for text in seen["integrity"] if text != "ok")]
    finally:
        connection.close()
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2]), default=str))
