"""The task heal, and the heal that comes before a provision and a destroy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.cli import rigs
from harness.errors import RigError
from harness.faults import heal as healing
from harness.faults.heal import HealReport
from harness.faults.open_faults import path_of
from harness.rig import state
from tests.support.builders import rig_state

NAME = "paper"


@pytest.fixture(autouse=True)
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[HealReport]]:
    """A stored rig of existing machines, and what its heal finds."""
    reports: list[HealReport] = []
    monkeypatch.setattr(state, "RIGS", tmp_path)
    monkeypatch.setattr(healing, "heal", lambda *_: reports.pop())
    state.make_folder(NAME)
    state.save(rig_state())
    yield reports
    assert reports == []


def test_a_healthy_rig_has_nothing_to_heal(report: list[HealReport], capsys: pytest.CaptureFixture[str]) -> None:
    report.append(HealReport())
    rigs.run_heal(NAME)
    assert "nothing to heal" in capsys.readouterr().out


def test_what_was_undone_is_printed(report: list[HealReport], capsys: pytest.CaptureFixture[str]) -> None:
    report.append(HealReport(undone=("app-1: continued it",)))
    rigs.run_heal(NAME)
    printed = capsys.readouterr().out
    assert "app-1: continued it" in printed
    assert "is healed" in printed


def test_what_remains_is_an_error(report: list[HealReport]) -> None:
    report.append(HealReport(remaining=("db-1: no answer",)))
    with pytest.raises(RigError, match="not healed: db-1: no answer"):
        rigs.run_heal(NAME)


def test_before_a_change_only_open_faults_are_healed(
    report: list[HealReport], capsys: pytest.CaptureFixture[str]
) -> None:
    rigs._heal_first(NAME)
    path_of(NAME).write_text("{")
    report.append(HealReport(remaining=("db-1: no answer",)))
    rigs._heal_first(NAME)
    assert "warning: rig 'paper' is not healed: db-1: no answer" in capsys.readouterr().out


def test_hosts_that_a_destroy_removes_are_not_healed(report: list[HealReport]) -> None:
    state.save(rig_state(provider="podman"))
    path_of(NAME).write_text("{")
    rigs._heal_first(NAME, made_hosts=False)


def test_another_process_that_measures_the_rig_is_not_disturbed(report: list[HealReport]) -> None:
    with state.locked(NAME), pytest.raises(RigError, match="another process"):
        rigs.run_heal(NAME)
