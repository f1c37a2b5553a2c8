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
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import yaml

from harness.errors import RigError
from harness.provision import play_log, play_processes
from harness.provision.ansible_reader import own_environment
from harness.provision.path_quoting import fits_control_path
from harness.provision.play_events import Echo, Play, PlayEvents, Task
from harness.provision.play_log import PlayLog
from harness.provision.task_count import count_tasks
from harness.rig import machine_lock
from harness.rig.ssh import changed_host_key
from harness.rig.state import PLAYBOOKS, Variables, folder, write_private

TAIL_LINES = 20
_HOST_KEY = ("mismatching host key", "Host key verification failed")
"""Messages of Mitogen and OpenSSH about an unknown or changed host key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayResult:
    """The result of a run of playbooks. Counts are sums over hosts; `seconds` includes Ansible's start."""

    ok: int
    changed: int
    seconds: float
    plays: tuple[Play, ...]
    tasks: tuple[Task, ...]


_WITHOUT_CONTROL_PATH = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ForwardAgent=no"}
"""One connection per task, which costs time only if Mitogen is missing."""


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
    if mitogen and not strategy():
        echo("ansible: Mitogen is not installed: each task starts a Python process per host, about twice as slow")
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with (
        PlayLog(base / play_log.FILE) as log,
        tempfile.TemporaryDirectory(prefix=play_processes.PREFIX, dir=base) as temporary,
        play_processes.watcher(Path(temporary), machine_lock.descriptors()),
    ):
        events = PlayEvents(echo, count_tasks(PLAYBOOKS, playbooks), log.write)
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
                    _take(line, events, tail, log)
            except BaseException:
                _end(process)
                play_processes.end(Path(temporary))  # its workers leave the process group
                raise
        code = process.returncode
    if code != 0:
        raise _failure(rig, events, list(tail), code)
    return PlayResult(
        ok=events.count("ok"),
        changed=events.count("changed"),
        seconds=round(time.monotonic() - began, 3),
        plays=tuple(events.plays),
        tasks=events.tasks(),
    )


def _take(line: str, events: PlayEvents, tail: deque[str], log: PlayLog) -> None:
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if isinstance(event, dict) and "_event" in event:
        events.read(event, time.monotonic())
    elif line.strip():
        tail.append(line.rstrip())
        log.write(line.rstrip())


def _end(process: subprocess.Popen[str]) -> None:
    """Ends Ansible and its child processes: SIGINT, then SIGTERM, then SIGKILL."""
    for number, timeout_s in ((signal.SIGINT, 5.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
            return


def _failure(rig: str, events: PlayEvents, tail: list[str], code: int) -> RigError:
    log = f"the log is {folder(rig) / play_log.FILE}"
    if not events.failures:
        return RigError(f"ansible-playbook ended with code {code}", hint=log, output="\n".join(tail))
    last = events.failures[-1]
    if any(text in last.message for text in _HOST_KEY):
        return changed_host_key(last.host)
    others = len({failure.host for failure in events.failures} - {last.host})
    more = f" (and {others} more hosts)" if others else ""
    where = "this machine" if last.host == "localhost" else last.host
    again = "" if last.host == "localhost" else f"./run provision --rig {rig} --only {last.host} repeats it there; "
    return RigError(
        f"{where}{more}: {last.task} ({last.place}): {last.message}",
        hint=f"{again}./run provision --rig {rig} continues; ./run destroy --rig {rig} removes the rig; {log}",
        output="\n".join(tail),
    )
