"""The life of a pgAdmin: start, again, killed, ended, destroyed. Small programs replace pgAdmin and ssh."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import provisioner
from harness.provision.pgadmin import server
from harness.rig import state
from tests.support.pgadmin import quiet

from .conftest import SERVER, SETUP, WAIT_S, listens, pid_of, pid_of_ssh, running, until


@pytest.mark.usefixtures("reachable")
def test_it_runs_until_it_is_stopped_and_keeps_its_data(rig: tuple[str, Path]) -> None:
    name, folder = rig
    first = server.start(name, port=None, echo=quiet)
    assert listens(first.url)
    assert first.password == first.password_file.read_text().strip()
    pids = running(name)
    again = server.start(name, port=None, echo=quiet)
    assert (again.ran_before, again.url, again.password, running(name)) == (True, first.url, "", pids)
    assert server.address(name) == first.url
    assert server.stop(name)
    assert running(name) == []
    assert not listens(first.url)
    assert not (folder / "pgadmin/pg_service.conf").exists()
    assert server.address(name) == ""
    assert not server.stop(name)
    second = server.start(name, port=None, echo=quiet)
    assert not second.password
    calls = (folder / "pgadmin/data/calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["setup-db", "load-servers"]


@pytest.mark.usefixtures("reachable")
def test_secrets_are_readable_by_the_owner_only_and_in_no_command_line(rig: tuple[str, Path]) -> None:
    name, folder = rig
    started = server.start(name, port=None, echo=quiet)
    assert (folder / "pgadmin").stat().st_mode & 0o777 == 0o700
    for file in ("password", "pg_service.conf", "config/config_local.py"):
        assert (folder / "pgadmin" / file).stat().st_mode & 0o777 == 0o600
    secrets = [started.password, state.read_secrets(name)["harness_password"]]
    assert secrets[1] in (folder / "pgadmin/pg_service.conf").read_text()
    for pid in running(name):
        process = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        assert not [secret for secret in secrets if secret in process]


@pytest.mark.usefixtures("reachable")
def test_variables_of_the_user_do_not_reach_pgadmin(rig: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PGHOST", "PGSERVICE", "PGADMIN_CONFIG_X", "HTTP_PROXY"):
        monkeypatch.setenv(variable, "elsewhere")
    name, folder = rig
    server.start(name, port=None, echo=quiet)
    for pid in (pid_of(name, "pgAdmin4.py"),):
        assert "elsewhere" not in Path(f"/proc/{pid}/environ").read_text()
    assert "elsewhere" not in (folder / "pgadmin/data/environ").read_text()


@pytest.mark.usefixtures("reachable")
def test_a_start_in_the_same_second_uses_its_own_settings(rig: tuple[str, Path]) -> None:
    """Python takes bytecode for current whose source has the same size and second: the port was the former one."""
    name, folder = rig
    config = folder / "pgadmin/config"
    server.start(name, port=None, echo=quiet)
    assert list(config.glob("__pycache__/*.pyc"))
    server.stop(name)
    written = (config / "config_local.py").stat()
    write = state.write_private

    def write_in_the_same_second(path: Path, text: str) -> None:
        write(path, text)
        os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "write_private", write_in_the_same_second)
        patch.setattr(server, "START_S", WAIT_S)
        assert listens(server.start(name, port=None, echo=quiet).url)


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("victim", ["pgAdmin4.py", "192.0.2.1"])
def test_killed_processes_are_noticed_and_started_again(rig: tuple[str, Path], victim: str) -> None:
    """pgAdmin by the next start, ssh by its loop."""
    name, _ = rig
    first = server.start(name, port=None, echo=quiet)
    before = running(name)
    os.kill(pid_of_ssh(name) if victim == "192.0.2.1" else pid_of(name, victim), signal.SIGKILL)
    if victim == "pgAdmin4.py":
        assert server.address(name).startswith(f"{first.url} does not answer")
        second = server.start(name, port=None, echo=quiet)
        assert not second.ran_before
        assert listens(second.url)
        assert not set(before) & set(running(name)), "what was left of the first has ended"
    else:
        until(lambda: len(set(running(name)) - set(before)) > 0)
        assert server.start(name, port=None, echo=quiet).ran_before


@pytest.mark.usefixtures("reachable")
def test_a_process_of_another_program_is_never_ended(rig: tuple[str, Path]) -> None:
    """Also where the file of the port names a port that something else listens on."""
    name, folder = rig
    stranger = {**os.environ, server.VARIABLE: f"{folder}-2/pgadmin"}
    with (
        subprocess.Popen(["sleep", "1000"], env=stranger) as process,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        (folder / "pgadmin").mkdir()
        (folder / "pgadmin/port").write_text(str(listener.getsockname()[1]))
        assert server.address(name) == ""
        assert not server.stop(name)
        assert not server.start(name, port=None, echo=quiet).ran_before
        server.stop(name)
        assert process.poll() is None
        process.kill()


@pytest.mark.usefixtures("reachable")
def test_a_pgadmin_that_ends_is_an_error_with_its_last_lines(rig: tuple[str, Path], code: Path) -> None:
    name, _ = rig
    (code / "pgAdmin4.py").write_text("raise SystemExit('the disk is full')\n")
    with pytest.raises(RigError, match="ended while it started") as failed:
        server.start(name, port=None, echo=quiet)
    assert "the disk is full" in failed.value.output
    assert running(name) == []
    (code / "pgAdmin4.py").write_text(SERVER)
    assert listens(server.start(name, port=None, echo=quiet).url)


@pytest.mark.parametrize("text", ["raise SystemExit(1)", "print('Added 0 Server Group(s) and 0 Server(s).')"])
def test_data_that_were_not_made_are_an_error_and_are_made_again(
    rig: tuple[str, Path], code: Path, reachable: None, text: str
) -> None:
    name, folder = rig
    (code / "setup.py").write_text(f"{text}\n")
    with pytest.raises(RigError, match=r"pgAdmin's (setup-db|load-servers) ended with [01]"):
        server.start(name, port=None, echo=quiet)
    assert running(name) == []
    assert not (folder / "pgadmin/password").exists()
    (code / "setup.py").write_text(SETUP)
    assert server.start(name, port=None, echo=quiet).password


def test_an_interrupted_start_leaves_no_process(rig: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(port: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "answers", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server.start(rig[0], port=None, echo=quiet)
    assert running(rig[0]) == []


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("killed", [False, True], ids=["running", "killed"])
def test_destroy_ends_it_and_removes_its_files(
    rig: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, *, killed: bool
) -> None:
    name, folder = rig
    monkeypatch.setattr(provisioner, "PROVIDERS", {})
    started = server.start(name, port=None, echo=quiet)
    if killed:
        os.kill(pid_of(name, "pgAdmin4.py"), signal.SIGKILL)
    provisioner.destroy(name, echo=quiet)
    assert running(name) == []
    assert not folder.exists()
    assert not listens(started.url)
