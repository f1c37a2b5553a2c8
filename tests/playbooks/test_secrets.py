"""Passwords are on no command line, with Mitogen and without it: any user of a machine can read command lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.provision import ansible

from .conftest import ROLES, ROOT, role_variables

SECRETS = {"app_password": "app-Secret-1", "harness_password": "harness-Secret-2"}
SSH = """#!{python}
import os, sys
with open({log!r}, "a") as log:
    log.write(repr(sys.argv) + "\\n")
os.execvp("sh", ["sh", "-c", " ".join(sys.argv[sys.argv.index({host!r}) + 1:])])
"""
HOST = "host.invalid"


def play(role: str) -> list[dict[str, Any]]:
    return [
        {
            "hosts": role,
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.include_role": {"name": role, "tasks_from": "verify", "rolespec_validate": False}}
            ],
        }
    ]


@pytest.mark.parametrize("mitogen", [True, False], ids=["with Mitogen", "without"])
@pytest.mark.parametrize("role", ["app", "load", "haproxy"])
def test_verification_passes_no_password_on_a_command_line(tmp_path: Path, role: str, mitogen: bool) -> None:
    """Runs the role's verification through an ssh that records its arguments. It fails, and reports what failed."""
    log = tmp_path / "arguments"
    (tmp_path / "ssh").write_text(SSH.format(python=sys.executable, log=str(log), host=HOST), encoding="utf-8")
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "here" / "venv" / "bin").mkdir(parents=True)
    python = tmp_path / "here" / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    variables = {k: v for name in ROLES.iterdir() for k, v in role_variables(name.name).items()}
    variables |= {
        **SECRETS,
        "address": "127.0.0.1",
        "ansible_host": HOST,
        "ansible_ssh_executable": str(tmp_path / "ssh"),
        "ansible_python_interpreter": sys.executable,
        "common_directory": str(tmp_path / "here"),
        "common_user": "root",
        "app_workers": 0,
        "postgres_port": 1,
        "haproxy_port": 1,
        "bundle_code_hash": "c0de",
    }
    groups = {"haproxy": "lb-1", "lb": "lb-1", "app": "app-1", "load": "load-1", "db": "db-1"}
    children = {group: {"hosts": {name: {}}} for group, name in groups.items()}
    (tmp_path / "inventory.yml").write_text(yaml.safe_dump({"all": {"vars": variables, "children": children}}))
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play(role)))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "inventory.yml", "play.yml", "-vvv"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "playbooks" / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"),
            "ANSIBLE_REMOTE_TEMP": str(tmp_path / "remote"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(tmp_path / "cp"),
            **(ansible.strategy() if mitogen else {}),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 2, output  # a host failed
    assert ("127.0.0.1" if role == "load" else "port") in output, output
    assert "unreachable=0" in output, output
    arguments = log.read_text(encoding="utf-8")
    assert HOST in arguments
    for secret in SECRETS.values():
        assert secret not in arguments
        assert secret not in output


def test_no_task_gets_a_variable_by_its_environment() -> None:
    """Without Mitogen the environment of a task is part of the command line of ssh and of the remote shell."""
    environments = {
        str(path.relative_to(ROLES)): task["environment"]
        for path in ROLES.rglob("tasks/*.yml")
        for task in yaml.safe_load(path.read_text(encoding="utf-8")) or []
        if "environment" in task
    }
    assert environments == {"common/tasks/packages.yml": {"DEBIAN_FRONTEND": "noninteractive"}}
