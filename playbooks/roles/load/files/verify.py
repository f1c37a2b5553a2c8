"""Checks a load host (run by verify.yml): it reaches the tier and the database, and may open enough connections.

Reads the expected state as JSON from standard input. Prints all failed checks in one line and exits with 1.
"""

from __future__ import annotations

import json
import resource
import ssl
import sys
import urllib.request
from typing import Any

import psycopg

WANTED: dict[str, Any] = json.load(sys.stdin)
SPARE = 200
"""Open files of an agent besides its clients' sockets."""


def main() -> int:
    failures = []
    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard_limit != resource.RLIM_INFINITY and hard_limit < WANTED["clients"] + SPARE:
        failures.append(
            f"the hard limit of open files is {hard_limit}, expected at least {WANTED['clients']} clients + {SPARE}"
        )
    tls = ssl.create_default_context(cafile=WANTED["authority"]) if WANTED["authority"] else None
    try:
        with urllib.request.urlopen(WANTED["url"], timeout=10, context=tls) as response:  # noqa: S310 -- never a file
            if response.status != 200:
                failures.append(f"{WANTED['url']} answers {response.status}")
    except OSError as error:
        failures.append(f"{WANTED['url']} does not answer: {error}")
    try:
        with psycopg.connect(**WANTED["database"], connect_timeout=10) as connection:
            connection.execute("CREATE TABLE isolation.verify ()")
            connection.rollback()
            row = connection.execute("SELECT has_table_privilege('counters', 'TRUNCATE')").fetchone()
            if row != (True,):
                failures.append("the harness's role has no right to TRUNCATE the tables")
    except psycopg.Error as error:
        failures.append(f"the harness's role: {' '.join(str(error).split())}")
    print("; ".join(failures), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
