"""Connections that another client holds: the service has to recover without a restart."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from harness.fault_record import PlannedFault
from harness.faults import app, connections
from harness.faults.connections import ConnectionsGone
from harness.faults.unit_processes import Process, Unit, UnitProcesses
from harness.model import Host
from harness.rig.rig import Rig
from tests.support.fake_rig import FakeRig

PLANNED = PlannedFault(fault="connections-gone", at_s=0.0, hold_s=5.0)
UNIT = "pgcrucible-app@1.service"


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The service's process on each host; 0: it does not run."""
    running = {"app-1": 812, "app-2": 813}

    def read(rig: Rig, host: Host, units: Sequence[str]) -> UnitProcesses:
        pid = running[host.name]
        unit = Unit(name=UNIT, active="active", sub="running", main=pid)
        processes = (Process(unit=UNIT, pid=pid, state="S", started=5),) if pid else ()
        return UnitProcesses(units=(unit,), processes=processes)

    monkeypatch.setattr(app, "read_processes", read)
    monkeypatch.setattr(connections, "_count", lambda _: (0, 20))
    return running


def test_a_service_that_restarts_did_not_recover_by_itself(rig: FakeRig, pids: dict[str, int]) -> None:
    fault = ConnectionsGone()
    before = fault.before(rig, PLANNED)
    assert before == {"sessions": "20", f"app-1 {UNIT}": "812@5", f"app-2 {UNIT}": "813@5"}
    assert fault.restarted(rig, PLANNED, before) == {}
    pids["app-2"] = 944
    assert fault.restarted(rig, PLANNED, before) == {"app-2": f"app-2: {UNIT} restarted"}
    pids["app-2"] = 0
    assert fault.restarted(rig, PLANNED, before) == {"app-2": f"app-2: {UNIT} restarted"}


def test_a_service_that_was_down_before_is_not_judged(rig: FakeRig, pids: dict[str, int]) -> None:
    """Another fault had ended it; it starts while the connections are gone."""
    fault, pids["app-2"] = ConnectionsGone(), 0
    before = fault.before(rig, PLANNED)
    pids["app-2"] = 944
    assert fault.restarted(rig, PLANNED, before) == {}
