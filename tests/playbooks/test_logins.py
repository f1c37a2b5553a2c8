"""Rights, limits of time and refused logins of the service and the harness, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import re
import select
from typing import Any

import psycopg
import pytest

from app.backends.postgres import PostgresBackend
from app.settings import Settings

from .conftest import PASSWORDS, SQL, TIMEOUTS, Psql, login


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
