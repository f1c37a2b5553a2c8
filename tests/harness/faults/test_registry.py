"""The registry of faults has the names that plans use."""

from __future__ import annotations

from harness.faults import FAULTS, unavailable
from harness.plan.fault_schedule import KINDS
from tests.support.fake_rig import FakeRig


def test_every_fault_of_the_plan_can_be_injected() -> None:
    assert set(FAULTS) == set(KINDS)


def test_existing_machines_need_a_permission() -> None:
    rig = FakeRig(provider="static")
    refused = unavailable(rig)
    assert all("faults_allowed: true" in reason for reason in refused.values())
    assert rig.commands == []


def test_a_rolling_restart_needs_two_hosts() -> None:
    assert "two app hosts" in FAULTS["app-roll"].unavailable(FakeRig(apps=1, provider="podman"))


def test_a_killed_load_agent_needs_another_one() -> None:
    assert "two load hosts" in FAULTS["load-host-kill"].unavailable(FakeRig(provider="podman"))


def test_faults_come_in_the_order_of_the_plan() -> None:
    names = list(unavailable(FakeRig(provider="static")))
    assert names == [name for name in KINDS if name in names]
