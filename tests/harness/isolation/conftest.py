"""Fixtures: a database role that may create objects in schema `isolation` only, and an engine without isolation."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.isolation.__main__ import isolation
from harness.isolation.case_model import LEVELS, Level
from harness.isolation.cases import CASES
from harness.isolation.postgres_driver import Postgres
from harness.isolation.transcript import Rows


@pytest.fixture(scope="session")
def dsn(postgres: str) -> Iterator[str]:
    """DSN of the harness's role in a separate database."""
    name = "isolation_test"
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'only-for-tests'")
        conn.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(make_conninfo(postgres, dbname=name), autocommit=True) as conn:
        conn.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        conn.execute("CREATE SCHEMA isolation")
        conn.execute(f"GRANT USAGE, CREATE ON SCHEMA isolation TO {name}")
    yield make_conninfo(postgres, dbname=name, user=name, password="only-for-tests")
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")
        conn.execute(f"DROP ROLE {name}")


@pytest.fixture
def pg(dsn: str) -> Iterator[Postgres]:
    """The driver, connected to that database."""
    with Postgres(dsn, "isolation") as driver:
        yield driver


@pytest.fixture
def query(dsn: str) -> Iterator[Callable[[str], Any]]:
    """Returns the first value of a query, on a connection outside the driver."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield lambda sql: conn.execute(sql).fetchone()[0]  # type: ignore[index]


@pytest.fixture(scope="session")
def stored(dsn: str) -> dict[str, Any]:
    """The whole matrix in its stored form, run once. Tests must copy it before changing it."""
    with Postgres(dsn, "isolation") as driver:
        result = isolation(driver, tuple(CASES), LEVELS, lambda *_: None)
        return {"backend": "postgres", **driver.facts(), **result}


class NoIsolation:
    """A driver whose sessions share one connection in autocommit, so every write is visible at once.

    It reports the requested level, as a faulty database would.
    """

    level_sql = "SHOW transaction_isolation"

    def __init__(self) -> None:
        self._conn = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._lock = Lock()
        self._levels: dict[str, str] = {}

    def begin(self, level: Level, *, writes: bool) -> str:
        return f"BEGIN {level}"

    def open(self, sessions: Sequence[str]) -> Mapping[str, int]:
        return {}

    def execute(self, session: str, sql: str) -> Rows:
        if sql.startswith("BEGIN"):
            self._levels[session] = sql.removeprefix("BEGIN ").lower()
        if sql == self.level_sql:
            return ((self._levels[session],),)
        return () if sql.startswith(("BEGIN", "COMMIT", "ROLLBACK")) else self.admin(sql)

    def waiting(self, sessions: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        return {}

    def interrupt(self) -> None:
        pass

    def end_sessions(self) -> None:
        pass

    def admin(self, sql: str) -> Rows:
        with self._lock:
            return tuple(self._conn.execute(sql).fetchall())

    def close(self) -> None:
        self._conn.close()


@pytest.fixture
def no_isolation() -> Iterator[NoIsolation]:
    """The negative control of all cases."""
    driver = NoIsolation()
    yield driver
    driver.close()
