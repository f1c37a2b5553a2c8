"""What testifies is fit to: sessions, not a pooler's; our own settings; bounded waits; no word of a password."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.errors import RigError, UsageError
from harness.isolation.__main__ import deadlocks, isolation
from harness.isolation.case_model import LEVELS
from harness.isolation.postgres_connection import connect, parse_dsn, require_primary
from harness.isolation.postgres_driver import Postgres
from tests.support.pooler import Pooler

SER = LEVELS[3]


@pytest.mark.parametrize("size", [1, 2, 30])
@pytest.mark.parametrize("pid", [4_000_000, None], ids=["a made-up pid", "the pid of one of its servers"])
def test_a_pooler_in_transaction_mode_is_refused(dsn: str, size: int, pid: int | None) -> None:
    with Pooler(dsn, size, pid) as pooler:
        behind = make_conninfo(dsn, port=pooler.port, sslmode="disable")
        started = time.monotonic()
        with pytest.raises(UsageError, match="its connections ") as refused:
            Postgres(behind, "isolation")
        assert "pooler" in refused.value.hint
        assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "setting",
    [
        "lock_timeout = '300ms'",
        "statement_timeout = '300ms'",
        "idle_in_transaction_session_timeout = '300ms'",
        "transaction_timeout = '300ms'",
        "idle_session_timeout = '300ms'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "client_encoding = 'SQL_ASCII'",
        "deadlock_timeout = '1h'",
    ],
)
def test_settings_of_the_role_change_no_result(dsn: str, postgres: str, setting: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("GRANT SET ON PARAMETER deadlock_timeout TO isolation_test")
        admin.execute(f"ALTER ROLE isolation_test SET {setting}".encode())
        try:
            with Postgres(dsn, "isolation", limit_s=3.0) as driver:
                time.sleep(0.5)
                result = isolation(driver, ("P4",), (LEVELS[1], SER), lambda *_: None, limit_s=3.0)
                rounds = deadlocks(driver, (2,), lambda *_: None, limit_s=3.0)["rounds"]
        finally:
            admin.execute("ALTER ROLE isolation_test RESET ALL")
            admin.execute("REVOKE SET ON PARAMETER deadlock_timeout FROM isolation_test")
    transcripts: list[Any] = [cell["transcript"] for cell in result["cells"]] + [
        round_["transcript"] for round_ in rounds
    ]
    assert [transcript["trouble"] for transcript in transcripts] == ["", "", ""]
    codes = [sorted({event["code"] for event in transcript["events"]}) for transcript in transcripts]
    assert codes == [[""], ["", "40001"], ["", "40P01"]]


def test_a_server_that_says_nothing_is_an_error_in_time(dsn: str) -> None:
    with closing(connect(dsn, limit_s=0.3)) as connection:
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match=r"no response within 0\.3 s"):
            connection.execute("SELECT pg_sleep(2)")
        assert time.monotonic() - started < 5
        assert connection.closed


def test_a_standby_is_refused(dsn: str, postgres: str) -> None:
    with psycopg.connect(make_conninfo(postgres, dbname="isolation_test"), autocommit=True) as admin:
        admin.execute("CREATE SCHEMA standby; GRANT USAGE ON SCHEMA standby TO PUBLIC")
        admin.execute("CREATE FUNCTION standby.pg_is_in_recovery() RETURNS bool LANGUAGE sql AS 'SELECT true'")
        try:
            behind = make_conninfo(dsn, options="-csearch_path=standby,pg_catalog")
            with closing(connect(behind)) as connection, pytest.raises(UsageError, match="is a standby"):
                require_primary(connection)
        finally:
            admin.execute("DROP SCHEMA standby CASCADE")
    with closing(connect(dsn)) as connection:
        require_primary(connection)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:hun@ter2@127.0.0.1/db",
        "postgresql://user:hun/ter2@127.0.0.1/db",
        "postgresql://user:12/ter2@127.0.0.1/db",
        "postgresql://me@server:hunter2@127.0.0.1/db",
        "postgres://user:hunter2%zz@127.0.0.1/db",
        "host=hunter2@127.0.0.1",
        "host=127.0.0.1 port=hunter2",
        "host=127.0.0.1 password=a hunter2",
        "hunter2",
        "",
        "  ",
    ],
)
def test_a_string_that_may_hold_a_part_of_a_password_elsewhere_is_refused_and_not_repeated(dsn: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_dsn(dsn)
    text = f"{refused.value} {refused.value.hint} {refused.value.__cause__}"
    assert not any(part in text for part in ("ter2", "hun@", "user:", "127.0.0.1"))


def test_a_password_in_a_servers_message_is_masked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with pytest.raises(RigError) as refused:
        connect(f"host=127.0.0.1 port={port} user=u dbname=d password=127")
    assert "***.0.0.1" in str(refused.value)
