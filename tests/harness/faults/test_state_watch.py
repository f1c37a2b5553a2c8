"""The watch of HAProxy and PostgreSQL, with the real script on this machine against servers that play a part."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.faults import state_watch
from harness.faults.state_watch import StateWatch
from harness.faults.trial_clock import TrialClock
from harness.model import Host
from harness.rig.connection import LocalConnection
from harness.rig.rig import Rig

READY = b"Z" + struct.pack("!i", 5) + b"I"
REFUSED = b"E" + struct.pack("!i", 4 + 9) + b"C57P03\0\0\0"


@contextlib.contextmanager
def serving(path: Path, handle: Callable[[socket.socket], None]) -> Iterator[None]:
    """A server on a Unix socket; each connection has a thread."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=answer, args=(client,), daemon=True).start()

        def answer(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                handle(client)

        threading.Thread(target=accept, daemon=True).start()
        yield
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def rig() -> Rig:
    host = Host(name="x-1", role="lb", address="x", ssh_address="x")
    fake = SimpleNamespace(at=lambda _: LocalConnection(), role=lambda _: [host], variables={"postgres_port": 5432})
    return cast(Rig, fake)


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


@pytest.fixture
def haproxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The servers that HAProxy reports: name -> operation state, administrative state and weight."""
    servers = {"app-1": "2 0 1", "app-2": "2 0 1"}

    def handle(client: socket.socket) -> None:
        assert client.recv(4096) == b"show servers state app\n"
        rows = [f"3 app {n} {name} 10.0.0.{n} {text} 1 9 6 3 4 6 0 0" for n, (name, text) in enumerate(servers.items())]
        client.sendall("\n".join(["1", "# be_id be_name", *rows, "", ""]).encode())

    monkeypatch.setattr(state_watch, "SOCKET", str(tmp_path / "haproxy"))
    with serving(tmp_path / "haproxy", handle):
        yield servers


def test_the_rotation_is_seen_with_its_instants(haproxy: dict[str, str]) -> None:
    with StateWatch(rig(), "haproxy", TrialClock(time.time() - 100)) as watch:
        assert watch.now() == {"app-1": True, "app-2": True}
        before_us = round(100e6)
        haproxy["app-1"] = "0 0 1"
        eventually(lambda: watch.now() == {"app-1": False, "app-2": True})
        haproxy["app-1"] = "2 0 1"
        eventually(lambda: watch.now() == {"app-1": True, "app-2": True})
    states = watch.states()
    assert [state for _, state in states] == [
        {"app-1": True, "app-2": True},
        {"app-1": False, "app-2": True},
        {"app-1": True, "app-2": True},
    ]
    instants = [at_us for at_us, _ in states]
    assert before_us <= instants[0] < instants[1] < instants[2] < before_us + 60e6
    assert watch.problem == ""


@pytest.mark.parametrize("text", ["2 1 1", "2 8 1", "2 0 0", "3 0 1"])
def test_a_server_in_maintenance_drained_or_stopping_gets_no_requests(haproxy: dict[str, str], text: str) -> None:
    haproxy["app-2"] = text
    with StateWatch(rig(), "haproxy", TrialClock(time.time())) as watch:
        assert watch.now() == {"app-1": True, "app-2": False}


def test_an_haproxy_that_does_not_answer_has_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_watch, "SOCKET", str(tmp_path / "nothing"))
    with StateWatch(rig(), "haproxy", TrialClock(time.time())) as watch:
        assert watch.now() is None
        assert watch.problem == ""


class PostgresPart:
    """Plays a server: `mode` is `accepts`, `refuses` or `hangs`; `restart` ends all sessions.

    Counts the sessions and the questions.
    """

    def __init__(self) -> None:
        self.mode = "accepts"
        self._sessions: list[socket.socket] = []
        self.sessions = 0

    def handle(self, client: socket.socket) -> None:
        (length,) = struct.unpack("!i", client.recv(4))
        startup = client.recv(length - 4)
        assert b"user\0postgres\0" in startup
        self._sessions.append(client)
        self.sessions += 1
        while True:
            while self.mode == "hangs":
                time.sleep(0.01)
            client.sendall(READY if self.mode == "accepts" else REFUSED)
            if self.mode == "refuses" or not client.recv(4096):
                return

    def restart(self) -> None:
        for session in self._sessions:
            with contextlib.suppress(OSError):
                session.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def postgres_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresPart]:
    part, build = PostgresPart(), StateWatch.__init__

    def init(self: StateWatch, *arguments: Any) -> None:
        build(self, *arguments)
        start = self._command.index("python3")  # this machine has no user postgres
        self._command = [*self._command[start:-1], f'{{"postgres": "{tmp_path / "pg"}", "period_s": 0.05}}']

    monkeypatch.setattr(StateWatch, "__init__", init)
    with serving(tmp_path / "pg", part.handle):
        yield part


@pytest.mark.parametrize("mode", ["refuses", "hangs"])
def test_a_server_that_does_not_accept_is_seen_and_its_return_too(postgres_part: PostgresPart, mode: str) -> None:
    with StateWatch(rig(), "postgres", TrialClock(time.time())) as watch:
        assert watch.now() == {"accepts": True}
        postgres_part.mode = mode
        eventually(lambda: watch.now() == {"accepts": False})
        postgres_part.mode = "accepts"
        eventually(lambda: watch.now() == {"accepts": True})
    assert postgres_part.sessions == 1 or mode == "refuses"  # a server that goes on answers what it was asked before


def test_a_restart_between_two_looks_is_seen(postgres_part: PostgresPart) -> None:
    with StateWatch(rig(), "postgres", TrialClock(time.time())) as watch:
        postgres_part.restart()
        eventually(lambda: [state for _, state in watch.states()] == [{"accepts": a} for a in (True, False, True)])


def test_a_watch_that_ends_is_a_problem(haproxy: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_watch, "source", lambda _: "raise SystemExit('no such script')")
    with StateWatch(rig(), "haproxy", TrialClock(time.time())) as watch:
        eventually(lambda: watch.problem)
    assert watch.problem == "controller: haproxy was not watched: no such script"
    assert watch.states() == []
