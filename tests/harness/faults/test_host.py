"""A host that was switched off: it is healed once it serves with the CPU limit that it had."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import host as module
from harness.faults.host import HostDown
from harness.rig.connection import Result
from harness.rig.rig import Rig
from tests.support.fake_rig import FakeRig

PLANNED = PlannedFault(fault="host-down", at_s=0.0, hold_s=3.0)
QUARTER, OTHER, NONE, MACHINE = "25000 100000\n", "50000 100000\n", "-1 100000\n", ""


@pytest.fixture
def limit(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the host prints as its limit, the last entry."""
    printed = [QUARTER]

    def run(command: Sequence[str], **_: object) -> Result:
        return Result(stdout=printed[-1] if command[0] == "sh" else "", stderr="", code=0)

    monkeypatch.setattr(rig, "at", lambda host: SimpleNamespace(run=run))
    monkeypatch.setattr(module, "answers", lambda *_: "app-1: GET /live is 200")
    return printed


@pytest.mark.parametrize("of_host", [QUARTER, NONE, MACHINE])
def test_a_host_with_the_limit_that_it_had_is_healed(rig: Rig, limit: list[str], of_host: str) -> None:
    limit.append(of_host)
    assert HostDown().healed(rig, PLANNED, HostDown().before(rig, PLANNED)) == (
        "app-1 accepts SSH; app-1: GET /live is 200"
    )


@pytest.mark.parametrize(
    ("of_host", "problem"),
    [
        (NONE, "app-1: its CPU limit is none, before the fault: 0.25 cores"),
        (OTHER, "app-1: its CPU limit is 0.5 cores, before the fault: 0.25 cores"),
    ],
)
def test_a_host_with_another_limit_is_not_healed(rig: Rig, limit: list[str], of_host: str, problem: str) -> None:
    """A host without its limit takes what the others need: figures after the fault are of another rig."""
    before = HostDown().before(rig, PLANNED)
    limit.append(of_host)
    with pytest.raises(RigError) as raised:
        HostDown().healed(rig, PLANNED, before)
    assert raised.value.message == problem


def test_a_limit_that_was_rounded_is_the_same(rig: Rig, limit: list[str]) -> None:
    limit.append("33333 100000\n")
    before = HostDown().before(rig, PLANNED)
    limit.append("33300 100000\n")
    assert HostDown().healed(rig, PLANNED, before)
