"""The matrix on a real PostgreSQL, and the driver's errors."""

from __future__ import annotations

import pytest

from harness.errors import RigError, UsageError
from harness.isolation.case_model import LEVELS, Level
from harness.isolation.cases import CASES
from harness.isolation.matrix import matrix, read
from harness.isolation.observe import observe
from harness.isolation.postgres_driver import BEGIN, Postgres
from harness.isolation.stepper import run_schedule, script

RU, RC, RR, SER = LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_anomalies_occur_exactly_where_documented_as_possible(stored, level: Level) -> None:
    rows = [row for row in matrix(read(stored)) if row["level"] == level]
    occurred = {row["case"] for row in rows if row["kind"] == "occurred"}
    assert {row["case"] for row in rows} == set(CASES)
    assert not [row["reason"] for row in rows if row["kind"] == "unknown"]
    assert occurred == {name for name, case in CASES.items() if case.documented(level) == "possible"}
    assert {row["verdict"] for row in rows} == {"pass"}


@pytest.mark.parametrize(
    ("case", "level", "kind", "code"),
    [
        ("G0", RC, "waited", ""),
        ("G0", RR, "aborted", "40001"),
        ("G1a", RC, "snapshot", ""),
        ("OTV", RC, "waited", ""),
        ("P4", RR, "aborted", "40001"),
        ("G-single", RR, "snapshot", ""),
        ("G2-item", SER, "aborted", "40001"),
        ("G2", SER, "aborted", "40001"),
        ("PMP-write", RR, "aborted", "40001"),
        ("G-single-pred", RR, "snapshot", ""),
        ("G-single-del", RR, "aborted", "40001"),
        ("read-only", SER, "aborted", "40001"),
    ],
)
def test_the_mechanism_that_prevents_an_anomaly(stored, case: str, level: Level, kind: str, code: str) -> None:
    row = next(r for r in matrix(read(stored)) if (r["case"], r["level"]) == (case, level))
    assert (row["kind"], row["code"]) == (kind, code)
    assert (row["ms"] > 0) == (case in ("G0", "OTV", "P4", "PMP-write"))


def test_version_and_settings_are_stored_with_the_matrix(stored, query) -> None:
    assert stored["version"] == query("SELECT version()")
    assert stored["version_num"] == int(query("SHOW server_version_num"))
    assert stored["settings"]["deadlock_timeout"] == query("SHOW deadlock_timeout")
    assert stored["deadlock_timeout_ms"] == 100


class AlwaysReadCommitted(Postgres):
    """Runs READ COMMITTED whatever level is requested, as a session behind a misconfigured proxy would."""

    def begin(self, level: Level, *, writes: bool) -> str:
        return BEGIN[RC]


def test_a_session_at_the_wrong_level_is_detected(dsn: str) -> None:
    with AlwaysReadCommitted(dsn, "isolation") as driver:
        observed = observe(CASES["G2-item"], SER, run_schedule(driver, script(CASES["G2-item"], SER, driver)))
    assert observed.kind == "unknown"
    assert observed.reason.startswith("T1 requested SERIALIZABLE but ran at READ COMMITTED")


@pytest.mark.parametrize("schema", ["Isolation", "a b", "x;drop", "", "é", "a" * 64])
def test_an_invalid_schema_name_is_rejected_before_connecting(schema: str) -> None:
    with pytest.raises(UsageError, match="invalid schema name"):
        Postgres("host=127.0.0.1 port=1", schema)


def test_a_missing_schema_is_an_error(dsn: str) -> None:
    with pytest.raises(RigError, match="schema nowhere does not exist"):
        Postgres(dsn, "nowhere")


def test_a_second_run_in_the_same_schema_is_an_error(pg: Postgres, dsn: str) -> None:
    with pytest.raises(RigError, match="another run uses schema isolation"):
        Postgres(dsn, "isolation")


def test_an_unreachable_server_is_an_error() -> None:
    with pytest.raises(RigError, match="cannot connect"):
        Postgres("host=127.0.0.1 port=1 user=u password=hush-hush", "isolation")


def test_the_error_for_an_invalid_dsn_does_not_quote_it() -> None:
    with pytest.raises(UsageError) as caught:
        Postgres("hush-hush", "isolation")
    assert "hush" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__}"


def test_a_lost_observer_connection_is_a_rig_error(dsn: str, postgres: str) -> None:
    import psycopg

    with Postgres(dsn, "isolation") as driver:
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (driver._observer.info.backend_pid,))
        with pytest.raises(RigError, match="observer's connection"):
            run_schedule(driver, script(CASES["G0"], RC, driver))
