"""The cases: the tables agree with their sources, each case detects its anomaly, and none gives a false positive."""

from __future__ import annotations

from itertools import permutations
from operator import attrgetter
from pathlib import Path

import pytest

from harness.isolation.case_model import LEVELS, Case, Level, Script, Step
from harness.isolation.cases import CASES, CLEANUP, FINAL, SETUP
from harness.isolation.observe import observe, verdict
from harness.isolation.sqlite_driver import Sqlite
from harness.isolation.stepper import run_schedule, script
from harness.isolation.transcript import LEVEL

RU, RC, RR, SER = LEVELS
ALWAYS = {"G0", "G1a", "G1b", "G1c", "OTV", "dirty-read"}
WRITES = {"PMP-write", "G-single-pred", "G-single-del"}
SNAPSHOT = ALWAYS | WRITES | {"PMP", "P4", "G-single", "non-repeatable-read", "phantom-read"}
DOCUMENTED = {RU: ALWAYS, RC: ALWAYS, RR: SNAPSHOT, SER: set(CASES)}
"""What PostgreSQL prevents, copied independently from Hermitage's table and the manual's table 13.1."""
PL_2_99 = {"G0", "G1a", "G1b", "G1c", "OTV", "P4", "G-single", "G2-item", "dirty-read", "non-repeatable-read"}
PL_2_99 |= {"G-single-del", "read-only"}
STANDARD = {RU: {"G0"}, RC: {"G0", "G1a", "G1b", "G1c", "dirty-read"}, RR: PL_2_99, SER: set(CASES)}


def test_cases_are_those_of_hermitage_of_sql_92_and_of_fekete() -> None:
    ten = ["G0", "G1a", "G1b", "G1c", "OTV", "PMP", "P4", "G-single", "G2-item", "G2"]
    assert list(CASES) == [
        *ten, "dirty-read", "non-repeatable-read", "phantom-read",
        "PMP-write", "G-single-pred", "G-single-del", "read-only",
    ]  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_standard_and_documented_rules_per_level(level: Level) -> None:
    assert {n for n, case in CASES.items() if case.documented(level) == "prevented"} == DOCUMENTED[level]
    assert {n for n, case in CASES.items() if case.standard(level) == "prevented"} == STANDARD[level]


def test_silent_where_sql_92_does_not_name_the_anomaly() -> None:
    named = {name for name, case in CASES.items() if not case.silent(RC)}
    assert named == {"G1a", "dirty-read", "non-repeatable-read", "phantom-read"}
    assert not any(case.silent(SER) for case in CASES.values())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", [case for case in CASES.values() if case.name != "PMP-write"], ids=attrgetter("name"))
def test_an_engine_without_isolation_shows_each_anomaly(case: Case, level: Level, no_isolation) -> None:
    transcript = run_schedule(no_isolation, script(case, level, no_isolation))
    observed = observe(case, level, transcript)
    assert observed.kind == "occurred", transcript.witness()
    assert verdict(case.documented(level), observed) == ("fail" if case.name in DOCUMENTED[level] else "pass")


def test_a_session_that_begins_late_begins_right_before_its_first_step(no_isolation) -> None:
    """Under a snapshot its reads would otherwise be older than the changes that it must see."""
    statements = [step.sql for (step,) in script(CASES["read-only"], RR, no_isolation).rounds]
    reads = statements.index(CASES["read-only"].steps[3].sql, statements.index("COMMIT"))
    assert statements[reads - 3] == "COMMIT"
    assert statements[reads - 2].startswith("BEGIN")
    assert len(statements) == len(CASES["read-only"].steps) + 2 * 3


@pytest.mark.parametrize("case", CASES.values(), ids=attrgetter("name"))
def test_a_serial_order_shows_no_anomaly(case: Case, tmp_path: Path) -> None:
    for order in permutations(case.sessions):
        with Sqlite(tmp_path / "serial.db", "naive") as driver:
            rounds = []
            for session in order:
                steps = [Step(session, "BEGIN"), Step(session, driver.level_sql, LEVEL)]
                steps += [step for step in case.steps if step.session == session]
                rounds += [(step,) for step in steps]
            plan = Script(level=SER, setup=SETUP, rounds=tuple(rounds), final=FINAL, cleanup=CLEANUP)
            observed = observe(case, SER, run_schedule(driver, plan))
        assert observed.kind == "snapshot", order
