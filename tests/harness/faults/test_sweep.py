"""The sweep of a host: each thing that a fault may leave is undone and named; a healthy host is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from harness.faults import sweep as sweeping
from harness.faults.balancer import Server
from harness.faults.sweep import sweep
from harness.faults.unit_processes import Process, UnitProcesses
from tests.support.fake_rig import FakeRig

Set = Callable[[str, object], None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Sets what a part of the sweep finds; a healthy host at first."""

    def set_part(name: str, value: object) -> None:
        owner, _, attribute = name.rpartition(".")
        monkeypatch.setattr(getattr(sweeping, owner) if owner else sweeping, attribute, lambda *_, **__: value)

    healthy = {
        "slow_path.stop": [], "packet_rules.remove": [], "disk.tidy": False, "connections.end_holder": 0,
        "read_processes": UnitProcesses(units=(), processes=()), "start_if_down": "", "signal_units": None,
        "balancer.servers": [], "balancer.command": "", "service_revision.remove": "",
        "proxy_replay.ProxyReplay": SimpleNamespace(restore=lambda: False),
    }  # fmt: skip
    for name, value in healthy.items():
        set_part(name, value)
    return set_part


STOPPED = UnitProcesses(units=(), processes=(Process(unit="app@1.service", pid=8, state="T", started=1),))
DRAINED = [Server(name="app-1", up=True, maintenance=False, drains=True)]


@pytest.mark.parametrize("host", ["db-1", "app-1", "lb-1", "load-1"])
def test_a_healthy_host_is_left_as_it_is(rig: FakeRig, found: Set, host: str) -> None:
    assert sweep(rig, next(one for one in rig.hosts if one.name == host)) == []
    assert rig.commands == []


@pytest.mark.parametrize(
    ("host", "part", "undone"),
    [
        ("app-1", ("packet_rules.remove", ["PGCRUCIBLE-db-both"]), "app-1: removed PGCRUCIBLE-db-both"),
        (
            "app-1",
            ("slow_path.stop", ["pgcrucible-slow-proxy.service"]),
            "app-1: removed pgcrucible-slow-proxy.service",
        ),
        ("app-1", ("read_processes", STOPPED), "app-1: continued app@1.service, which was stopped"),
        ("app-1", ("start_if_down", "app-1: started app@1.service (failed)"), "app-1: started app@1.service (failed)"),
        (
            "app-1",
            ("service_revision.remove", "control-pool-leak"),
            "app-1: the service is the provisioned one again, not control-pool-leak",
        ),
        ("db-1", ("disk.tidy", True), "db-1: brought the write-ahead log back to its own disk"),
        ("db-1", ("connections.end_holder", 97), "db-1: ended 97 sessions that held connections"),
        (
            "lb-1",
            ("proxy_replay.ProxyReplay", SimpleNamespace(restore=lambda: True)),
            "lb-1: HAProxy no longer sends failed requests again",
        ),
        ("lb-1", ("balancer.servers", DRAINED), "lb-1: HAProxy sends requests to app-1 again, which it drained"),
    ],
)
def test_what_a_fault_left_is_undone_and_named(
    rig: FakeRig, found: Set, host: str, part: tuple[str, object], undone: str
) -> None:
    found(*part)
    assert sweep(rig, next(one for one in rig.hosts if one.name == host)) == [undone]
