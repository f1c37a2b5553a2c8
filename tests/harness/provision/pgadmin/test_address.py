"""How a pgAdmin is reached and what its user is told: port, password, status, and what prevents it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from harness.cli import pgadmin as cli
from harness.errors import RigError, UsageError
from harness.provision.pgadmin import server
from harness.provision.status import RigStatus
from harness.rig import state
from tests.support.builders import rig_state
from tests.support.pgadmin import DB, SSH, program, quiet


@pytest.mark.usefixtures("reachable")
def test_the_port_is_that_of_the_option(rig: tuple[str, Path]) -> None:
    name, _ = rig
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port {port}: Address already in use"):
            server.start(name, port=port, echo=quiet)
    assert server.start(name, port=port, echo=quiet).url == f"http://127.0.0.1:{port}/"
    with pytest.raises(UsageError, match=rf"--port {port + 1}: pgAdmin runs on port {port}"):
        server.start(name, port=port + 1, echo=quiet)


def test_a_database_that_cannot_be_reached_is_a_warning_with_the_message_of_ssh(
    rig: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, _ = rig
    program(tmp_path / "bin/ssh", "#!/bin/sh\necho 'ssh: connect to host db-1: No route to host' >&2\nexit 255\n")
    cli.run_pgadmin(name, port=None, stop=False)
    printed = capsys.readouterr()
    assert f"pgAdmin of rig '{name}' runs: http://127.0.0.1:" in printed.out
    assert "warning: pgAdmin cannot reach the rig's database yet: ssh: connect to host db-1: No route" in printed.err
    cli.run_pgadmin(name, port=None, stop=True)
    assert "has ended" in capsys.readouterr().out


def test_a_database_that_is_down_on_a_host_that_is_up_is_named(rig: tuple[str, Path], tmp_path: Path) -> None:
    program(tmp_path / "bin/ssh", SSH.format(python=sys.executable))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        state.save(rig_state((DB,), name=rig[0], variables={"postgres_port": closed.getsockname()[1]}))
        started = server.start(rig[0], port=None, echo=quiet)
    assert started.problem == "ssh reaches the host, but PostgreSQL does not listen on its port there"


@pytest.mark.usefixtures("reachable")
def test_the_password_is_printed_on_a_terminal_only(
    rig: tuple[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, folder = rig
    cli.run_pgadmin(name, port=None, stop=False)
    password = (folder / "pgadmin/password").read_text().strip()
    assert password not in capsys.readouterr().out
    server.stop(name)
    (folder / "pgadmin/password").unlink()
    monkeypatch.setattr(cli.sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    cli.run_pgadmin(name, port=None, stop=False)
    assert (folder / "pgadmin/password").read_text().strip() in capsys.readouterr().out
    cli.run_pgadmin(name, port=None, stop=False)
    assert (folder / "pgadmin/password").read_text().strip() not in capsys.readouterr().out


def test_settings_of_the_machine_and_a_rig_without_database_are_refused(
    rig: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = rig
    state.save(rig_state((), name=name))
    with pytest.raises(RigError, match="has no database yet"):
        server.start(name, port=None, echo=quiet)
    monkeypatch.setattr(server, "SYSTEM_SETTINGS", tmp_path)
    with pytest.raises(UsageError, match="would override"):
        server.start(name, port=None, echo=quiet)


def test_a_rig_that_does_not_exist_is_named(rig: tuple[str, Path]) -> None:
    for stop in (False, True):
        with pytest.raises(RigError, match="there is no rig 'nope'"):
            cli.run_pgadmin("nope", port=None, stop=stop)
    with pytest.raises(UsageError, match="--stop takes no --port"):
        cli.run_pgadmin(rig[0], port="5050", stop=True)


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("text", ["99999", "0", "-5", "x"])
def test_a_damaged_port_is_none(rig: tuple[str, Path], text: str) -> None:
    name, folder = rig
    server.start(name, port=None, echo=quiet)
    (folder / "pgadmin/port").write_text(text)
    assert server.address(name) == "starts"
    assert not server.start(name, port=None, echo=quiet).ran_before


def test_the_status_has_its_address() -> None:
    status = RigStatus(rig=rig_state(), pgadmin="http://127.0.0.1:5050/")
    assert status.lines()[-1] == "pgAdmin: http://127.0.0.1:5050/"
    assert status.as_json()["pgadmin"] == "http://127.0.0.1:5050/"
    assert "pgAdmin" not in "".join(RigStatus(rig=rig_state()).lines())
