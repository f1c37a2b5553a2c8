"""Checks an app host (run by verify.yml): the service is healthy, runs the deployed code, has only the needed rights.

Reads the expected state as JSON from standard input. Prints all failed checks in one line and exits with 1.
"""

from __future__ import annotations

import contextlib
import json
import pwd
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

WANTED: dict[str, Any] = json.load(sys.stdin)
START_S = 20.0
FORBIDDEN = (
    "CREATE TABLE public.intruder ()",
    "CREATE SCHEMA intruder",
    "CREATE TEMPORARY TABLE intruder ()",
    "SELECT rolpassword FROM pg_authid",
    "TRUNCATE counters",
    "DELETE FROM ledger",
    "SET ROLE {owner}",
    "COPY counters TO PROGRAM 'true'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, '')",
    "SELECT pg_advisory_xact_lock(1)",
)
"""Statements that PostgreSQL must refuse the service's role with 42501 (insufficient privilege)."""


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Returns status and JSON body of a GET to the service."""
    request = urllib.request.Request(f"http://{WANTED['address']}:{port}{path}")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 -- always http
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def service(port: int) -> list[str]:
    """Returns the failed checks of one worker; waits START_S seconds for it to start."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            status, health = get(port, "/health")
            if status == 200 or time.monotonic() > deadline:
                break
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                return [f"port {port}: the service does not answer: {error}; see journalctl -u 'pgcrucible-app@*'"]
        time.sleep(0.1)
    failures = []
    if (status, health.get("status"), health.get("container")) != (200, "healthy", WANTED["container"]):
        failures.append(f"port {port}: GET /health returned {status} {health}")
    if get(port, "/live")[0] != 200:
        failures.append(f"port {port}: GET /live did not return 200")
    code = get(port, "/metrics")[1].get("code")
    if code != WANTED["code"]:
        failures.append(f"port {port}: the service runs code {code}, expected {WANTED['code']}")
    return failures


def listening() -> set[int]:
    """Returns the TCP ports that processes of the service's user listen on (proc(5), state 0A)."""
    ports = set()
    uid = str(pwd.getpwnam(WANTED["user"]).pw_uid)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no IPv6
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[7] == uid:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def rights() -> list[str]:
    """Returns excess rights and missing time-outs of the service's role."""
    failures = []
    with psycopg.connect(**WANTED["database"], autocommit=True, connect_timeout=10) as connection:
        for name, value in WANTED["timeouts"].items():
            row = connection.execute(
                "SELECT setting::interval = %s::interval FROM (SELECT current_setting(%s)) AS s (setting)",
                (value, name),
            ).fetchone()
            if row != (True,):
                failures.append(f"{name} of the service's role is not {value}")
        for statement in FORBIDDEN:
            sql = statement.format(owner=WANTED["owner"])
            try:
                with connection.transaction(force_rollback=True):
                    connection.execute(sql.encode())
                failures.append(f"the service's role has the right to: {sql}")
            except psycopg.errors.InsufficientPrivilege:
                pass
    return failures


def refuses_plain_text() -> list[str]:
    """Returns a failed check unless pg_hba.conf refuses the service's role without TLS."""
    try:
        psycopg.connect(**WANTED["database"] | {"sslmode": "disable"}, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        return [] if "pg_hba.conf" in str(error) else [f"without TLS: {' '.join(str(error).split())}"]
    return ["PostgreSQL accepts the service's role without TLS"]


def main() -> int:
    failures = [failure for port in WANTED["ports"] for failure in service(port)]
    if listening() != set(WANTED["ports"]):
        failures.append(f"user {WANTED['user']} listens on ports {sorted(listening())}, expected {WANTED['ports']}")
    try:
        failures += rights() + (refuses_plain_text() if WANTED["tls"] else [])
    except psycopg.Error as error:
        failures.append(f"the service's role: {' '.join(str(error).split())}")
    print("; ".join(failures), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
