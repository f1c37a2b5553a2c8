"""Run on a load host by verify.yml: can it reach the tier and the database, and open enough connections?

Settings come as JSON in the environment variable WANTED, the harness's password in PGPASSWORD. Ends with 1 and one
line for all broken promises.
"""

from __future__ import annotations

import json
import os
import resource
import ssl
import sys
import urllib.request
from typing import Any

import psycopg

WANTED: dict[str, Any] = json.loads(os.environ["WANTED"])
SPARE = 200
"""Files that an agent has open besides its clients' sockets."""


def main() -> int:
    broken = []
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most != resource.RLIM_INFINITY and most < WANTED["clients"] + SPARE:
        broken.append(
            f"the hard limit of open files is {most}: {WANTED['clients']} clients need {SPARE} more than that"
        )
    tls = ssl.create_default_context(cafile=WANTED["authority"]) if WANTED["authority"] else None
    try:
        with urllib.request.urlopen(WANTED["url"], timeout=10, context=tls) as answer:  # noqa: S310 -- never a file
            if answer.status != 200:
                broken.append(f"{WANTED['url']} answers {answer.status}")
    except OSError as error:
        broken.append(f"{WANTED['url']} does not answer: {error}")
    try:
        with psycopg.connect(**WANTED["database"], connect_timeout=10) as connection:
            connection.execute("CREATE TABLE isolation.verify ()")
            connection.rollback()
            may = connection.execute("SELECT has_table_privilege('counters', 'TRUNCATE')").fetchone()
            if may != (True,):
                broken.append("the harness's role may not empty the tables between trials")
    except psycopg.Error as error:
        broken.append(f"the harness's role: {' '.join(str(error).split())}")
    print("; ".join(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
