"""The tasks logs, ssh and psql: what ssh is called with, and what becomes of its end."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import hosts
from harness.errors import RigError, UsageError
from harness.model import Host
from harness.provision.ssh_command import ssh_command
from harness.rig import state
from harness.rig.rig import rig_of
from tests.support.builders import rig_state

DB, APP, LB = (
    Host(name=f"{role}-1", role=role, address=f"10.0.0.{number}", ssh_address=f"10.0.0.{number}")  # type: ignore[arg-type]
    for number, role in enumerate(("db", "app", "lb"), start=1)
)
LOAD = Host(
    name="load-1", role="load", address="10.0.0.4", ssh_address="load.lan", ssh_port=2222, ssh_user="me",
    jump="me@gate.lan:2200",
)  # fmt: skip
Ssh = Callable[..., list[str]]


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ssh:
    """A rig named paper, and an `ssh` that prints `out` and ends with `code`; returns what it was called with."""
    monkeypatch.setattr(state, "RIGS", tmp_path / "my rigs 100%")
    folder = state.make_folder("paper")
    for name in ("id_ed25519", "known_hosts"):
        (folder / name).touch()
    state.save(rig_state((DB, APP, LB, LOAD)))
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    calls = tmp_path / "calls"
    program.write_text(
        f'#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done > "{calls}"\n'
        f'cat "{tmp_path}/out"; exit $(cat "{tmp_path}/code")\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def call(run: Callable[[], None], out: str = "a line\n", code: int = 0) -> list[str]:
        (tmp_path / "out").write_text(out)
        (tmp_path / "code").write_text(str(code))
        run()
        return calls.read_text().split("\0")[:-1]

    return call


def logs(host: str, unit: str | None = None, lines: str | None = None, follow: bool = False) -> Callable[[], None]:
    return lambda: hosts.run_logs("paper", host, unit=unit, lines=lines, follow=follow)


@pytest.mark.parametrize(
    ("host", "options", "command"),
    [
        ("app-1", {}, "journalctl --no-pager --quiet -n 200 --unit 'pgcrucible-app@*'"),
        ("lb-1", {"lines": "5"}, "journalctl --no-pager --quiet -n 5 --unit haproxy"),
        ("lb-1", {"unit": "ssh"}, "journalctl --no-pager --quiet -n 200 --unit ssh"),
        ("load-1", {"follow": True}, "sudo -n -- journalctl --no-pager --quiet -n 200 -f"),
        ("db-1", {"lines": "7"}, f"sh -c '{hosts._POSTGRES_LOG}' sh 7"),
    ],
)
def test_the_log_is_that_of_the_role_or_of_the_unit(
    ssh: Ssh, host: str, options: dict[str, str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ssh(logs(host, **options), out="one \x1b[2Jline\n")  # type: ignore[arg-type]
    assert words[-1] == command
    assert capsys.readouterr().out == "one ?[2Jline\n"


def test_a_command_keeps_its_words_and_its_exit_code(ssh: Ssh) -> None:
    command = ["sh", "-c", 'echo "a  b"', "$HOME"]
    words = ssh(lambda: hosts.run_ssh("paper", "app-1", command))
    assert words[-3:] == ["--", "10.0.0.2", "sh -c 'echo \"a  b\"' '$HOME'"]
    with pytest.raises(SystemExit) as end:
        ssh(lambda: hosts.run_ssh("paper", "app-1", ["false"]), code=7)
    assert end.value.code == 7


def test_a_shell_has_no_command(ssh: Ssh) -> None:
    assert ssh(lambda: hosts.run_ssh("paper", "lb-1", []))[-2:] == ["--", "10.0.0.3"]


def test_psql_runs_on_the_database_host_as_its_superuser(ssh: Ssh) -> None:
    words = ssh(lambda: hosts.run_psql("paper", ["-c", "SELECT 1"]))
    assert words[-2] == "10.0.0.1"
    assert words[-1] == "env -C / runuser -u postgres -- psql -p 5432 -d crucible -c 'SELECT 1'"


def test_a_connection_that_fails_is_a_fault_of_the_rig(ssh: Ssh) -> None:
    for run in (logs("app-1"), lambda: hosts.run_ssh("paper", "app-1", []), lambda: hosts.run_psql("paper", [])):
        with pytest.raises((RigError, UsageError), match=r"-1 \(10\.0\.0\..:22\): ssh ended with exit code 255"):
            ssh(run, code=255)


def test_a_log_without_lines_is_no_success(ssh: Ssh) -> None:
    with pytest.raises(UsageError, match="lb-1: the log of unit nope has no line"):
        ssh(logs("lb-1", unit="nope"), out="")
    with pytest.raises(RigError, match="db-1: its log ended with exit code 1 after 1 line"):
        ssh(logs("db-1"), code=1)


def test_a_wrong_name_names_the_nearest(ssh: Ssh) -> None:
    with pytest.raises(UsageError, match="rig 'paper' has no host 'ap-1'") as host:
        ssh(logs("ap-1"))
    assert host.value.hint == "did you mean 'app-1'?"
    with pytest.raises(RigError, match="there is no rig 'papr'") as rig:
        hosts.run_ssh("papr", "app-1", [])
    assert rig.value.hint.startswith("did you mean 'paper'?")


def test_openssh_reads_the_key_the_known_hosts_and_the_jump_host(ssh: Ssh) -> None:
    """As OpenSSH itself prints its settings: the folder has blanks and a percent sign."""
    with rig_of(state.load("paper") or rig_state()) as rig:
        words = ssh_command(rig, LOAD)
    folder = state.folder("paper")
    done = subprocess.run(["/usr/bin/ssh", "-G", *words[1:]], capture_output=True, text=True, check=True)
    settings = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    assert (settings["user"], settings["port"], settings["hostname"]) == ("me", "2222", "load.lan")
    assert settings["stricthostkeychecking"] in ("yes", "true")
    assert settings["identityfile"].replace("%%", "%") == str(folder / "id_ed25519")
    assert settings["userknownhostsfile"].replace("%%", "%").strip('"') == str(folder / "known_hosts")
    proxy = settings["proxycommand"]
    assert proxy.endswith("-p 2200 -W '[%h]:%p' -- me@gate.lan")
    assert f"{json.dumps(str(folder / 'id_ed25519'))}".replace("%", "%%%%") in proxy


def test_the_words_after_dashes_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["./run", "ssh", "app-1", "--", "ls", "--", "-l"])
    assert hosts.after_dashes() == ["ls", "--", "-l"]
    monkeypatch.setattr("sys.argv", ["./run", "ssh", "app-1"])
    assert hosts.after_dashes() == []
