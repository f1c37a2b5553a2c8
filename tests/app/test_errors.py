from __future__ import annotations

import sqlite3

import psycopg
import pytest

from app.errors import from_connect, from_postgres, from_sqlite


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("FATAL:  sorry, too many clients already", "53300"),
        ("FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute", "53300"),
        ('FATAL:  too many connections for role "appuser"', "53300"),
        ("FATAL: no more connections allowed (max_client_conn)", "53300"),
        ("FATAL:  the database system is starting up", "57P03"),
        ('FATAL:  password authentication failed for user "appuser"', "28P01"),
        ('FATAL:  no pg_hba.conf entry for host "198.18.0.9"', "28000"),
        ('FATAL:  database "nope" does not exist', "3D000"),
        ("SSL error: certificate verify failed", "TLS_REFUSED"),
        ('server certificate for "db-1" does not match host name "198.18.0.2"', "TLS_REFUSED"),
        ('root certificate file "/etc/ca.pem" does not exist', "TLS_REFUSED"),
        ("server does not support SSL, but SSL was required", "TLS_REFUSED"),
        ("Connection refused", "CONNECT_FAILED"),
    ],
)
def test_a_failed_login_is_503_aborted_without_names(words: str, code: str) -> None:
    text = f'connection failed: connection to server at "198.18.0.2", port 5432 failed: {words}'
    error = from_connect(psycopg.OperationalError(text))
    assert (error.status, error.code, error.outcome) == (503, code, "aborted")
    assert "198.18" not in error.message
    assert "appuser" not in error.message


@pytest.mark.parametrize(("in_doubt", "outcome"), [(True, "unknown"), (False, "aborted")])
def test_a_lost_connection_is_unknown_only_in_doubt(in_doubt: bool, outcome: str) -> None:
    error = from_postgres(psycopg.OperationalError("server closed the connection"), in_doubt=in_doubt)
    assert (error.status, error.code, error.outcome) == (503, "CONNECTION_LOST", outcome)


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("SELECT 1/0", 422, "22012"),
        ("SELECT * FROM nowhere", 503, "42P01"),
        ("SELEC", 500, "42601"),
        ("SET TRANSACTION READ ONLY; CREATE TABLE t ()", 503, "25006"),
    ],
)
def test_a_server_side_rollback_is_aborted_even_in_doubt(postgres: str, sql: str, status: int, code: str) -> None:
    with psycopg.connect(postgres) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(sql)  # type: ignore[arg-type]
    error = from_postgres(caught.value, in_doubt=True)
    assert (error.status, error.code, error.outcome) == (status, code, "aborted")


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (sqlite3.OperationalError("database is locked"), "SQLITE_BUSY", "aborted"),
        (sqlite3.OperationalError("disk I/O error"), "SQLITE_ERROR", "unknown"),
    ],
)
def test_sqlite_errors_in_doubt(error: sqlite3.Error, code: str, outcome: str) -> None:
    made = from_sqlite(error, in_doubt=True)
    assert (made.status, made.code, made.outcome) == (503, code, outcome)
