"""The database of a rig before each trial: empty, vacuumed, after a checkpoint; its errors name its host."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import psycopg.conninfo
import pytest

from harness.errors import RigError
from harness.targets.rig_database import RigDatabase
from tests.support.postgres_server import Database


@pytest.fixture
def opened(database: Database) -> Iterator[RigDatabase]:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        yield RigDatabase(lambda: contextlib.nullcontext(connection), "db-1")


def test_reset_empties_and_vacuums_the_tables_and_makes_a_checkpoint(opened: RigDatabase, database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 7)")
        connection.execute("INSERT INTO data (content) VALUES ('x')")
    checkpoint = opened.one("SELECT redo_lsn FROM pg_control_checkpoint()")
    assert opened.reset() == []
    for table in ("counters", "data", "ledger"):
        row = opened.one(
            f"SELECT (SELECT count(*) FROM {table}), last_vacuum IS NOT NULL, last_analyze IS NOT NULL "
            f"FROM pg_stat_user_tables WHERE relname = '{table}'"
        )
        assert row == (0, True, True), table
    assert opened.one("SELECT redo_lsn FROM pg_control_checkpoint()") != checkpoint


def test_reset_reports_what_the_role_may_not_do(database: Database) -> None:
    """A role that may empty the tables, but may neither vacuum another role's tables nor make a checkpoint."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE little LOGIN PASSWORD 'only-for-tests'")
        connection.execute("GRANT SELECT, TRUNCATE ON counters, ledger, lists TO little")
        connection.execute("ALTER TABLE data OWNER TO little")
    try:
        dsn = psycopg.conninfo.make_conninfo(database.dsn, user="little")
        with psycopg.connect(dsn, autocommit=True) as connection:
            messages = RigDatabase(lambda: contextlib.nullcontext(connection), "db-1").reset()
    finally:
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute("REASSIGN OWNED BY little TO postgres")
            connection.execute("DROP OWNED BY little")
            connection.execute("DROP ROLE little")
    assert [message.split(" before each trial")[0] for message in messages] == [
        *["the tables were not vacuumed"] * 3,
        "no CHECKPOINT",
    ]


def test_a_lost_connection_is_reported_with_the_host_in_one_line(opened: RigDatabase, database: Database) -> None:
    def read() -> Any:
        with opened.errors():
            return opened.one("SELECT 1")

    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s)", [opened.connection.info.backend_pid])
    queries: tuple[Callable[[], Any], ...] = (opened.reset, read)
    for query in queries:
        with pytest.raises(RigError, match="db-1: PostgreSQL: ") as error:
            query()
        assert "\n" not in error.value.message
        assert "bench --resume" in error.value.hint


def test_a_connection_that_was_lost_is_opened_again_for_a_reading(database: Database) -> None:
    opened = RigDatabase(lambda: psycopg.connect(database.dsn, autocommit=True), "db-1")
    with opened, psycopg.connect(database.dsn, autocommit=True) as other:
        for _ in range(2):
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [opened.connection.info.backend_pid])
            assert opened.one("SELECT 1") == (1,)


def test_a_connection_that_waits_for_a_result_is_closed(database: Database) -> None:
    """As after the end of its server process: psycopg's own `with` would fail to commit, and leave it open."""
    opened = RigDatabase(lambda: psycopg.connect(database.dsn, autocommit=True), "db-1")
    with opened:
        connection = opened.connection
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
    assert connection.closed
