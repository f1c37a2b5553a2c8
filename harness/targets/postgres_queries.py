"""Queries of PostgreSQL that rigs and external services have in common."""

from __future__ import annotations

from typing import Any

import psycopg

from harness.record import BulkRows

_SETTINGS = """
SELECT name, setting || coalesce(unit, '') FROM pg_settings
WHERE source NOT IN ('default', 'override', 'client', 'session', 'environment variable')
ORDER BY name
"""
_ROLES = """
SELECT setrole::regrole::text, split_part(setting, '=', 1), substr(setting, strpos(setting, '=') + 1)
FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setrole <> 0 AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY 1, 2, setdatabase
"""
_RANGES = """
SELECT min(id), max(id)
FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS run FROM data WHERE id > %(after)s AND content ~ %(form)s) AS r
GROUP BY run ORDER BY 1
"""
_REQUESTS = """
SELECT split_part(content, '-', 1)::bigint, count(*)
FROM (SELECT content FROM data WHERE id > %(after)s AND content ~ %(form)s OFFSET 0) AS r
GROUP BY 1
"""


def server_settings(db: psycopg.Connection[Any]) -> dict[str, str]:
    """Returns the server's version, every setting that differs from its default, and those that roles have.

    A session has those of its role, and a role may change its own: `work_mem of appuser`.
    """
    version = db.execute("SHOW server_version").fetchone()
    assert version is not None
    roles = {f"{name} of {role}": value for role, of in role_settings(db).items() for name, value in of.items()}
    return {"server_version": str(version[0]), **dict(db.execute(_SETTINGS).fetchall()), **roles}


def role_settings(db: psycopg.Connection[Any]) -> dict[str, dict[str, str]]:
    """Returns the settings that sessions of a role begin with in this database, by role and name."""
    roles: dict[str, dict[str, str]] = {}
    for role, name, value in db.execute(_ROLES).fetchall():
        roles.setdefault(role, {})[name] = value  # those of this database come last and win
    return roles


_DURABILITY = """
SELECT name, setting FROM pg_settings WHERE name = ANY(%(names)s)
UNION ALL
SELECT concat_ws(' of ', split_part(setting, '=', 1), nullif(setrole, 0)::regrole), split_part(setting, '=', 2)
FROM pg_db_role_setting, unnest(setconfig) AS setting
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND split_part(setting, '=', 1) = ANY(%(names)s)
"""
DURABILITY = ("fsync", "full_page_writes", "synchronous_commit")


def durability(db: psycopg.Connection[Any]) -> dict[str, str]:
    """Returns the settings that decide whether an acknowledged write survives a crash: of the server, then of roles."""
    return dict(db.execute(_DURABILITY, {"names": list(DURABILITY)}).fetchall())


def bulk_rows(db: psycopg.Connection[Any], *, after: int = 0, form: str = "") -> BulkRows:
    """Returns the rows of `data` above the id `after`: their ids as ranges, and the rows per request (sequence number).

    `form`: a regular expression; only rows whose content matches it count.
    """
    parameters = {"after": after, "form": form}
    requests = {int(sequence): int(count) for sequence, count in db.execute(_REQUESTS, parameters).fetchall()}
    ranges = tuple((int(first), int(last)) for first, last in db.execute(_RANGES, parameters).fetchall())
    return BulkRows(requests=requests, ranges=ranges)
