"""Reads or empties the shared SQLite file: sent as text to an app host (`python3 -`). Standard library only.

Emptying also vacuums the file and truncates its log, as VACUUM and CHECKPOINT do before a trial on PostgreSQL.
Standard input is this text, so the arguments say what to do: the path, then `read` or `empty`. Prints JSON.
A damaged file is a result and not an error: `integrity` holds the messages of SQLite.
"""

from __future__ import annotations

import json
import sqlite3
import sys


def tidy(connection: sqlite3.Connection) -> list[str]:
    """Vacuums the file and truncates its log; returns what other connections to the file prevented, as text."""
    connection.execute("PRAGMA busy_timeout = 2000")
    try:
        connection.execute("VACUUM")
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        return [f"the SQLite file was not vacuumed before each trial: {error}"]
    return ["the SQLite file's log was not truncated before each trial: another connection reads it"] if busy else []


def main(path: str, action: str) -> dict[str, object]:
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=20, isolation_level=None)
    content: dict[str, object] = {"counters": {}, "ledger": {}}
    integrity: list[str] = []
    try:
        if action == "empty":
            connection.execute("BEGIN IMMEDIATE")
            for table in ("counters", "data", "ledger"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608  # names from the tuple above
            connection.execute("COMMIT")
            return {"not_done": tidy(connection)}
        # First, because it is the only query that succeeds on a damaged file.
        integrity = [str(row[0]) for row in connection.execute("PRAGMA integrity_check").fetchall()]
        content["counters"] = {str(k): v for k, v in connection.execute("SELECT key, value FROM counters").fetchall()}
        ledger = connection.execute("SELECT id, key, value FROM ledger").fetchall()
        content["ledger"] = {str(i): [k, v] for i, k, v in ledger}
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise  # by another connection: the file is intact
        integrity = [str(error), *(text for text in integrity if text != "ok")]
    finally:
        connection.close()
    return {**content, "integrity": integrity}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2]), default=str))
