"""Revisions on a host: the scripts run in a real shell, on this machine in a folder of the test."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import RigError
from harness.model import Host
from harness.provision.revision import RevisionBundle
from harness.rig.connection import LocalConnection, Result
from harness.targets import app_revisions
from harness.targets.app_revisions import KEPT, AppRevisions

HOSTS = [Host(name="app-1", role="app", address="a", ssh_address="a")]
ONE, TWO = "111111111111", "222222222222"


class Recorded(LocalConnection):
    """This machine as app-1, with the commands that it ran."""

    name = "app-1"

    def __init__(self) -> None:
        self.scripts: list[str] = []
        self.answers: dict[str, str] = {}

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        script = command[2] if command[0] == "sh" else command[-4] if command[0] == "bash" else stdin
        self.scripts.append(script)
        if script in self.answers:
            return Result(stdout=self.answers[script], stderr="", code=0)
        return super().run(command, stdin=stdin, timeout_s=timeout_s, check=check)


@pytest.fixture
def host() -> Recorded:
    return Recorded()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "venv").mkdir(parents=True)
    (folder / "venv/stamp.env").write_text("WHEELS_HASH=feed\n")
    return folder


def revisions(host: Recorded, home: Path) -> AppRevisions:
    def each(hosts: Sequence[Host], work: Callable[[Any], Any]) -> dict[str, Any]:
        return {one.name: work(host) for one in hosts}

    rig = SimpleNamespace(
        name="r", each=each, variables={"common_directory": str(home), "common_user": "u", "app_port": 3001}
    )
    return AppRevisions(rig, HOSTS, 1)  # type: ignore[arg-type]


def tar_of(folder: Path, name: str, text: str) -> Path:
    source = folder / f"{name.replace('/', '_')}.txt"
    source.write_text(text)
    with tarfile.open(folder / f"{source.name}.tar.gz", "w:gz") as tar:
        tar.add(source, name)
    return folder / f"{source.name}.tar.gz"


@pytest.fixture(autouse=True)
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Bundles of this machine's Python; the second revision has packages of its own."""
    asked: list[dict[str, str]] = []

    def build(revision: str, **host: str) -> RevisionBundle:
        asked.append({"revision": revision, **host})
        code = tar_of(tmp_path, "app/x.py", f"code of {revision}")
        wheels = tar_of(tmp_path, "package.py", "p") if revision == TWO else None
        return RevisionBundle(revision=revision, code=code, wheels=wheels, wheels_hash="beef", notes=(revision,))

    monkeypatch.setattr(app_revisions, "build_revision", build)
    return asked


def test_revisions_lie_beside_the_provisioned_code(host: Recorded, home: Path, built: list[dict[str, str]]) -> None:
    apps = revisions(host, home)
    assert apps.deploy([ONE, TWO]) == [ONE, TWO], "the notes of both"
    assert built[0]["installed"] == "feed"
    assert built[0]["python"].count(".") == 1
    for revision in (ONE, TWO):
        folder = home / "revisions" / revision
        assert (folder / "code/app/x.py").read_text() == f"code of {revision}"
        assert (folder / "code/stamp.env").read_text() == f"CODE_HASH={revision}\n"
    assert not (home / "revisions" / ONE / "venv").exists()
    assert list((home / "revisions" / TWO).glob("venv/lib/python3*/site-packages/package.py"))
    assert sorted(path.name for path in (home / "revisions").iterdir()) == [ONE, TWO]


def test_what_a_host_has_is_not_sent_again_and_a_half_one_is(host: Recorded, home: Path) -> None:
    revisions(host, home).deploy([ONE])
    unpacked = host.scripts.count(app_revisions._UNPACK)
    revisions(host, home).deploy([ONE])
    assert host.scripts.count(app_revisions._UNPACK) == unpacked == 1
    (home / "revisions" / ONE / "complete").unlink()
    (home / "revisions/.dead").mkdir()
    revisions(host, home).deploy([ONE])
    assert host.scripts.count(app_revisions._UNPACK) == 2
    assert not (home / "revisions/.dead").exists()


def test_a_damaged_archive_leaves_no_revision(host: Recorded, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = app_revisions.build_revision

    def damaged(revision: str, **more: str) -> RevisionBundle:
        bundle = original(revision, **more)
        bundle.code.write_bytes(b"no archive")
        return bundle

    monkeypatch.setattr(app_revisions, "build_revision", damaged)
    with pytest.raises(RigError):
        revisions(host, home).deploy([ONE])
    assert not (home / "revisions" / ONE).exists()


def test_old_revisions_are_removed_and_those_in_use_stay(host: Recorded, home: Path) -> None:
    apps, names = revisions(host, home), [f"{n:012x}" for n in range(KEPT + 2)]
    apps.deploy([ONE])
    os.utime(home / "revisions" / ONE, (0, 0))
    for n, name in enumerate(names):
        apps.deploy([name, ONE])
        os.utime(home / "revisions" / name, (time.time() - 1000 + n,) * 2)
    left = {path.name for path in (home / "revisions").iterdir()}
    assert {ONE, names[-1]} <= left
    assert len(left) == KEPT
    assert names[0] not in left


def test_the_drop_in_names_the_folder_and_where_needed_the_packages(host: Recorded, home: Path) -> None:
    apps = revisions(host, home)
    apps.deploy([ONE, TWO])
    one, two = (apps.drop_in("app-1", revision).splitlines() for revision in (ONE, TWO))
    folder = f"{home}/revisions/{ONE}/code"
    assert one[0] == f"# {ONE}"
    assert one[2:] == [
        "[Service]", f"WorkingDirectory={folder}", f"Environment=PYTHONPATH={folder}",
        f"EnvironmentFile={folder}/stamp.env",
    ]  # fmt: skip
    start = f"/bin/sh -c 'PORT=$$((3001 - 1 + %i)) exec {home}/revisions/{TWO}/venv/bin/python -m app'"
    assert two[-2:] == ["ExecStart=", f"ExecStart={start}"]


def test_the_start_command_is_that_of_the_unit(host: Recorded, home: Path) -> None:
    """The drop-in repeats the unit's ExecStart with another Python."""
    apps = revisions(host, home)
    apps.deploy([TWO])
    template = Path("playbooks/roles/app/templates/pgcrucible-app@.service.j2").read_text()
    start = next(line for line in template.splitlines() if line.startswith("ExecStart="))
    rendered = start.replace("{{ app_port | int }}", "3001").replace(
        "{{ common_directory }}/venv", f"{home}/revisions/{TWO}/venv"
    )
    assert rendered in apps.drop_in("app-1", TWO).splitlines()


def test_the_module_of_a_control_starts_in_place_of_the_service(host: Recorded, home: Path) -> None:
    apps, name = revisions(host, home), "control-early-answer"
    assert not apps.has(name)
    apps.deploy([name])
    assert apps.has(name)
    start = f"/bin/sh -c 'PORT=$$((3001 - 1 + %i)) exec {home}/venv/bin/python -m controls.early_answer'"
    assert apps.drop_in("app-1", name).splitlines()[-2:] == ["ExecStart=", f"ExecStart={start}"]
    folder = f"{home}/revisions/{name}/code"
    host.answers[app_revisions._FOLDERS] = f"{folder} {home}/venv/bin/python -m controls.early_answer \n"
    apps.require_running(HOSTS, name)
    host.answers[app_revisions._FOLDERS] = f"{folder} {home}/venv/bin/python -m app \n"
    with pytest.raises(RigError, match=r"-m app, expected .* -m controls\.early_answer"):
        apps.require_running(HOSTS, name)
    apps.deploy([ONE])
    apps.remove_controls(HOSTS)
    assert [path.name for path in (home / "revisions").iterdir()] == [ONE]
    assert (apps.has(name), apps.has(ONE)) == (False, True), "it is deployed again when a cell asks for it"


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        (
            "{home}/code {home}/venv/bin/python -m app \n",
            "the service runs in {home}/code {home}/venv/bin/python -m app, expected",
        ),
        ("{home}/revisions/111111111111/code {home}/revisions/111111111111/venv/bin/python -m app \n", "expected"),
        ("{home}/revisions/111111111111/code {home}/venv/bin/python -m controls.x \n", "expected"),
        (" \n", "an unknown folder"),
        ("", "an unknown folder"),
    ],
)
def test_a_service_that_runs_elsewhere_is_found(host: Recorded, home: Path, printed: str, message: str) -> None:
    apps = revisions(host, home)
    apps.deploy([ONE])
    host.answers[app_revisions._FOLDERS] = f"{home}/revisions/{ONE}/code {home}/venv/bin/python -m app \n"
    apps.require_running(HOSTS, ONE)
    host.answers[app_revisions._FOLDERS] = printed.format(home=home)
    with pytest.raises(RigError) as error:
        apps.require_running(HOSTS, ONE)
    assert message.format(home=home) in error.value.message


def test_a_folder_may_be_reached_by_a_symbolic_link(home: Path, tmp_path: Path) -> None:
    """The kernel names the folder itself; the inventory may name a link."""
    (tmp_path / "link").symlink_to(home)
    (home / "code").mkdir()
    for name, script in (("systemctl", "echo $$"), ("runuser", f'[ "$1" = -u ] && echo {home}/code')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    folder = str(tmp_path / "link/code")
    command = ["env", f"PATH={tmp_path}:{os.environ['PATH']}", "sh", "-c", app_revisions._FOLDERS, "sh", "1", "u"]
    assert LocalConnection().run([*command, folder]).stdout.split(" ")[0] == folder
    assert LocalConnection().run([*command, "/other"]).stdout.split(" ")[0] == f"{home}/code"


@pytest.mark.parametrize(
    ("needed", "reloads"), [("no", False), ("yes", True), ("", True)], ids=["read", "changed", "no answer"]
)
def test_systemd_reads_the_units_again_until_it_has(
    host: Recorded, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: str, *, reloads: bool
) -> None:
    """Where the reload failed the drop-in was gone, and no later restart selected the provisioned code."""
    monkeypatch.setattr(app_revisions, "DROP_IN", str(tmp_path / "revision.conf"))
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\n[ "$1" = show ] && echo "{needed}" || touch {tmp_path}/reloaded\n')
    (tmp_path / "systemctl").chmod(0o755)
    script = revisions(host, home).selection("app-1", "")
    LocalConnection().run(["env", f"PATH={tmp_path}:{os.environ['PATH']}", "sh", "-c", script])
    assert (tmp_path / "reloaded").exists() is reloads


def test_the_last_line_of_the_log_is_the_reason(host: Recorded, home: Path) -> None:
    apps = revisions(host, home)
    host.answers[app_revisions._LAST_LINE] = "\nImportError: no x\n"
    assert apps.last_log_line(HOSTS) == "; app-1: ImportError: no x"
    host.answers[app_revisions._LAST_LINE] = "\n"
    assert apps.last_log_line(HOSTS) == ""
