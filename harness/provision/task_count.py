"""Counts the tasks of playbooks, for `task 12 of about 83`: what their files and those of their roles list.

Ansible knows the number of included tasks only when it reaches them. Handlers are not counted, tasks that a condition
leaves out are.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

MAX_DEPTH = 8


def count_tasks(folder: Path, playbooks: Iterable[str]) -> int:
    """Returns about how many tasks these playbooks of a folder have; 0 where a file cannot be read."""
    try:
        return sum(
            _count(play.get(part) or [], folder, folder, MAX_DEPTH)
            for name in playbooks
            for play in yaml.safe_load((folder / name).read_text(encoding="utf-8")) or []
            for part in ("pre_tasks", "tasks", "post_tasks")
        )
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError):  # Ansible reports it
        return 0


def _count(tasks: list[dict[str, Any]], folder: Path, here: Path, depth: int) -> int:
    if depth == 0:
        return 0
    total = 0
    for task in tasks:
        if "block" in task:
            total += _count(task["block"], folder, here, depth)
            continue
        action = {name.removeprefix("ansible.builtin."): value for name, value in task.items()}
        if role := action.get("import_role") or action.get("include_role"):
            total += int("include_role" in action)
            total += sum(_role(name, role.get("tasks_from", "main"), folder, depth) for name in _names(role, folder))
        elif file := action.get("import_tasks") or action.get("include_tasks"):
            total += int("include_tasks" in action)
            loop = task.get("loop")
            times = len(loop) if isinstance(loop, list) else 1
            total += times * _file(here / (file["file"] if isinstance(file, dict) else file), folder, depth)
        else:
            total += 1
    return total


def _names(role: dict[str, Any], folder: Path) -> list[str]:
    """Returns the roles of one include: those of all groups where the name is a template."""
    name = str(role["name"])
    if "{{" not in name:
        return [name]
    return [path.name for path in (folder / "roles").iterdir() if path.is_dir() and path.name != "common"]


def _role(name: str, tasks_from: str, folder: Path, depth: int) -> int:
    return _file(folder / "roles" / name / "tasks" / f"{tasks_from.removesuffix('.yml')}.yml", folder, depth)


def _file(path: Path, folder: Path, depth: int) -> int:
    if "{{" in path.name or not path.is_file():
        return 0
    return _count(yaml.safe_load(path.read_text(encoding="utf-8")) or [], folder, path.parent, depth - 1)
