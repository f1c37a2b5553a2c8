"""A play ends with its harness: with Ctrl-C, with kill -9, and with kill -9 of its watcher too."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import play_processes
from harness.rig import state

PLAY = """\
- name: "Wait: for ever"
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Ensure a daemon outlives the play
      ansible.builtin.shell:
        cmd: env --unset=PGCRUCIBLE_PLAY setsid sleep 86{{ stamp }} > /dev/null 2>&1 & echo $! > {{ place }}/daemon
    - name: Wait
      ansible.builtin.shell:
        cmd: trap '' TERM; echo started > {{ place }}/started; sleep 86{{ stamp }}; sleep 86{{ stamp }}
"""
HARNESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from harness.provision import ansible
from harness.rig import state
state.RIGS, ansible.PLAYBOOKS = Path(sys.argv[2], "rigs"), Path(sys.argv[2])
with state.locked(sys.argv[3]):
    state.make_folder(sys.argv[3])
    variables = {"place": sys.argv[2], "stamp": sys.argv[4], "app_password": "so-secret"}
    ansible.run_playbooks(sys.argv[3], ["wait.yml"], variables=variables, echo=print, mitogen=False)
"""


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


def is_free(name: str) -> bool:
    try:
        with state.locked(name):
            return True
    except RigError:
        return False


def sleeping(stamp: str) -> list[int]:
    """The processes of the play's tasks, however they were started."""
    pids = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if entry.name.isdigit() and words[:2] == [b"sleep", f"86{stamp}".encode()]:
            pids.append(int(entry.name))
    return pids


@pytest.mark.parametrize("killed", ["harness", "harness and watcher"])
def test_a_play_dies_with_its_harness_and_leaves_no_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: str
) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    name, stamp = f"t-{os.getpid()}-{secrets.token_hex(2)}", str(secrets.randbelow(900_000) + 100_000)
    (tmp_path / "callback_plugins").symlink_to(state.PLAYBOOKS / "callback_plugins")
    (tmp_path / "ansible.cfg").write_text("[defaults]\nlocalhost_warning = false\n")
    (tmp_path / "wait.yml").write_text(PLAY)
    command = [sys.executable, "-c", HARNESS, str(state.ROOT), str(tmp_path), name, stamp]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as harness:
        wait_for((tmp_path / "started").exists, "the play's task")
        daemon = int((tmp_path / "daemon").read_text())
        [folder] = (tmp_path / "rigs" / name).glob("play-*")
        assert "so-secret" in (folder / "variables.yml").read_text()
        assert not is_free(name)
        watchers = [
            pid
            for pid in map(int, filter(str.isdigit, (entry.name for entry in Path("/proc").iterdir())))
            if pid != harness.pid
            and str(folder).encode() in _command_line(pid)
            and b"play_processes" in _command_line(pid)
        ]
        assert len(watchers) == 1
        if killed == "harness and watcher":
            os.kill(watchers[0], signal.SIGKILL)
        os.kill(harness.pid, signal.SIGKILL)
        harness.wait()
    try:
        wait_for(lambda: is_free(name), "the lock")
        if killed == "harness":  # with the lock free, nothing of the play is left
            assert play_processes.processes(folder) == []
            assert not folder.exists()
        with state.locked(name):
            play_processes.remove_leftovers(state.folder(name))
        assert not folder.exists()
        assert sleeping(stamp) == [daemon], "only what was started to outlive the play"
    finally:
        for pid in {daemon, *sleeping(stamp)}:
            os.kill(pid, signal.SIGKILL)


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
