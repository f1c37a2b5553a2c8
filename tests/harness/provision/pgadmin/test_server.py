"""The life of a pgAdmin: start, again, killed, ended, destroyed. A small program stands in for pgAdmin and for ssh."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cli import pgadmin as cli
from harness.errors import RigError, UsageError
from harness.provision import play_processes, provisioner
from harness.provision.pgadmin import connection, packages, server
from harness.provision.providers import vm_base
from harness.provision.status import RigStatus
from harness.rig import machine_lock, state
from tests.support.builders import rig_state
from tests.support.pgadmin import DB, SSH, paper_rig, program, quiet

SETUP = """
import os, pathlib, sys
import config_local
data = pathlib.Path(config_local.DATA_DIR)
data.mkdir(exist_ok=True)
(data / "environ").write_text(repr(dict(os.environ)))
with (data / "calls").open("a") as calls:
    print(*sys.argv[1:], file=calls)
print("Added 0 Server Group(s) and 1 Server(s).")
"""
SERVER = """
import http.server, os, pathlib, signal
import config_local

class Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"PING")

http.server.HTTPServer((config_local.DEFAULT_SERVER, config_local.DEFAULT_SERVER_PORT), Ping).serve_forever()
"""
WAIT_S = 20.0


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the programs that stand in for pgAdmin's."""
    installed = tmp_path / "cache" / f"{packages.PREFIX}x"
    (installed / "bin").mkdir(parents=True)
    (installed / "bin/python").symlink_to(sys.executable)
    for name, text in (("setup.py", SETUP), ("pgAdmin4.py", SERVER)):
        program(packages.code(installed) / name, text)
    monkeypatch.setattr(packages, "install", lambda echo: installed)
    monkeypatch.setattr(packages, "environment", lambda: installed)
    monkeypatch.setattr(server, "SYSTEM_SETTINGS", tmp_path / "none")
    return packages.code(installed)


@pytest.fixture
def rig(tmp_path: Path, code: Path) -> Iterator[tuple[str, Path]]:
    """The name and the folder of a rig; its ssh waits."""
    with paper_rig(tmp_path, "#!/bin/sh\nexec sleep 1000\n") as made:
        yield made


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "problem", lambda options, log: "")


def running(name: str) -> list[int]:
    return play_processes.processes(state.folder(name) / "pgadmin", server.VARIABLE)


def listens(url: str) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]))) == 0


def pid_of(name: str, word: str) -> int:
    """The one process of the rig's pgAdmin whose command line ends with that word."""
    (pid,) = [
        pid for pid in running(name) if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").endswith(word.encode())
    ]
    return pid


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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


def pid_of_ssh(name: str) -> int:
    return pid_of(name, "sleep\x001000")


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


@pytest.mark.usefixtures("reachable")
def test_a_purge_keeps_the_packages_of_a_pgadmin_that_runs(
    rig: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    (tmp_path / "cache/wheels-x.tar.gz").touch()
    server.start(rig[0], port=None, echo=quiet)
    vm_base.purge_cache()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{packages.PREFIX}x"]
    server.stop(rig[0])
    vm_base.purge_cache()
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("reachable")
def test_a_purge_keeps_the_packages_of_a_former_lock_file_that_still_run(
    rig: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    server.start(rig[0], port=None, echo=quiet)
    newer = tmp_path / "cache" / f"{packages.PREFIX}newer"
    newer.mkdir()
    monkeypatch.setattr(packages, "environment", lambda: newer)
    assert server.packages_in_use() == {tmp_path / "cache" / f"{packages.PREFIX}x"}
    vm_base.purge_cache()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [f"{packages.PREFIX}x"]


def test_a_purge_keeps_what_another_process_installs_and_removes_what_was_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    partial = tmp_path / "cache" / f"{packages.PREFIX}x.partial"
    partial.mkdir(parents=True)
    with machine_lock.held(f"pgAdmin's packages in {state.CACHE}"):
        vm_base.purge_cache()
        assert partial.is_dir()
    vm_base.purge_cache()
    assert not (tmp_path / "cache").exists()


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
