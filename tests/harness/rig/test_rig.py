"""Commands on many hosts: results by name, the first error, and Ctrl-C."""

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
    """Two hosts with fake connections; `closed` is set when a connection is closed."""
    made = Rig(state=rig_state(HOSTS), key=None, known_hosts=None, secrets={})
    for host in HOSTS:
        closed = threading.Event()
        made._open[host.name] = SimpleNamespace(name=host.name, closed=closed, close=closed.set)  # type: ignore[assignment]
    return made


def test_results_are_by_host_name(rig: Rig) -> None:
    assert rig.each(HOSTS, lambda connection: connection.name[-1]) == {"app-1": "1", "app-2": "2"}
    assert rig.each((), lambda connection: connection.name) == {}


def test_the_first_hosts_error_is_raised(rig: Rig) -> None:
    def work(connection: Any) -> None:
        raise RigError(connection.name)

    with pytest.raises(RigError, match="app-1"):
        rig.each(HOSTS, work)


def test_ctrl_c_closes_connections_instead_of_waiting(rig: Rig) -> None:
    working, closed = threading.Event(), threading.Event()

    def work(connection: Any) -> None:
        if connection.name == "app-1":
            assert working.wait(60)
            raise KeyboardInterrupt
        working.set()
        if connection.closed.wait(60):
            closed.set()

    with pytest.raises(KeyboardInterrupt):
        rig.each(HOSTS, work)
    assert closed.wait(60)
