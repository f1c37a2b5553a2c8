"""Run on an app host by verify.yml: is the service healthy, of the right code, and no more powerful than it must be?

Settings come as JSON in the environment variable WANTED, the database's password in PGPASSWORD. Ends with 1 and
one line for all broken promises.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psycopg

WANTED: dict[str, Any] = json.loads(os.environ["WANTED"])
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
)
"""What the service's role must be refused with 42501 (insufficient privilege)."""


def get(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON body of our own service."""
    request = urllib.request.Request(f"http://{WANTED['address']}:{port}{path}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 -- http, always
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def service(port: int) -> list[str]:
    """Broken promises of one worker, which gets a while to start."""
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
    broken = []
    if (status, health.get("status"), health.get("container")) != (200, "healthy", WANTED["container"]):
        broken.append(f"port {port}: GET /health answers {status} {health}")
    if get(port, "/live")[0] != 200:
        broken.append(f"port {port}: GET /live does not answer 200")
    code = get(port, "/metrics")[1].get("code")
    if code != WANTED["code"]:
        broken.append(f"port {port}: runs code {code}, deployed is {WANTED['code']}")
    return broken


def listening() -> set[int]:
    """The TCP ports that processes of our user listen on, by the kernel's own list (proc(5), state 0A)."""
    ports = set()
    uid = str(pwd.getpwnam(WANTED["user"]).pw_uid)
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError):  # no IPv6 here
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[7] == uid:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def rights() -> list[str]:
    """What the service's role may do though it must not, and time-outs that it lacks."""
    broken = []
    with psycopg.connect(**WANTED["database"], autocommit=True, connect_timeout=10) as connection:
        for name, value in WANTED["timeouts"].items():
            have = connection.execute(
                "SELECT setting::interval = %s::interval FROM (SELECT current_setting(%s)) AS s (setting)",
                (value, name),
            ).fetchone()
            if have != (True,):
                broken.append(f"{name} of the service's role is not {value}")
        for statement in FORBIDDEN:
            sql = statement.format(owner=WANTED["owner"])
            try:
                connection.execute(sql.encode())
                broken.append(f"the service's role may: {sql}")
            except psycopg.errors.InsufficientPrivilege:
                pass
    return broken


def plain() -> list[str]:
    """With TLS, pg_hba.conf must refuse the service's role without it."""
    try:
        psycopg.connect(**WANTED["database"] | {"sslmode": "disable"}, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        return [] if "pg_hba.conf" in str(error) else [f"without TLS: {' '.join(str(error).split())}"]
    return ["PostgreSQL lets the service's role in without TLS"]


def main() -> int:
    broken = [promise for port in WANTED["ports"] for promise in service(port)]
    if listening() != set(WANTED["ports"]):
        broken.append(f"our user listens on {sorted(listening())}, not on {WANTED['ports']}")
    try:
        broken += rights() + (plain() if WANTED["tls"] else [])
    except psycopg.Error as error:
        broken.append(f"the service's role: {' '.join(str(error).split())}")
    print("; ".join(broken), file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
