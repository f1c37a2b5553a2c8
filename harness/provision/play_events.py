"""The events that the callback plugin `json_lines` prints while Ansible runs, collected. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.rig.state import PLAYBOOKS

Echo = Callable[[str], None]


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


@dataclass(kw_only=True)
class _RunningTask:
    """A task while its events arrive; times in seconds of the caller's clock."""

    play: str
    name: str
    began: float
    ended: float
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A task that failed on a host; `place`: its file and line, relative to the playbooks."""

    host: str
    task: str
    place: str
    message: str


class PlayEvents:
    """Collects the callback's events, one at a time; opens nothing, the caller passes the time.

    `total`: about how many tasks there are; `log`: takes a line.
    """

    def __init__(self, echo: Echo, total: int, log: Echo) -> None:
        self._echo, self._total, self._log = echo, total, log
        self._play, self._playbook, self._play_began = "", "", 0.0
        self._tasks: dict[str, _RunningTask] = {}
        self.plays: list[Play] = []
        self.failures: list[Failure] = []
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
            self._total += int(kind == "v2_playbook_on_handler_task_start")  # a change adds handlers
            about = f" of about {self._total}" if len(self._tasks) <= self._total else ""
            line = f"{self._play.split(':')[0].lower()}: {name.split(' : ')[-1]}"
            self._echo(f"task {len(self._tasks)}{about}: {line}")
            self._log(f"{line}  ({event['task'].get('path', '')})")
        task.ended = now
        for host, result in event.get("hosts", {}).items():
            self._log(f"  {host}: {_ended(kind, result)}")
            if result.get("changed"):
                task.changed.append(host)
            task.removed += result.get("removed") or []
            failed = kind == "v2_runner_on_failed" and not result.get("ignore_errors")
            if failed or kind == "v2_runner_on_unreachable":
                place = _place(event["task"].get("path", ""))
                self.failures.append(
                    Failure(host=host, task=name.split(" : ")[-1], place=place, message=_message(result))
                )

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


def _place(path: str) -> str:
    """Returns `roles/app/tasks/main.yml:18` of an absolute path with a line."""
    folder = f"{PLAYBOOKS}/"
    return f"playbooks/{path.removeprefix(folder)}" if path.startswith(folder) else path


def _ended(kind: str, result: Mapping[str, Any]) -> str:
    """Returns how a task ended on a host, with the whole message if it failed."""
    word = kind.removeprefix("v2_runner_on_")
    if word in ("failed", "unreachable"):
        return f"{word}: {_message(result, limit=100_000)}"
    return "changed" if result.get("changed") else word


def _message(result: Mapping[str, Any], *, limit: int = 1500) -> str:
    """Returns the reason of a failure, from the several keys where Ansible may store it."""
    if result.get("results"):
        failed = [item for item in result["results"] if item.get("failed")]
        if failed:
            return _message(failed[0], limit=limit)
    parts = [str(result.get(key) or "") for key in ("msg", "stderr", "module_stderr", "censored")]
    lines = [line for part in parts for line in part.strip().splitlines()[-6:] if line.strip()]
    return " | ".join(dict.fromkeys(lines))[:limit] or "no message"
