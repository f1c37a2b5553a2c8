"""What a change of processes shows: replaced, ended, stopped; and when a unit has to be started."""

from __future__ import annotations

import json

import pytest

from harness.errors import RigError
from harness.faults.unit_processes import (
    Process,
    Unit,
    UnitProcesses,
    all_stopped,
    ended,
    kept,
    read_processes,
    replaced,
    start_if_down,
)
from harness.rig.connection import Result
from tests.support.fake_rig import FakeHost, FakeRig

UNIT = "app@1.service"


def processes(main: int, *others: tuple[int, str, int], active: str = "active") -> UnitProcesses:
    """A unit with a main process; `others` are process id, state and start of all its processes."""
    return UnitProcesses(
        units=(Unit(name=UNIT, active=active, sub="running", main=main),),
        processes=tuple(Process(unit=UNIT, pid=pid, state=state, started=started) for pid, state, started in others),
    )


BEFORE = kept(processes(812, (812, "S", 100)))


def test_the_main_process_is_kept_with_its_start() -> None:
    assert BEFORE == {UNIT: "812@100"}


def test_a_unit_that_is_down_cannot_be_killed() -> None:
    with pytest.raises(RigError, match="does not run"):
        kept(processes(0))


@pytest.mark.parametrize(
    ("now", "seen"),
    [
        (processes(812, (812, "S", 100)), ""),
        (processes(0), ""),
        (processes(944, (944, "S", 200), (812, "Z", 100)), ""),
        (processes(944, (944, "S", 200)), f"{UNIT}: pid 812 became 944"),
        (processes(812, (812, "S", 200)), f"{UNIT}: pid 812 became 812"),
    ],
)
def test_a_process_is_replaced_once_it_is_gone_and_another_runs(now: UnitProcesses, seen: str) -> None:
    assert replaced(BEFORE, now) == seen


def test_a_process_has_ended_whatever_runs_instead() -> None:
    assert ended(BEFORE, processes(812, (812, "S", 100))) == ""
    assert ended(BEFORE, processes(0)) == f"{UNIT}: pid 812 has ended"
    assert ended(BEFORE, processes(812, (812, "S", 200))) == f"{UNIT}: pid 812 has ended"


def test_a_process_is_stopped_in_state_t_alone() -> None:
    assert all_stopped(BEFORE, processes(812, (812, "S", 100))) == ""
    assert all_stopped(BEFORE, processes(812, (812, "T", 200))) == ""
    assert all_stopped(BEFORE, processes(812, (812, "T", 100))) == f"{UNIT}: pid 812 is stopped (T)"


class Answering(FakeHost):
    """Prints a unit in a state, and records the commands."""

    active = "active"

    def _run(self, command: list[str], stdin: str) -> Result:
        unit = {"name": UNIT, "active": self.active, "sub": "x", "main": 0}
        text = json.dumps({"units": [unit] if self.active else [], "processes": []})
        return Result(stdout=text if command[0] == "python3" else "", stderr="", code=0)


@pytest.mark.parametrize(("active", "starts"), [("active", False), ("activating", False), ("failed", True)])
def test_only_a_unit_that_systemd_starts_no_more_is_started(
    rig: FakeRig, active: str, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Answering(rig, "app-1")
    host.active = active
    monkeypatch.setattr(rig, "at", lambda _: host)
    helped = start_if_down(rig, rig.role("app")[0], [UNIT])
    assert bool(helped) == starts
    assert any(command[:2] == ["systemctl", "start"] for _, command in rig.commands) == starts


def test_a_host_without_the_unit_is_an_error(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Answering(rig, "app-1")
    host.active = ""
    monkeypatch.setattr(rig, "at", lambda _: host)
    with pytest.raises(RigError, match="has no unit"):
        read_processes(rig, rig.role("app")[0], [UNIT])
