"""Runs Ansible playbooks as a separate process and reads its events.

Ansible's Python API is not intended for use as a library, and a process can be ended. The callback plugin `json_lines`
(playbooks/callback_plugins) prints one JSON event per line: progress, changed counts, failures and timings.

Mitogen (playbooks/strategy_plugins) keeps one Python process per host alive; without it Ansible starts one per task.
Only plays on hosts use it: the provider's plays on the controller have few tasks.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from harness.errors import RigError
from harness.provision import play_processes
from harness.provision.ansible_reader import own_environment
from harness.provision.path_quoting import fits_control_path
from harness.rig import machine_lock
from harness.rig.ssh import changed_host_key
from harness.rig.state import PLAYBOOKS, Variables, folder, write_private

Echo = Callable[[str], None]
TAIL_LINES = 20
_HOST_KEY = ("mismatching host key", "Host key verification failed")
"""Messages of Mitogen and OpenSSH about an unknown or changed host key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a play on all its hosts: its duration and its changes."""

    play: str
    name: str
    seconds: float
    changed: tuple[str, ...]
    """Names of the changed hosts."""
    removed: tuple[str, ...] = ()
    """What the task reports as removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One play: the playbook's file name without suffix, the play's name and its duration."""

    playbook: str
    name: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayResult:
    """The result of a run of playbooks. Counts are sums over hosts; `seconds` includes Ansible's start."""

    ok: int
    changed: int
    seconds: float
    plays: tuple[Play, ...]
    tasks: tuple[Task, ...]


@dataclass(kw_only=True)
class _RunningTask:
    """A task while its events arrive; times in seconds of the caller's clock."""

    play: str
    name: str
    began: float
    ended: float
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


_WITHOUT_CONTROL_PATH = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ForwardAgent=no"}
"""One connection per task, which costs time only if Mitogen is missing."""


class _Events:
    """Collects the callback's events, one at a time; opens nothing, the caller passes the time."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._play, self._playbook, self._play_began = "", "", 0.0
        self._tasks: dict[str, _RunningTask] = {}
        self.plays: list[Play] = []
        self.failures: list[tuple[str, str, str]] = []
        self.stats: dict[str, dict[str, int]] = {}

    def read(self, event: Mapping[str, Any], now: float) -> None:
        kind = event["_event"]
        if kind == "v2_playbook_on_play_start":
            self._end_play(now)
            self._play, self._play_began = event["play"]["name"], now
            self._playbook = Path(event["play"]["path"].rpartition(":")[0]).stem
        elif kind == "v2_playbook_on_stats":
            self._end_play(now)
            self.stats = event["stats"]
        elif "task" in event:
            self._read_task(kind, event, now)

    def _end_play(self, now: float) -> None:
        if self._play:
            seconds = round(now - self._play_began, 3)
            self.plays.append(Play(playbook=self._playbook, name=self._play, seconds=seconds))

    def _read_task(self, kind: str, event: Mapping[str, Any], now: float) -> None:
        name = event["task"]["name"]
        new = _RunningTask(play=self._play, name=name, began=now, ended=now)
        task = self._tasks.setdefault(event["task"]["id"], new)
        if task is new:
            self._echo(f"{self._play.split(':')[0].lower()}: {name.split(' : ')[-1]}")
        task.ended = now
        for host, result in event.get("hosts", {}).items():
            if result.get("changed"):
                task.changed.append(host)
            task.removed += result.get("removed") or []
            failed = kind == "v2_runner_on_failed" and not result.get("ignore_errors")
            if failed or kind == "v2_runner_on_unreachable":
                self.failures.append((host, name.split(" : ")[-1], _message(result)))

    def tasks(self) -> tuple[Task, ...]:
        return tuple(
            Task(
                play=t.play,
                name=t.name,
                seconds=round(t.ended - t.began, 3),
                changed=tuple(t.changed),
                removed=tuple(t.removed),
            )
            for t in self._tasks.values()
        )

    def count(self, key: str) -> int:
        return sum(host[key] for host in self.stats.values())


def _message(result: Mapping[str, Any]) -> str:
    """Returns the reason of a failure, from the several keys where Ansible may store it."""
    if result.get("results"):
        failed = [item for item in result["results"] if item.get("failed")]
        if failed:
            return _message(failed[0])
    parts = [str(result.get(key) or "") for key in ("msg", "stderr", "module_stderr", "censored")]
    lines = [line for part in parts for line in part.strip().splitlines()[-6:] if line.strip()]
    return " | ".join(dict.fromkeys(lines))[:1500] or "no message"


def strategy() -> dict[str, str]:
    """Returns the environment variables that make Ansible use Mitogen, if it is installed."""
    if find_spec("ansible_mitogen") is None:
        return {}
    return {"ANSIBLE_STRATEGY": "mitogen_unpinned", "ANSIBLE_STRATEGY_PLUGINS": str(PLAYBOOKS / "strategy_plugins")}


def run_playbooks(
    rig: str,
    playbooks: Sequence[str],
    *,
    variables: Variables,
    echo: Echo,
    mitogen: bool = True,
    only: Sequence[str] = (),
) -> PlayResult:
    """Runs playbooks (file names in playbooks/) in order on the rig's inventory, or on `only` these hosts of it.

    `variables` are passed in a file that only this user can read, because other users can see command lines. Raises
    RigError with task and message for the last host that failed or was unreachable. On Ctrl-C it ends Ansible and
    then raises KeyboardInterrupt.
    """
    base = folder(rig)
    began = time.monotonic()
    events = _Events(echo)
    if mitogen and not strategy():
        echo("ansible: Mitogen is not installed: each task starts a Python process per host, about twice as slow")
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with (
        tempfile.TemporaryDirectory(prefix=play_processes.PREFIX, dir=base) as temporary,
        play_processes.watcher(Path(temporary), machine_lock.descriptors()),
    ):
        extra = Path(temporary) / "variables.yml"
        write_private(extra, yaml.safe_dump(dict(variables)))
        command = [sys.executable, "-P", "-m", "ansible", "playbook", "--extra-vars", f"@{extra}"]
        if (base / "inventory.yml").exists():
            command += ["--inventory", str(base / "inventory.yml")]
        if only:
            command += ["--limit", ",".join(only)]
        command += [str(PLAYBOOKS / name) for name in playbooks]
        environment = {
            **own_environment(),
            "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
            "ANSIBLE_CALLBACK_PLUGINS": str(PLAYBOOKS / "callback_plugins"),
            "ANSIBLE_STDOUT_CALLBACK": "json_lines",
            "ANSIBLE_LOCAL_TEMP": str(Path(temporary) / "ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(Path(temporary) / "cp"),
            "PYTHONWARNINGS": "ignore",
            play_processes.VARIABLE: temporary,
            **({} if fits_control_path(base) else _WITHOUT_CONTROL_PATH),
            **(strategy() if mitogen else {}),
        }
        with subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C must reach only this process, which then ends Ansible
        ) as process:
            try:
                for line in process.stdout or ():
                    _take(line, events, tail)
            except BaseException:
                _end(process)
                play_processes.end(Path(temporary))  # its workers leave the process group
                raise
        code = process.returncode
    if code != 0:
        raise _failure(events, list(tail), code)
    return PlayResult(
        ok=events.count("ok"),
        changed=events.count("changed"),
        seconds=round(time.monotonic() - began, 3),
        plays=tuple(events.plays),
        tasks=events.tasks(),
    )


def _take(line: str, events: _Events, tail: deque[str]) -> None:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "_event" in event:
        events.read(event, time.monotonic())
    elif line.strip():
        tail.append(line.rstrip())


def _end(process: subprocess.Popen[str]) -> None:
    """Ends Ansible and its child processes: SIGINT, then SIGTERM, then SIGKILL."""
    for number, timeout_s in ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
            return


def _failure(events: _Events, tail: list[str], code: int) -> RigError:
    if not events.failures:
        return RigError(f"ansible-playbook ended with code {code}", output="\n".join(tail))
    host, task, message = events.failures[-1]
    if any(text in message for text in _HOST_KEY):
        return changed_host_key(host)
    others = len({name for name, _, _ in events.failures} - {host})
    more = f" (and {others} more hosts)" if others else ""
    where = "this machine" if host == "localhost" else host
    return RigError(
        f"{where}{more}: {task}: {message}",
        hint="./run provision continues where it stopped; ./run destroy removes the rig",
        output="\n".join(tail),
    )
