"""Roles, rights and access rules on a real PostgreSQL: made by the role's SQL, checked by its verification."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .conftest import SETTINGS, SQL, VERIFY, Psql, Render, states


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
