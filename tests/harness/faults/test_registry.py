"""The registry of faults has the names that plans use."""

from __future__ import annotations

from harness.faults import FAULTS, unavailable
from harness.plan.fault_schedule import KINDS
from tests.support.fake_rig import FakeRig

NOT_BUILT = {
    "host-down": "needs stop_host and start_host of the providers",
    "connections-gone": "its holder is not built yet",
    "db-full": "family disk",
    "partition-db": "family network",
    "partition-db-one-way": "family network",
    "partition-db-reject": "family network",
    "partition-lb": "family network",
    "slow-network": "family network",
}
"""Faults of the plan that nobody can inject yet, and why."""


def test_every_fault_of_the_plan_can_be_injected() -> None:
    assert set(FAULTS) == set(KINDS) - set(NOT_BUILT)


def test_existing_machines_need_a_permission() -> None:
    refused = unavailable(FakeRig(provider="static"))
    assert all("faults_allowed: true" in reason for name, reason in refused.items() if name != "load-host-kill")
    assert "two load hosts" in refused["load-host-kill"]
    allowed = unavailable(FakeRig(provider="static", faults_allowed=True))
    assert {name for name, reason in allowed.items() if reason} == {"load-host-kill"}


def test_a_rolling_restart_needs_two_hosts() -> None:
    assert "two app hosts" in unavailable(FakeRig(apps=1, provider="podman"))["app-roll"]


def test_faults_come_in_the_order_of_the_plan() -> None:
    names = list(unavailable(FakeRig()))
    assert names == [name for name in KINDS if name in names]
