"""The matrix on a real PostgreSQL, and the driver's refusals."""

from __future__ import annotations

import pytest

from harness.errors import RigError, UsageError
from harness.isolation.case_model import LEVELS, Level
from harness.isolation.cases import CASES
from harness.isolation.matrix import matrix, read
from harness.isolation.observe import observe
from harness.isolation.postgres_driver import BEGIN, Postgres
from harness.isolation.stepper import drive, script

RU, RC, RR, SER = LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_postgresql_does_exactly_what_it_documents(stored, level: Level) -> None:
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
    ],
)
def test_the_means_by_which_it_prevents(stored, case: str, level: Level, kind: str, code: str) -> None:
    row = next(r for r in matrix(read(stored)) if (r["case"], r["level"]) == (case, level))
    assert (row["kind"], row["code"]) == (kind, code)
    assert (row["ms"] > 0) == (case in ("G0", "OTV", "P4"))


def test_the_version_is_stored_with_the_matrix(stored, look) -> None:
    assert stored["version"] == look("SELECT version()")
    assert stored["version_num"] == int(look("SHOW server_version_num"))
    assert stored["settings"]["deadlock_timeout"] == look("SHOW deadlock_timeout")
    assert stored["deadlock_timeout_ms"] == 100


class Liar(Postgres):
    """Promises any level and runs READ COMMITTED, as a session behind a careless proxy would."""

    def begin(self, level: Level, *, writes: bool) -> str:
        return BEGIN[RC]


def test_a_session_that_claims_a_level_is_asked_for_it(dsn: str) -> None:
    with Liar(dsn, "isolation") as liar:
        observed = observe(CASES["G2-item"], SER, drive(liar, script(CASES["G2-item"], SER, liar)))
    assert observed.kind == "unknown"
    assert observed.reason.startswith("T1 asked for SERIALIZABLE and ran READ COMMITTED")


@pytest.mark.parametrize("schema", ["Isolation", "a b", "x;drop", "", "é", "a" * 64])
def test_a_bad_schema_name_is_refused_before_anything_is_asked(schema: str) -> None:
    with pytest.raises(UsageError, match="no schema name"):
        Postgres("host=127.0.0.1 port=1", schema)


def test_a_schema_that_is_not_there(dsn: str) -> None:
    with pytest.raises(RigError, match="schema nowhere does not exist"):
        Postgres(dsn, "nowhere")


def test_two_runs_in_one_schema(pg: Postgres, dsn: str) -> None:
    with pytest.raises(RigError, match="another run works in schema isolation"):
        Postgres(dsn, "isolation")


def test_no_server() -> None:
    with pytest.raises(RigError, match="cannot connect"):
        Postgres("host=127.0.0.1 port=1 user=u password=hush-hush", "isolation")


def test_a_dsn_that_cannot_be_parsed_is_not_quoted() -> None:
    with pytest.raises(UsageError) as refused:
        Postgres("hush-hush", "isolation")
    assert "hush" not in f"{refused.value} {refused.value.hint} {refused.value.__cause__}"


def test_a_lost_observer_is_a_rig_error(dsn: str, postgres: str) -> None:
    import psycopg

    with Postgres(dsn, "isolation") as driver:
        with psycopg.connect(postgres, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (driver._observer.info.backend_pid,))
        with pytest.raises(RigError, match="observer's connection"):
            drive(driver, script(CASES["G0"], RC, driver))
