"""Counters of an external service, from its database and from its API."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any
from urllib.parse import unquote

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.errors import RigError, UsageError
from harness.targets import counter_source
from harness.targets.counter_source import ApiCounters, DatabaseCounters
from harness.targets.url import Address
from tests.support.pooler import Pooler
from tests.support.postgres_server import Database, Server

RESPONSES = {
    "hot-0": (200, {"value": 7}),
    "a/b": (200, {"value": 1}),
    "absent": (404, {"error": "not found"}),
    "broken": (500, {"error": "no"}),
    "text": (200, {"value": "7"}),
    "slow-whole": (200, {"value": 1}),
    "slow-drip": (200, {"value": 1}),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, answer = RESPONSES[unquote(self.path.removeprefix("/api/counter/"))]
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.path.endswith("slow-whole"):
            sleep(0.2)
        if self.path.endswith("slow-drip"):
            sleep(2)
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Prints nothing."""


@pytest.fixture
def api() -> Iterator[ApiCounters]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ApiCounters(Address(host="127.0.0.1", port=server.server_address[1], tls=False, ip="127.0.0.1"))
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(database: Database) -> DatabaseCounters:
    return DatabaseCounters(database.dsn, lambda _: None)


def test_the_api_has_no_value_of_a_key_that_was_never_written(api: ApiCounters) -> None:
    assert api.counters(["hot-0", "absent", "a/b"]) == {"hot-0": 7, "a/b": 1}
    assert api.counters([]) == {}


@pytest.mark.parametrize("key", ["broken", "text"])
def test_a_response_without_a_value_is_an_error(api: ApiCounters, key: str) -> None:
    with pytest.raises(RigError, match=rf"GET /api/counter/{key} answers \d+ ") as error:
        api.counters(["hot-0", key])
    assert "docs/openapi.yaml" in error.value.hint


@pytest.mark.parametrize("slow", ["slow-whole", "slow-drip"])
def test_a_reading_has_one_deadline(api: ApiCounters, slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each response comes in time, or only the last does not; together they would take 8 s."""
    monkeypatch.setattr(counter_source, "READING_S", 0.5)
    start = monotonic()
    with pytest.raises(RigError, match=r"the counters were not read within 0.5 s: one of 8 readers has \d of 40"):
        api.counters([slow] * 320)
    assert monotonic() - start < 4


def test_a_failed_reader_stops_the_others(api: ApiCounters) -> None:
    start = monotonic()
    with pytest.raises(RigError, match="answers 500"):
        api.counters(["broken", *["slow-whole"] * 319])
    assert monotonic() - start < 4


def test_the_database_has_counters_ledger_and_bulk_rows(opened: DatabaseCounters, database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO data (content) VALUES ('000000000001-0'), ('row of the user')")
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 7), ('other', 1)")
        connection.execute("INSERT INTO ledger (id, key, value) VALUES ('i1', 'hot-0', 7), ('i2', 'other', 1)")
    assert opened.counters(["hot-0", "absent"]) == {"hot-0": 7}
    assert opened.ledger(["hot-0"]) == {"i1": ("hot-0", 7)}
    newest = opened.newest()
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO data (content) VALUES ('000000000002-0'), ('row of the user')")
    assert newest == 2
    assert (opened.bulk_rows(newest).requests, opened.bulk_rows(0).requests) == ({2: 1}, {1: 1, 2: 1})


def test_a_database_without_a_ledger_has_none(server: Any) -> None:
    counters = DatabaseCounters(server.dsn(), lambda _: None)
    assert counters.ledger(["hot-0"]) is None


def test_the_oracles_connection_cannot_write(opened: DatabaseCounters) -> None:
    with pytest.raises(RigError, match="read-only transaction"), opened._reading("nothing") as db:
        db.execute("CREATE TABLE intruder ()")


def test_settings_that_may_hold_secrets_are_left_out(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for setting in ("work_mem = '5MB'", "password_encryption = 'md5'"):
            connection.execute(f"ALTER DATABASE {database.name} SET {setting}".encode())
    settings = DatabaseCounters(database.dsn, lambda _: None).settings()
    assert settings["server_version"]
    assert settings["work_mem"] == "5120kB"
    assert "password_encryption" not in settings


def test_a_remote_workload_gets_a_schema_that_is_dropped_at_the_end(
    opened: DatabaseCounters, database: Database
) -> None:
    with opened.scratch() as place:
        assert place["dsn"] == database.dsn
        with psycopg.connect(place["dsn"], autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {place['schema']}.t (id int)".encode())
    with psycopg.connect(database.dsn) as connection:
        schemas = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname LIKE 'pgcrucible%'").fetchall()
    assert schemas == []


def test_the_counters_of_an_encoding_free_database_and_of_padded_keys_are_read(server: Server) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        with psycopg.connect(server.dsn("ascii"), client_encoding="UTF8") as connection:
            connection.execute("CREATE TABLE counters (key char(40) PRIMARY KEY, value bigint)")
            connection.execute("CREATE TABLE ledger (id char(9), key char(40), value bigint)")
            connection.execute("INSERT INTO counters VALUES ('hot-0', 7), ('ü', 2)")
            connection.execute("INSERT INTO ledger VALUES ('i1', 'hot-0', 7)")
        counters = DatabaseCounters(server.dsn("ascii"), lambda _: None)
        assert counters.counters(["hot-0", "ü", "absent"]) == {"hot-0": 7, "ü": 2}
        assert counters.ledger(["hot-0"]) == {"i1": ("hot-0", 7)}
    finally:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("DROP DATABASE ascii WITH (FORCE)")


@pytest.mark.parametrize(
    ("columns", "rows", "reason"),
    [
        ("key text, value int", "('a', 1), ('a', 2)", "more than one row"),
        ("key text, value text", "('a', '1')", "the value 1"),
        ("key text, value numeric", "('a', 1.5)", "the value 1.5"),
        ("key text, value bool", "('a', true)", "the value True"),
        ("key text, value int", "('a', NULL)", "the value None"),
        ("key text, value numeric", "('a', 'NaN')", "the value NaN for the key 'a'"),
        ("key text, value numeric", "('a', 'Infinity')", "the value Infinity for the key 'a'"),
        ("key text, value float8", "('a', 'NaN')", "the value nan for the key 'a'"),
        ("key text, value numeric", "('a', 1e5000)", "the value 1"),
        ("key text, value interval", "('a', '1 day')", "the value 1 day, 0:00:00 for the key 'a'"),
        ("key text, value jsonb", "('a', '[1]')", r"the value \[1\] for the key 'a'"),
        ("key text, value jsonb", "('a', '1e400')", "the value "),
        ("key text, value jsonb", "('a', '1e5000')", r"the table counters \(key, value\) has a value that cannot be"),
        ("key text, value bytea", "('a', 'x')", "the value "),
    ],
)
def test_a_counter_that_is_no_single_number_is_an_error(
    opened: DatabaseCounters, database: Database, columns: str, rows: str, reason: str
) -> None:
    with psycopg.connect(database.dsn) as connection:
        connection.execute("DROP TABLE counters")
        connection.execute(f"CREATE TABLE counters ({columns})".encode())
        connection.execute(f"INSERT INTO counters VALUES {rows}".encode())
    with pytest.raises(RigError, match=reason):
        opened.counters(["a"])


def test_values_of_the_ledger_are_numbers(opened: DatabaseCounters, database: Database) -> None:
    with psycopg.connect(database.dsn) as connection:
        connection.execute("DROP TABLE ledger")
        connection.execute("CREATE TABLE ledger (id text, key text, value numeric)")
        connection.execute("INSERT INTO ledger VALUES ('i1', 'hot-0', 7)")
    ledger = opened.ledger(["hot-0"])
    assert ledger == {"i1": ("hot-0", 7)}
    assert type(ledger["i1"][1]) is int
    with psycopg.connect(database.dsn) as connection:
        connection.execute("INSERT INTO ledger VALUES ('i2', 'hot-0', 'NaN')")
    with pytest.raises(RigError, match="ledger has the value NaN for the id 'i2' and the key 'hot-0'"):
        opened.ledger(["hot-0"])


def test_a_text_that_is_no_utf8_is_an_error(server: Server) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        with psycopg.connect(server.dsn("latin"), client_encoding="LATIN1") as connection:
            connection.execute("CREATE TABLE counters (key text, value text)")
            connection.execute(r"INSERT INTO counters VALUES ('a', E'm\xfcll')")
        with pytest.raises(RigError, match=r"^--dsn: .*0xfc"):
            DatabaseCounters(server.dsn("latin"), lambda _: None).counters(["a"])
    finally:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("DROP DATABASE latin WITH (FORCE)")


def test_counters_are_read_after_the_server_ended_all_connections(opened: DatabaseCounters, database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 7)")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgcrucible'"
        )
    assert opened.counters(["hot-0"]) == {"hot-0": 7}


def test_counters_are_read_through_a_pooler_but_no_workload_runs(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO counters (key, value) VALUES ('hot-0', 7)")
    with Pooler(database.dsn, 2) as pooler:
        counters = DatabaseCounters(make_conninfo(database.dsn, port=pooler.port), lambda _: None)
        assert [counters.counters(["hot-0"]) for _ in range(3)] == [{"hot-0": 7}] * 3
        with pytest.raises(UsageError, match="connections"), counters.scratch():
            pass


def test_a_time_out_of_the_role_does_not_keep_the_schema(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database.name} SET statement_timeout = '200ms'".encode())
    counters = DatabaseCounters(database.dsn, lambda _: None)
    with psycopg.connect(database.dsn) as other:
        with counters.scratch() as place:
            other.execute(f"CREATE TABLE {place['schema']}.t (id int)".encode())
            other.commit()
            other.execute(f"LOCK TABLE {place['schema']}.t".encode())
            threading.Timer(0.8, other.commit).start()
        assert other.execute("SELECT to_regnamespace(%s)", [place["schema"]]).fetchone() == (None,)


def test_settings_of_the_role_do_not_end_a_reading(database: Database) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        for setting in ("statement_timeout = '200ms'", "client_encoding = 'LATIN1'", "lock_timeout = '200ms'"):
            connection.execute(f"ALTER DATABASE {database.name} SET {setting}".encode())
    counters = DatabaseCounters(database.dsn, lambda _: None)
    with counters._reading("nothing") as db:
        db.execute("SELECT pg_sleep(0.5)")
