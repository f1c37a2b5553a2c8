"""Containers that are stopped and started have their CPU limit again; what does not exist needs no playbook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.model import Host
from harness.provision import podman_cli
from harness.provision.ansible import PlayResult
from harness.provision.play_events import Task
from harness.provision.providers import local_hosts, podman
from harness.rig import state
from tests.support.builders import rig_state

APP = Host(name="app-1", role="app", address="198.18.7.101", ssh_address="198.18.7.101")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of podman and of the host, in order; the rig `try` limits app-1 to a quarter of a core."""
    made: list[Any] = []
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    state.make_folder("try")
    state.save(rig_state((APP,), name="try", provider="podman", cpus={"app-1": 0.25}))
    monkeypatch.setattr(podman_cli, "run", lambda *arguments, **_: made.append(arguments))
    monkeypatch.setattr(local_hosts, "wait_for_ssh", lambda hosts, timeout_s: made.append([h.name for h in hosts]))
    return made


@pytest.mark.parametrize(("cpus", "limit"), [(None, "0.25"), (0.1, "0.1")])
def test_a_started_host_has_its_cpu_limit_and_accepts_ssh(calls: list[Any], cpus: float | None, limit: str) -> None:
    podman.start_host("try", APP, cpus)
    assert calls == [
        ("start", "pgcrucible-try-app-1"),
        ("update", "--cpus", limit, "pgcrucible-try-app-1"),
        ["app-1"],
    ]


def test_a_host_without_a_limit_gets_none(calls: list[Any]) -> None:
    state.save(rig_state((APP,), name="try", provider="podman"))
    podman.start_host("try", APP)
    assert calls == [("start", "pgcrucible-try-app-1"), ["app-1"]]


def test_a_host_is_stopped_without_a_shutdown(calls: list[Any]) -> None:
    podman.stop_host("try", APP)
    assert calls == [("stop", "--time", "0", "pgcrucible-try-app-1")]


@pytest.mark.parametrize(
    ("labelled", "purge", "plays"),
    [
        ({}, False, []),
        ({"other"}, False, []),
        ({"try"}, False, ["podman_destroy.yml"]),
        ({}, True, ["podman_destroy.yml"]),
    ],
)
def test_a_playbook_runs_only_if_something_can_be_removed(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, labelled: set[str], purge: bool, plays: list[str]
) -> None:
    """The state of a rig says nothing: it is also there for a rig of another provider."""
    assert state.folder("try").exists()
    monkeypatch.setattr(podman_cli, "labelled_rigs", lambda: {rig: {state.OWNER} for rig in labelled})
    monkeypatch.setattr(podman.shutil, "which", lambda _: "/usr/bin/podman")
    monkeypatch.setattr(local_hosts, "become", lambda: False)

    def run_playbooks(name: str, playbooks: list[str], **_: Any) -> PlayResult:
        calls.extend(playbooks)
        task = Task(play="x", name="x", seconds=0, changed=(), removed=("container pgcrucible-try-app-1",))
        return PlayResult(ok=1, changed=1, seconds=0, plays=(), tasks=(task,))

    monkeypatch.setattr(podman, "run_playbooks", run_playbooks)
    removed = podman.remove("try", print, purge=purge, take_over=False)
    assert calls == plays
    assert removed == (("container pgcrucible-try-app-1",) if plays else ())
