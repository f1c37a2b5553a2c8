"""A statement that gets no response ends at its deadline, by the server or without it."""

from __future__ import annotations

import time

import psycopg
import pytest

from harness.rig.database_connection import DeadlineConnection, options
from tests.support.postgres_server import Database


def test_a_server_that_gives_no_response_is_given_up_and_the_connection_is_closed(database: Database) -> None:
    """A paused host: the connection to the SSH tunnel is healthy, and no response ever comes."""
    with DeadlineConnection.connect(database.dsn, autocommit=True) as connection:
        connection.limit_s = 0.3
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match=r"gave no response within 0.3 s"):
            connection.execute("SELECT pg_sleep(20)")
        assert time.monotonic() - started < 5
        assert connection.closed


def test_the_server_itself_cancels_a_statement_at_its_limit(database: Database) -> None:
    with (
        DeadlineConnection.connect(database.dsn, autocommit=True, **options(0.3)) as connection,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        connection.execute("SELECT pg_sleep(20)")


def test_settings_of_the_users_own_databases_have_no_effect(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {
        "PGSSLMODE": "require", "PGGSSENCMODE": "require", "PGCHANNELBINDING": "require", "PGAPPNAME": "mine",
        "PGTARGETSESSIONATTRS": "standby", "PGCLIENTENCODING": "LATIN1",
        "PGOPTIONS": "-c default_transaction_read_only=on",
    }  # fmt: skip
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    with DeadlineConnection.connect(database.dsn, autocommit=True, **options(5)) as connection:
        names = ("application_name", "client_encoding", "default_transaction_read_only")
        shown = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    assert shown == [("pgcrucible",), ("UTF8",), ("off",)]


def test_an_interrupted_statement_is_left_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Psycopg would ask a paused server to cancel it, and wait: Ctrl-C needed two tries."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with DeadlineConnection.connect(database.dsn, autocommit=True) as connection:
        monkeypatch.setattr("harness.rig.database_connection.waiting.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            connection.execute("SELECT 1")
        assert connection.closed
