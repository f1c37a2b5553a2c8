"""All hosts at once: whose error is raised, and who is waited for."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import RigError
from harness.model import Host
from harness.rig.rig import Rig
from tests.support.builders import rig_state

HOSTS = tuple(Host(name=name, role="app", address=name, ssh_address=name) for name in ("app-1", "app-2"))


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Hosts whose connections are flags: `closed` is set when they are closed."""
    made = Rig(state=rig_state(HOSTS), key=None, known_hosts=None, secrets={})
    for host in HOSTS:
        closed = threading.Event()
        made._open[host.name] = SimpleNamespace(name=host.name, closed=closed, close=closed.set)  # type: ignore[assignment]
    return made


def test_every_host_answers_under_its_name(rig: Rig) -> None:
    assert rig.each(HOSTS, lambda station: station.name[-1]) == {"app-1": "1", "app-2": "2"}
    assert rig.each((), lambda station: station.name) == {}


def test_the_first_hosts_error_is_raised(rig: Rig) -> None:
    def work(station: Any) -> None:
        raise RigError(station.name)

    with pytest.raises(RigError, match="app-1"):
        rig.each(HOSTS, work)


def test_ctrl_c_waits_for_no_host_but_lets_go_of_it(rig: Rig) -> None:
    at_work, let_go = threading.Event(), threading.Event()

    def work(station: Any) -> None:
        if station.name == "app-1":
            assert at_work.wait(60)
            raise KeyboardInterrupt
        at_work.set()
        if station.closed.wait(60):
            let_go.set()

    with pytest.raises(KeyboardInterrupt):
        rig.each(HOSTS, work)
    assert let_go.wait(60)
