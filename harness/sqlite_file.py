"""Reads or empties the shared SQLite file: sent as text to an app host (`python3 -`). Standard library only.

Standard input is this text, so the wish comes as arguments: the path, then `read` or `empty`. Prints JSON.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from typing import Any


def main(path: str, wish: str) -> dict[str, Any]:
    connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=20, isolation_level=None)
    if wish == "empty":
        connection.execute("BEGIN IMMEDIATE")
        for table in ("counters", "data", "ledger"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608  # our own names
        connection.execute("COMMIT")
        return {}
    return {
        "counters": dict(connection.execute("SELECT key, value FROM counters").fetchall()),
        "ledger": {i: [k, v] for i, k, v in connection.execute("SELECT id, key, value FROM ledger").fetchall()},
        "integrity": [row[0] for row in connection.execute("PRAGMA integrity_check").fetchall()],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2])))
