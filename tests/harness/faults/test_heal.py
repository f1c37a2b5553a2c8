"""Healing what an earlier bench left: from the file of open faults, and by a sweep that needs none."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import heal as healing
from harness.faults.heal import heal, require_healed
from harness.faults.open_faults import OpenFaults, path_of
from harness.model import Host
from harness.provision.services import ServiceStatus
from harness.rig.rig import Rig
from tests.harness.faults.fake_fault import FakeFault
from tests.support.fake_rig import FakeRig

PLANNED = PlannedFault(fault="a", at_s=0.0, hold_s=1.0)


@pytest.fixture(autouse=True)
def swept(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the sweep finds on each host; the services of the rig work."""
    found: dict[str, list[str]] = {}
    monkeypatch.setattr(healing, "sweep", lambda _, host: found.pop(host.name, []))
    monkeypatch.setattr(healing, "ask_services", lambda *_: {})
    return found


def test_a_rig_without_faults_has_nothing_to_heal(rig: FakeRig) -> None:
    report = heal(rig, {})
    assert (report.undone, report.remaining) == ((), ())


def test_an_open_fault_is_healed_and_leaves_the_file(rig: FakeRig) -> None:
    fault = FakeFault()
    OpenFaults(rig.name).add(PLANNED, {"pid": "812"})
    assert require_healed(rig, {"a": fault}) == ("a: healed: answers",)
    assert fault.steps == ["heal", "healed"]
    assert not path_of(rig.name).exists()
    assert require_healed(rig, {"a": fault}) == ()


def test_a_fault_that_is_not_healed_stays_and_the_others_are_healed(rig: FakeRig) -> None:
    opened = OpenFaults(rig.name)
    stays = opened.add(PlannedFault(fault="b", at_s=0.0, hold_s=1.0), {})
    opened.add(PLANNED, {})
    report = heal(rig, {"a": FakeFault(), "b": FakeFault(heals=False)})
    assert report.undone == ("a: healed: answers",)
    assert report.remaining == ("b: not healed within 0.3 s",)
    assert list(OpenFaults(rig.name).all()) == [stays]
    with pytest.raises(RigError, match="b: not healed") as caught:
        require_healed(rig, {"b": FakeFault(heals=False)})
    assert "./run heal" in caught.value.hint


def test_a_host_that_does_not_answer_is_named(rig: FakeRig) -> None:
    OpenFaults(rig.name).add(PLANNED, {})
    report = heal(rig, {"a": FakeFault(fails=["heal"])})
    assert report.remaining == ("a: not healed within 0.3 s: app-1: no answer to heal",)


def test_a_fault_of_another_version_stays(rig: FakeRig) -> None:
    OpenFaults(rig.name).add(PLANNED, {})
    assert heal(rig, {}).remaining == ("a: this version of pgcrucible has no such fault",)


def test_the_sweep_finds_what_no_file_tells(rig: FakeRig, swept: dict[str, list[str]]) -> None:
    swept["app-2"] = ["app-2: removed PGCRUCIBLE-db-both"]
    report = heal(rig, {})
    assert report.undone == ("app-2: removed PGCRUCIBLE-db-both",)


@pytest.mark.parametrize("text", ["{", json.dumps({"format": 99, "faults": []})])
def test_a_file_that_cannot_be_read_is_left_to_the_sweep_and_removed(rig: FakeRig, text: str) -> None:
    path_of(rig.name).write_text(text)
    report = heal(rig, {})
    assert "the hosts are searched instead" in report.undone[0]
    assert report.remaining == ()
    assert not path_of(rig.name).exists()


def test_a_sweep_that_fails_is_named_and_keeps_the_file(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    def sweep(_: Rig, host: Host) -> list[str]:
        if host.name == "lb-1":
            raise RigError("lb-1: HAProxy does not answer")
        return []

    monkeypatch.setattr(healing, "sweep", sweep)
    path_of(rig.name).write_text("{")
    assert heal(rig, {}).remaining == ("lb-1: HAProxy does not answer",)
    assert path_of(rig.name).exists()


def test_a_service_that_does_not_work_afterwards_is_named(
    rig: FakeRig, swept: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    down = {"db-1": (ServiceStatus(name="PostgreSQL", ok=False, detail="no response"),)}
    monkeypatch.setattr(healing, "ask_services", lambda *_: down)
    monkeypatch.setattr(healing, "WORK_S", 0.0)
    swept["db-1"] = ["db-1: started postgresql@15-main.service (failed)"]
    assert heal(rig, {}).remaining == ("db-1: PostgreSQL does not work: no response",)


def test_the_newest_fault_is_healed_first(rig: FakeRig) -> None:
    order: list[str] = []

    def fault(name: str) -> Callable[..., str]:
        return lambda *_: order.append(name) or "answers"

    first, second = FakeFault(), FakeFault()
    first.healed, second.healed = fault("first"), fault("second")  # type: ignore[method-assign]
    opened = OpenFaults(rig.name)
    opened.add(PLANNED, {})
    opened.add(PlannedFault(fault="b", at_s=0.0, hold_s=1.0), {})
    heal(rig, {"a": first, "b": second})
    assert order == ["second", "first"]
