"""The status of rigs: each host, each service and since when; one damaged rig does not hide the others."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import pytest

from harness.cli import rigs as cli
from harness.errors import RigError
from harness.model import Host, Role
from harness.provision import podman_cli, services
from harness.provision.providers import podman
from harness.provision.status import status
from harness.rig import state
from harness.rig.connection import Result
from harness.rig.rig import Rig, rig_of

ROLES: tuple[Role, ...] = ("db", "app", "lb", "load")
VARIABLES = {
    "postgres_port": 5432, "app_port": 3001, "app_workers": 2, "common_directory": "/opt/x",
    "common_settings_directory": "/etc/x",
}  # fmt: skip


@pytest.fixture
def name() -> str:
    return f"t-{os.getpid()}-{secrets.token_hex(2)}"


@pytest.fixture
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    monkeypatch.setattr(podman, "foreign_owner", lambda name: "")
    return tmp_path / "rigs"


def stored(name: str) -> state.RigState:
    hosts = tuple(
        Host(name=f"{role}-1", role=role, address=f"10.0.0.{number}", ssh_address=f"10.0.0.{number}")
        for number, role in enumerate(ROLES)
    )
    rig = state.RigState(
        name=name, provider="podman", inventory="x", network="", hosts=hosts, variables=VARIABLES, ready=True
    )
    state.make_folder(name)
    state.save(rig)
    return rig


class Answering:
    """A connection whose host answers every question; PostgreSQL is down and the load host is lost."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, command: list[str], *, stdin: str, timeout_s: float) -> Result:
        assert "unit_states" in stdin
        assert timeout_s == services.ANSWER_S
        if self.name == "load-1":
            raise RigError("load-1: `python3`: not finished within 40 s")
        down = {"ok": False, "detail": "no response", "since": 0.0}
        answers = [
            {"name": question["name"], **(down if self.name == "db-1" else {"ok": True, "detail": "", "since": 60.0})}
            for question in json.loads(command[2])
        ]
        return Result(stdout=json.dumps(answers), stderr="", code=0)


def test_each_service_is_asked_and_shown_with_its_time(
    rigs: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(name)
    monkeypatch.setattr(podman, "host_status", lambda rig: {host.name: "up" for host in rig.hosts} | {"lb-1": "exited"})
    monkeypatch.setattr(Rig, "at", lambda self, host: Answering(host.name))
    monkeypatch.setattr("harness.provision.status.time.time", lambda: 180.0)
    lines = [" ".join(line.split()) for line in status(name).lines()]
    assert lines[1:] == [
        "db-1 db 10.0.0.0 up",
        "PostgreSQL: DOWN since 1970-01-01 00:00:00Z (3 min): no response",
        "app-1 app 10.0.0.1 up",
        "app, worker 1: up since 1970-01-01 00:01:00Z (2 min)",
        "app, worker 2: up since 1970-01-01 00:01:00Z (2 min)",
        "lb-1 lb 10.0.0.2 exited",
        "load-1 load 10.0.0.3 up",
        "services: DOWN: load-1: `python3`: not finished within 40 s",
    ]
    cli.run_status(name, as_json=True)
    record = json.loads(capsys.readouterr().out)[name]
    assert record["services"]["db-1"] == [
        {"name": "PostgreSQL", "ok": False, "detail": "no response", "running": False, "since": 0.0}
    ]
    assert record["hosts"]["lb-1"] == "exited"
    assert set(record) == {"rig", "hosts", "services", "error", "pgadmin"}
    assert "variables" not in record["rig"], "they may hold passwords"


def test_a_service_that_runs_but_does_not_work_has_no_time_of_its_failure() -> None:
    shown = services.ServiceStatus(name="app", ok=False, detail="answers 503", running=True, since=0.0)
    assert shown.line(30.0) == "app: DOWN now, running since 1970-01-01 00:00:00Z (30 s): answers 503"


@pytest.mark.parametrize("answer", ["", "[]]", '{"a": 1}', '[{"name": "x"}]', "[1]"])
def test_an_invalid_answer_is_reported(rigs: Path, name: str, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    rig = rig_of(stored(name))

    class Odd:
        def run(self, *_: object, **__: object) -> Result:
            return Result(stdout=answer, stderr="", code=0)

    monkeypatch.setattr(Rig, "at", lambda self, host: Odd())
    [[shown]] = services.ask_services(rig, [rig.hosts[0]]).values()
    assert not shown.ok
    assert "unknown" in shown.line(0.0)


@pytest.mark.parametrize("damage", ["{", None])
def test_a_damaged_rig_does_not_hide_the_others(
    rigs: Path, name: str, damage: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """None: a folder without a state, as a provision leaves it that failed at once."""
    stored(name)
    monkeypatch.setattr(podman, "host_status", lambda rig: {host.name: "exited" for host in rig.hosts})
    monkeypatch.setattr(podman, "running", lambda name: {})
    folder = state.make_folder("a-broken-one")
    if damage:
        (folder / "rig.json").write_text(damage)
    (rigs / "Not A Rig").mkdir()
    cli.run_status(None, as_json=False)
    text = capsys.readouterr().out
    assert "rig a-broken-one\n" in text
    assert "db-1    db" in text
    assert "./run destroy --rig a-broken-one" in text or "there is no rig 'a-broken-one'" in text
    cli.run_status(None, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["a-broken-one"]["error"]
    assert record[name]["hosts"]["db-1"] == "exited"
    with pytest.raises(RigError):
        cli.run_status("a-broken-one", as_json=False)


def test_only_objects_of_another_checkout_are_foreign(rigs: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(state, "RIGS", rigs)
    monkeypatch.setattr("harness.provision.providers.podman.shutil.which", lambda program: f"/bin/{program}")
    owners: dict[str, set[str]] = {}
    monkeypatch.setattr(podman_cli, "labelled_rigs", lambda: owners)
    assert podman.foreign_owner(name) == ""
    owners[name] = {state.OWNER}
    owners["other"] = {"/elsewhere"}
    assert podman.foreign_owner(name) == ""
    owners[name] = {state.OWNER, "/a folder"}
    assert podman.foreign_owner(name) == "/a folder"
    owners[name] = {""}
    assert "earlier version" in podman.foreign_owner(name)
    state.make_folder(name)
    assert podman.foreign_owner(name) == ""
