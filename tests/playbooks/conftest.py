"""Renders the roles' templates with Ansible on this machine, for an inventory of the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = ROOT / "playbooks" / "roles"
HOSTS = {"db": ["db-1"], "app": ["app-1", "app-2"], "lb": ["lb-1"], "load": ["load-1"]}

Render = Callable[..., dict[str, str]]


def role_variables(role: str) -> dict[str, Any]:
    """Returns a role's defaults and vars, not rendered."""
    variables: dict[str, Any] = {}
    for folder in ("defaults", "vars"):
        path = ROLES / role / folder / "main.yml"
        if path.exists():
            variables |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return variables


@pytest.fixture
def render(tmp_path: Path) -> Render:
    """`render(host, [template…], **variables)`: template (below roles/) -> its text for that host."""
    return partial(render_in, tmp_path)


@pytest.fixture(scope="module")
def render_once(tmp_path_factory: pytest.TempPathFactory) -> Render:
    """The same, for texts that all tests of a module use."""
    return partial(render_in, tmp_path_factory.mktemp("render"))


def render_in(
    folder: Path, host: str, templates: list[str], *, addresses: str = "192.0.2.", **variables: Any
) -> dict[str, str]:
    """Writes an inventory and a play to `folder`, runs the play and returns the rendered texts."""
    everything = {k: v for role in ROLES.iterdir() for k, v in role_variables(role.name).items()}
    everything["postgres_schema"] = (ROOT / "app" / "schema.sql").read_text(encoding="utf-8")
    everything |= {"app_password": 'pass"word', "harness_password": "harness-password"}
    everything |= {"bundle_code_hash": "c0de", "bundle_wheels_hash": "beef"}
    numbers = iter(range(10, 250))
    children = {
        group: {"hosts": {name: {"address": f"{addresses}{next(numbers)}"} for name in names}}
        for group, names in HOSTS.items()
    }
    inventory = {"all": {"vars": everything | variables, "children": children}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    play = {
        "hosts": host,
        "connection": "local",
        "gather_facts": False,
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": f"{{{{ lookup('ansible.builtin.template', '{ROLES / name}') }}}}",
                    "dest": str(folder / Path(name).name),
                    "mode": "0600",
                }
            }
            for name in templates
        ],
    }
    (folder / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    environ = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "inventory.yml", "play.yml"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: (folder / Path(name).name).read_text(encoding="utf-8") for name in templates}
