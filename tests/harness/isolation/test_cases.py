"""The cases: the tables say what the texts say, each can detect its anomaly, and none cries wolf."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from harness.isolation.case_model import LEVELS, Case, Level, Script, Step
from harness.isolation.cases import CASES, CLEANUP, FINAL, SETUP
from harness.isolation.observe import observe, verdict
from harness.isolation.sqlite_driver import Sqlite
from harness.isolation.stepper import drive, script
from harness.isolation.transcript import LEVEL

RU, RC, RR, SER = LEVELS
ALWAYS = {"G0", "G1a", "G1b", "G1c", "OTV", "dirty-read"}
SNAPSHOT = ALWAYS | {"PMP", "P4", "G-single", "non-repeatable-read", "phantom-read"}
DOCUMENTED = {RU: ALWAYS, RC: ALWAYS, RR: SNAPSHOT, SER: set(CASES)}
"""What PostgreSQL prevents, from Hermitage's table and the manual's table 13.1, written down independently."""
PL_2_99 = {"G0", "G1a", "G1b", "G1c", "OTV", "P4", "G-single", "G2-item", "dirty-read", "non-repeatable-read"}
STANDARD = {RU: {"G0"}, RC: {"G0", "G1a", "G1b", "G1c", "dirty-read"}, RR: PL_2_99, SER: set(CASES)}


def test_the_ten_of_hermitage_and_the_three_of_the_page() -> None:
    ten = ["G0", "G1a", "G1b", "G1c", "OTV", "PMP", "P4", "G-single", "G2-item", "G2"]
    assert list(CASES) == [*ten, "dirty-read", "non-repeatable-read", "phantom-read"]


@pytest.mark.parametrize("level", LEVELS)
def test_tables(level: Level) -> None:
    assert {n for n, case in CASES.items() if case.documented(level) == "prevented"} == DOCUMENTED[level]
    assert {n for n, case in CASES.items() if case.standard(level) == "prevented"} == STANDARD[level]


def test_says_where_the_standard_is_silent() -> None:
    named = {name for name, case in CASES.items() if not case.silent(RC)}
    assert named == {"G1a", "dirty-read", "non-repeatable-read", "phantom-read"}
    assert not any(case.silent(SER) for case in CASES.values())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_an_engine_without_isolation_shows_each_anomaly(case: Case, level: Level, no_isolation) -> None:
    seen = drive(no_isolation, script(case, level, no_isolation))
    observed = observe(case, level, seen)
    assert observed.kind == "occurred", seen.witness()
    assert verdict(case.documented(level), observed) == ("fail" if case.name in DOCUMENTED[level] else "pass")


@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_no_serial_order_shows_an_anomaly(case: Case, tmp_path: Path) -> None:
    for order in permutations(case.sessions):
        with Sqlite(tmp_path / "serial.db", "naive") as driver:
            rounds = []
            for session in order:
                steps = [Step(session, "BEGIN"), Step(session, driver.level_sql, LEVEL)]
                steps += [step for step in case.steps if step.session == session]
                rounds += [(step,) for step in steps]
            plan = Script(level=SER, setup=SETUP, rounds=tuple(rounds), final=FINAL, cleanup=CLEANUP)
            observed = observe(case, SER, drive(driver, plan))
        assert observed.kind == "snapshot", order  # neither waited nor aborted nor occurred
