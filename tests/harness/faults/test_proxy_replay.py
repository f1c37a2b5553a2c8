"""The control that replays requests: its script on a real file, with HAProxy and systemd as stubs that are recorded."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.faults import proxy_replay
from harness.faults.proxy_replay import ProxyReplay
from harness.rig.connection import Result
from harness.rig.state import ROOT
from tests.support.fake_rig import FakeRig

TEMPLATE = ROOT / "playbooks/roles/haproxy/templates/haproxy.cfg.j2"
RETRIES = [line for line in TEMPLATE.read_text().splitlines() if line.strip().startswith(("retries", "retry-on"))]
CONFIG = "defaults\n    mode http\n" + "\n".join(RETRIES) + "\n"


class Machine:
    """This machine as a load balancer: the script runs on a file in a folder."""

    def __init__(self, folder: Path, *, refuses: bool = False) -> None:
        self.file, self.log, bin_ = folder / "haproxy.cfg", folder / "log", folder / "bin"
        self.file.write_text(CONFIG)
        self.log.touch()
        bin_.mkdir()
        self.fails = folder / "fails"
        for name, code in (("haproxy", f"exit {int(refuses)}"), ("systemctl", f"[ ! -e {self.fails} ]")):
            (bin_ / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {self.log}\n{code}\n')
            (bin_ / name).chmod(0o755)
        self.env = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}"}

    def run(self, command: Sequence[str], *, timeout_s: float, check: bool) -> Result:
        assert not check
        words = [str(self.file) if word == proxy_replay.FILE else word for word in command]
        done = subprocess.run(words, env=self.env, capture_output=True, text=True, timeout=timeout_s, check=False)
        return Result(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def proxy(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> ProxyReplay:
    rig = FakeRig(2)
    monkeypatch.setattr(rig, "at", lambda _: machine)
    return ProxyReplay(rig)  # type: ignore[arg-type]


def test_the_role_never_replays_what_may_have_been_applied() -> None:
    assert ["retry-on", "conn-failure"] in [line.split() for line in RETRIES]
    assert "all-retryable-errors" not in CONFIG


def test_it_replays_and_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    made = proxy(machine, monkeypatch)
    made.configure(replays=False)
    assert machine.log.read_text() == ""
    made.configure(replays=True)
    made.configure(replays=True)
    text = machine.file.read_text()
    assert "    retry-on all-retryable-errors\n" in text
    assert "    retries 3\n" in text
    assert "conn-failure" not in text
    assert machine.log.read_text().count("systemctl reload haproxy") == 1
    made.configure(replays=False)
    assert machine.file.read_text() == CONFIG
    assert machine.log.read_text().count("systemctl reload haproxy") == 2
    assert {each.name for each in tmp_path.iterdir()} == {"haproxy.cfg", "log", "bin"}


def test_what_a_killed_bench_left_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    proxy(machine, monkeypatch).configure(replays=True)
    assert proxy(machine, monkeypatch).restore()
    assert machine.file.read_text() == CONFIG
    calls = machine.log.read_text()
    assert not proxy(machine, monkeypatch).restore()
    assert machine.log.read_text() == calls


@pytest.mark.parametrize("replays", [True, False])
def test_a_reload_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replays: bool) -> None:
    """HAProxy went on with the other configuration: nothing but the copy that was gone told of it."""
    machine = Machine(tmp_path)
    made = proxy(machine, monkeypatch)
    if not replays:
        made.configure(replays=True)
    machine.fails.touch()
    with pytest.raises(RigError, match="retries were not changed"):
        made.configure(replays=replays)
    machine.fails.unlink()
    machine.log.write_text("")
    if replays:
        made.configure(replays=True)
        assert "retry-on all-retryable-errors" in machine.file.read_text()
    else:
        assert proxy(machine, monkeypatch).restore()
    assert "systemctl reload haproxy" in machine.log.read_text()
    assert proxy(machine, monkeypatch).restore() is replays
    assert machine.file.read_text() == CONFIG
    assert {each.name for each in tmp_path.iterdir()} == {"haproxy.cfg", "log", "bin"}


def test_a_configuration_that_haproxy_refuses_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, refuses=True)
    with pytest.raises(RigError, match="retries were not changed"):
        proxy(machine, monkeypatch).configure(replays=True)
    assert machine.file.read_text() == CONFIG
    assert "systemctl" not in machine.log.read_text()
