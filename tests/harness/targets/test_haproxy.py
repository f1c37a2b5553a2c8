"""HAProxy's statistics and server states, as its runtime socket prints and takes them."""

from __future__ import annotations

from typing import Any

import pytest

from harness.targets.haproxy import HAProxy
from tests.support.fake_rig import FakeRig

STATISTICS = """# pxname,svname,type,status,stot,req_tot
public,FRONTEND,0,OPEN,12,345
stats,FRONTEND,0,OPEN,1,9
app,app-1.1,2,UP,100,
app,app-1.2,2,UP 1/3,20,
app,app-2.1,2,MAINT,7,
app,BACKEND,1,UP,127,
app-1,app-1.1,2,UP,3,
"""


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    made = FakeRig()
    monkeypatch.setattr(made, "haproxy", lambda commands: STATISTICS if commands == "show stat" else "")
    return made


def test_requests_are_counted_at_the_public_frontend_and_per_app_host(rig: FakeRig) -> None:
    assert HAProxy(rig).request_counts() == (345, {"app-1": 123, "app-2": 7})


def test_hosts_serve_whose_workers_are_up(rig: FakeRig) -> None:
    assert HAProxy(rig).serving() == {"app-1"}


def test_serve_from_sets_the_state_of_each_worker(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def haproxy(commands: str) -> Any:
        sent.append(commands)
        return STATISTICS

    monkeypatch.setattr(rig, "haproxy", haproxy)
    HAProxy(rig).serve_from({"app-2"})
    assert sent[-1] == (
        "set server app/app-1.1 state maint; set server app/app-1.2 state maint; "
        "enable health app/app-2.1; set server app/app-2.1 state ready"
    )


def test_a_host_whose_health_is_not_checked_counts_as_up(rig: FakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = STATISTICS.replace("app-2.1,2,MAINT", "app-2.1,2,no check")
    sent: list[str] = []
    monkeypatch.setattr(rig, "haproxy", lambda commands: sent.append(commands) or statistics)
    assert HAProxy(rig).serving() == {"app-1", "app-2"}
    assert HAProxy(rig).unchecked() == {"app-2"}
    HAProxy(rig).stop_checks()
    assert "disable health app/app-2.1; set server app/app-2.1 health up" in sent[-1]
