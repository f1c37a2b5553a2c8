"""Roles, rights and access rules on a real PostgreSQL: made by the role's SQL, checked by its verification."""

from __future__ import annotations

import asyncio
import os
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.backends.postgres import PostgresBackend
from app.settings import Settings

from .conftest import Render

SQL, VERIFY = "postgres/templates/database.sql.j2", "postgres/templates/verify.sql.j2"
HBA, REMOVE = "postgres/templates/pg_hba.conf.j2", "postgres/templates/remove.sql.j2"
PASSWORDS = {"appuser": 'pass"word', "crucible_harness": "harness-password"}
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
SETTINGS = {"max_connections": 100, "shared_buffers": "65536kB", "password_encryption": "scram-sha-256", "fsync": "off"}

Psql = Callable[[str, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def fresh(server: Any) -> Iterator[Any]:
    """A separate server: these tests change roles, which all databases of a server share."""
    folder = Path(tempfile.mkdtemp(prefix="pgcrucible-pg-"))
    try:
        running = type(server)(folder)
        running.start()
        try:
            yield running
        finally:
            running.stop("immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def rendered(render_once: Render) -> dict[str, str]:
    """The role's SQL and access rules."""
    return render_once("db-1", [SQL, VERIFY, HBA, REMOVE], postgres_settings=SETTINGS)


@pytest.fixture
def psql(fresh: Any) -> Psql:
    """`psql(database, script)` as the superuser, as the role calls it."""

    def call(database: str, script: str) -> subprocess.CompletedProcess[str]:
        command = [str(fresh._bin / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        command += ["--set=ON_ERROR_STOP=on", "--file=-", f"--dbname={fresh.dsn(database)}"]
        return subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=60, env=os.environ, check=False
        )

    return call


@pytest.fixture
def texts(rendered: dict[str, str], fresh: Any, psql: Psql) -> Iterator[dict[str, str]]:
    """The role's SQL, applied once; access rules in force; everything gone afterwards."""
    done = psql("postgres", rendered[SQL])
    assert done.returncode == 0, done.stderr
    rules = Path(fresh._data) / "pg_hba.conf"
    before = rules.read_text(encoding="utf-8")
    us = "host all postgres 127.0.0.1/32 scram-sha-256\nhost crucible appuser 127.0.0.1/32 scram-sha-256\n"
    rules.write_text(us + rendered[HBA], encoding="utf-8")
    psql("postgres", "SELECT pg_reload_conf();")
    yield rendered
    rules.write_text(before, encoding="utf-8")
    psql("postgres", "SELECT pg_reload_conf();")
    done = psql("postgres", rendered[REMOVE])
    assert (done.returncode, done.stdout) == (0, "removed\n"), done.stderr


def login(fresh: Any, user: str) -> psycopg.Connection[Any]:
    where = f"host=127.0.0.1 port={fresh.port} dbname=crucible sslmode=disable"
    return psycopg.connect(where, user=user, password=PASSWORDS[user], autocommit=True)


def states(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {line for line in done.stdout.splitlines() if line.startswith("state ")}


def test_a_second_run_changes_nothing_and_drift_is_undone(texts: dict[str, str], psql: Psql) -> None:
    assert len(states(psql("postgres", texts[SQL]))) == 1
    assert psql("crucible", texts[VERIFY]).returncode == 0
    for drift in (
        "GRANT DELETE ON ledger TO crucible_app",
        "ALTER ROLE appuser CREATEDB",
        "ALTER ROLE appuser SET lock_timeout = 0",
        "ALTER ROLE appuser PASSWORD 'other'",
        "REVOKE SELECT ON counters FROM crucible_app",
        "DROP TABLE ledger",
        "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
        "ALTER ROLE appuser IN DATABASE crucible SET statement_timeout = 0",
        "ALTER ROLE crucible_app SET work_mem = '1GB'",
        "ALTER DATABASE crucible SET lock_timeout = 0",
        "SET ROLE appuser; ALTER ROLE appuser SET statement_timeout = 0; RESET ROLE",
        "SET ROLE appuser; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; RESET ROLE",
        "GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC",
        "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO appuser",
        "SELECT lo_create(0)",
        "SELECT lo_create(77) \\gset\nALTER LARGE OBJECT 77 OWNER TO crucible_app",
        "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f OWNER TO appuser",
        "CREATE SCHEMA s; ALTER SCHEMA s OWNER TO appuser",
    ):
        assert psql("crucible", f"{drift};").returncode == 0, drift
        assert len(states(psql("postgres", texts[SQL]))) == 2, drift
        assert len(states(psql("postgres", texts[SQL]))) == 1, drift
    assert psql("crucible", texts[VERIFY]).returncode == 0


@pytest.mark.parametrize(
    ("drift", "message"),
    [
        ("GRANT DELETE ON ledger TO crucible_app", "appuser may DELETE ledger"),
        ("GRANT CREATE ON SCHEMA public TO PUBLIC", "appuser may CREATE in schema public"),
        ("GRANT USAGE ON SCHEMA isolation TO appuser", "appuser may USAGE in schema isolation"),
        ("ALTER ROLE appuser CREATEROLE", "role appuser has rights it must not have"),
        ("GRANT CONNECT ON DATABASE postgres TO PUBLIC", "appuser may connect to database postgres"),
        ("ALTER DATABASE crucible SET password_encryption = md5", "setting password_encryption is md5"),
        ("GRANT EXECUTE ON FUNCTION lo_create(oid) TO PUBLIC", "appuser may execute lo_create(oid)"),
        ("GRANT EXECUTE ON FUNCTION lo_put(oid, bigint, bytea) TO crucible_app", "appuser may execute lo_put(oid"),
        ("GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(int, int) TO PUBLIC", "appuser may execute pg_try_advis"),
        ("SELECT lo_create(77)", "the database holds 1 large objects"),
        ("SELECT lo_create(78) \\gset\nALTER LARGE OBJECT 78 OWNER TO appuser", "appuser owns large object 78"),
        ("CREATE SCHEMA s; ALTER SCHEMA s OWNER TO crucible_app", "crucible_app owns schema s"),
        ("SET ROLE appuser; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC", "appuser owns default privileges"),
        (
            "SET ROLE appuser; ALTER ROLE appuser SET statement_timeout = 0",
            "appuser has the setting statement_timeout=0",
        ),
        (
            "SET ROLE appuser; ALTER ROLE appuser IN DATABASE crucible SET lock_timeout = 0",
            "appuser has the setting lock_timeout=0 in database crucible",
        ),
        ("ALTER DATABASE crucible SET lock_timeout = 0", "every role has the setting lock_timeout=0 in database"),
        ("ALTER ROLE appuser CONNECTION LIMIT -1", "appuser may open -1 connections, expected 90"),
        ("ALTER ROLE appuser RESET lock_timeout", "appuser lacks the setting lock_timeout=20s"),
    ],
)
def test_verification_reports_drift(texts: dict[str, str], psql: Psql, drift: str, message: str) -> None:
    assert psql("crucible", f"{drift};").returncode == 0
    done = psql("crucible", texts[VERIFY])
    assert done.returncode != 0
    assert message in done.stderr
    assert psql("postgres", texts[SQL]).returncode == 0
    assert psql("crucible", texts[VERIFY]).returncode == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("host all appuser 0.0.0.0/0 trust\n", "accepts {appuser} by trust"),
        ("host all all 0.0.0.0/0 scram-sha-256\n", "does not end with"),
        ("hots all all all reject\n", "pg_hba.conf line"),
    ],
)
def test_verification_reports_wrong_access_rules(
    texts: dict[str, str], psql: Psql, fresh: Any, line: str, message: str
) -> None:
    with (Path(fresh._data) / "pg_hba.conf").open("a", encoding="utf-8") as rules:
        rules.write(line)
    done = psql("crucible", texts[VERIFY])
    assert done.returncode != 0
    assert message in done.stderr


@pytest.mark.usefixtures("texts")
def test_verification_with_tls_reports_access_without_it(render: Render, psql: Psql) -> None:
    tls = {"tls_certificates": {"db-1": "key and certificate"}, "postgres_settings_directory": "/pg"}
    done = psql("crucible", render("db-1", [VERIFY], postgres_settings=SETTINGS, **tls)[VERIFY])
    assert done.returncode != 0
    assert "setting ssl is off, expected on" in done.stderr
    assert "accepts {appuser} without TLS" in done.stderr


@pytest.mark.usefixtures("texts")
def test_the_service_logs_in_with_its_password_and_has_only_the_needed_rights(fresh: Any) -> None:
    with login(fresh, "appuser") as app:
        app.execute("INSERT INTO counters (key, value) VALUES ('k', 1)")
        app.execute("INSERT INTO data (content) VALUES ('x')")
        assert app.execute("SELECT current_setting('idle_in_transaction_session_timeout')").fetchone() == ("10s",)
        for statement in (
            "CREATE TABLE t ()",
            "CREATE TABLE isolation.t ()",
            "SELECT * FROM isolation.t",
            "CREATE SCHEMA s",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "ALTER TABLE counters ADD COLUMN c int",
            "DROP TABLE counters",
            "GRANT crucible_owner TO appuser",
            "ALTER SYSTEM SET fsync = off",
            "COPY counters TO PROGRAM 'true'",
            "CREATE TEMPORARY TABLE t ()",
            "SELECT * FROM pg_authid",
            "DELETE FROM ledger",
            "TRUNCATE counters",
            "SET ROLE crucible_owner",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT lo_create(0)",
            "SELECT lo_creat(-1)",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT lo_import('/etc/hostname')",
            "SELECT lo_put(1, 0, 'x')",
            "SELECT lo_open(1, 131072)",
            "SELECT lo_unlink(1)",
            "SELECT lowrite(0, 'x')",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
            "SELECT pg_logical_emit_message(false, 'x', 'x')",
            "SET ROLE crucible_app; SELECT lo_create(0)",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                app.execute(statement.encode())


def test_the_server_enforces_the_time_outs_of_the_services_role(texts: dict[str, str], psql: Psql, fresh: Any) -> None:
    """The time-outs are set on the role and shortened here; the client sets none."""
    short, changed = texts[SQL], 0
    for name, value in (("statement", "1s"), ("lock", "100ms"), ("idle_in_transaction_session", "200ms")):
        short, number = re.subn(rf"(?<=SET {name}_timeout = ')\d+s(?=')", value, short)
        changed += number
    assert changed == 3
    assert psql("postgres", short).returncode == 0
    with login(fresh, "appuser") as app, login(fresh, "crucible_harness") as holder:
        app.execute("INSERT INTO counters (key, value) VALUES ('held', 1)")
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            app.execute("SELECT pg_sleep(30)")
        with holder.transaction():
            holder.execute("SELECT 1 FROM counters WHERE key = 'held' FOR UPDATE")
            with pytest.raises(psycopg.errors.LockNotAvailable, match="lock timeout"):
                app.execute("UPDATE counters SET value = 2 WHERE key = 'held'")
    idle = login(fresh, "appuser")
    idle.execute("BEGIN")
    assert select.select([idle], [], [], 60)[0], "a transaction may stay idle for a minute"
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        idle.execute("SELECT 1")
    idle.close()


@pytest.mark.usefixtures("texts")
@pytest.mark.parametrize(
    ("role", "service", "effective"),
    [
        ("60s 60s 70s", (60_000, 0), ("1min", "1min", "1min")),
        ("1s 200ms 3s", (60_000, 0), ("1s", "200ms", "3s")),
        ("1s 200ms 3s", (0, 0), ("1s", "200ms", "3s")),
        ("1s 200ms 3s", (2000, 50), ("1s", "50ms", "2s")),
        ("0 0 0", (2000, 50), ("2s", "50ms", "2s")),
        ("0 0 0", (0, 0), ("0", "0", "0")),
    ],
)
def test_the_shorter_time_out_of_role_and_service_applies(
    psql: Psql, fresh: Any, role: str, service: tuple[int, int], effective: tuple[str, ...]
) -> None:
    """The service as it logs in, with its own time-outs or none: it lifts none of its role."""
    for name, value in zip(TIMEOUTS, role.split(), strict=True):
        assert psql("postgres", f"ALTER ROLE appuser SET {name} = '{value}';").returncode == 0
    environ = {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(fresh.port), "POSTGRES_DB": "crucible"}
    environ |= {"POSTGRES_USER": "appuser", "POSTGRES_PASSWORD": PASSWORDS["appuser"], "POSTGRES_SSLMODE": "disable"}
    environ |= {"STATEMENT_TIMEOUT_MS": str(service[0]), "LOCK_TIMEOUT_MS": str(service[1])}
    environ |= {"IDLE_TRANSACTION_MS": str(service[0])}

    async def log_in() -> tuple[str, ...]:
        connection = await PostgresBackend(Settings.from_environment(environ))._connect()
        try:
            return tuple([(await connection.query(f"SHOW {name}"))[0][0] for name in TIMEOUTS])
        finally:
            connection.close()

    assert asyncio.run(log_in()) == effective


def test_the_harness_logs_in_while_the_service_has_all_its_connections(
    texts: dict[str, str], psql: Psql, fresh: Any
) -> None:
    """Three connections stand for ninety."""
    few = texts[SQL].replace("CONNECTION LIMIT 90 ", "CONNECTION LIMIT 3 ")
    assert few != texts[SQL]
    assert psql("postgres", few).returncode == 0
    held = [login(fresh, "appuser") for _ in range(3)]
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        login(fresh, "appuser")
    with login(fresh, "crucible_harness") as harness:
        assert harness.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'appuser'").fetchone() == (3,)
    for connection in held:
        connection.close()


@pytest.mark.usefixtures("texts")
def test_the_harness_can_reset_measure_and_stop_without_superuser_rights(fresh: Any) -> None:
    with login(fresh, "crucible_harness") as harness, login(fresh, "appuser") as app:
        harness.execute("TRUNCATE counters, data, ledger, lists RESTART IDENTITY")
        harness.execute("VACUUM ANALYZE counters, data, ledger, lists")
        harness.execute("CHECKPOINT")
        harness.execute("CREATE TABLE isolation.t (id int); DROP TABLE isolation.t")
        assert harness.execute("SELECT pg_try_advisory_lock(1)").fetchone() == (True,)
        row = harness.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [app.info.backend_pid]).fetchone()
        assert row is not None
        assert "privilege" not in row[0]
        harness.execute("SELECT pg_terminate_backend(%s)", [app.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            app.execute("SELECT 1")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            harness.execute("SELECT * FROM pg_authid")


@pytest.mark.usefixtures("texts")
def test_a_wrong_password_and_an_unknown_host_are_refused(fresh: Any) -> None:
    where = f"host=127.0.0.1 port={fresh.port} sslmode=disable"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"{where} dbname=crucible user=appuser password=wrong")
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        psycopg.connect(f"{where} dbname=template1 user=appuser password=wrong")
