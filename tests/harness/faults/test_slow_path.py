"""The slow network: a delay counts as seen only where the path was fast before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults import packet_rules, slow_path
from harness.model import Host
from harness.rig.connection import HostConnection, Result
from harness.rig.rig import Rig

PLANNED = PlannedFault(fault="slow-network", at_s=0.0, hold_s=1.0, host=0)
APPS = [Host(name=f"app-{n}", role="app", address=f"10.0.0.{n}", ssh_address="x") for n in (1, 2)]
DB = Host(name="db-1", role="db", address="10.0.0.9", ssh_address="x")


def rig() -> Rig:
    fake = SimpleNamespace(
        role=lambda role: APPS if role == "app" else [DB],
        each=lambda hosts, work: {host.name: work(host) for host in hosts},
    )
    return cast(Rig, fake)


@pytest.fixture
def round_trips(monkeypatch: pytest.MonkeyPatch) -> dict[str, float | None]:
    """What is measured, by host."""
    measured: dict[str, float | None] = {"app-1": 0.4, "app-2": 0.6}
    monkeypatch.setattr(slow_path, "round_trip_ms", lambda _, host: measured[host.name])
    monkeypatch.setattr(packet_rules, "packets", lambda *_: 7)
    monkeypatch.setattr(slow_path, "left", lambda _: [])
    return measured


def test_a_delay_is_seen_beside_the_round_trip_before_it(round_trips: dict[str, float | None]) -> None:
    fault = slow_path.SlowPath()
    before = fault.before(rig(), PLANNED)
    assert before == {"app-1": "0.4", "app-2": "0.6"}
    assert fault.seen(rig(), PLANNED, before) == ""
    round_trips.update({"app-1": 51.0, "app-2": 52.0})
    assert fault.seen(rig(), PLANNED, before) == "round trip to the database 51 ms (before: 0.6 ms), 14 packets"


def test_on_a_slow_path_the_delay_could_not_be_told(round_trips: dict[str, float | None]) -> None:
    """On a busy machine 386 ms were measured before: the fault counted as seen whatever it did."""
    round_trips["app-2"] = 386.0
    with pytest.raises(RigError, match="app-2: a round trip to the database takes 386 ms without the fault"):
        slow_path.SlowPath().before(rig(), PLANNED)


def test_a_host_without_the_database_is_an_error(round_trips: dict[str, float | None]) -> None:
    round_trips["app-1"] = None
    with pytest.raises(RigError, match="app-1 does not reach the database"):
        slow_path.SlowPath().before(rig(), PLANNED)


def test_it_is_not_healed_while_a_rule_or_the_proxy_is_left(
    round_trips: dict[str, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round trip without the delay hides the rule that loses 2 % of the packets."""
    fault = slow_path.SlowPath()
    healed = "no rule and no proxy is left, round trip to the database 0.6 ms"
    assert fault.healed(rig(), PLANNED, {}) == healed
    left = {"app-1": list[str](), "app-2": [slow_path.IN]}
    monkeypatch.setattr(slow_path, "left", lambda host: left[host.name])
    assert fault.healed(rig(), PLANNED, {}) == ""
    left["app-2"].clear()
    round_trips["app-2"] = 50.0
    assert fault.healed(rig(), PLANNED, {}) == ""


@pytest.mark.parametrize(
    ("chains", "state", "left"),
    [
        ([], "inactive", []),
        ([slow_path.IN], "inactive", [slow_path.IN]),
        ([], "active", [f"{slow_path.UNIT} (active)"]),
        ([], "", [f"{slow_path.UNIT} (unknown)"]),
    ],
)
def test_what_is_left_is_read_from_rules_and_unit(
    monkeypatch: pytest.MonkeyPatch, chains: list[str], state: str, left: list[str]
) -> None:
    monkeypatch.setattr(packet_rules, "left", lambda *_: chains)
    host = SimpleNamespace(run=lambda *_, **__: Result(stdout=f"{state}\n", stderr="", code=3))
    assert slow_path.left(cast(HostConnection, host)) == left
