"""Renders the roles' templates with Ansible on this machine, for an inventory of the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
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


SQL, VERIFY = "postgres/templates/database.sql.j2", "postgres/templates/verify.sql.j2"
HBA, REMOVE = "postgres/templates/pg_hba.conf.j2", "postgres/templates/remove.sql.j2"
PASSWORDS = {"appuser": 'pass"word', "crucible_harness": "harness-password"}
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
SETTINGS = {"max_connections": 100, "shared_buffers": "65536kB", "password_encryption": "scram-sha-256", "fsync": "off"}

Psql = Callable[[str, str], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def fresh(server: Any) -> Iterator[Any]:
    """A separate server: these tests change roles, which all databases of a server share."""
    folder = Path(tempfile.mkdtemp(prefix="pgcrucible-pg-"))
    try:
        running = type(server)(folder)
        running.start()
        try:
            yield running
        finally:
            running.stop("immediate")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def rendered(render_once: Render) -> dict[str, str]:
    """The role's SQL and access rules."""
    return render_once("db-1", [SQL, VERIFY, HBA, REMOVE], postgres_settings=SETTINGS)


@pytest.fixture
def psql(fresh: Any) -> Psql:
    """`psql(database, script)` as the superuser, as the role calls it."""

    def call(database: str, script: str) -> subprocess.CompletedProcess[str]:
        command = [str(fresh._bin / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        command += ["--set=ON_ERROR_STOP=on", "--file=-", f"--dbname={fresh.dsn(database)}"]
        return subprocess.run(
            command, input=script, capture_output=True, text=True, timeout=60, env=os.environ, check=False
        )

    return call


@pytest.fixture
def texts(rendered: dict[str, str], fresh: Any, psql: Psql) -> Iterator[dict[str, str]]:
    """The role's SQL, applied once; access rules in force; everything gone afterwards."""
    done = psql("postgres", rendered[SQL])
    assert done.returncode == 0, done.stderr
    rules = Path(fresh._data) / "pg_hba.conf"
    before = rules.read_text(encoding="utf-8")
    us = "host all postgres 127.0.0.1/32 scram-sha-256\nhost crucible appuser 127.0.0.1/32 scram-sha-256\n"
    rules.write_text(us + rendered[HBA], encoding="utf-8")
    psql("postgres", "SELECT pg_reload_conf();")
    yield rendered
    rules.write_text(before, encoding="utf-8")
    psql("postgres", "SELECT pg_reload_conf();")
    done = psql("postgres", rendered[REMOVE])
    assert (done.returncode, done.stdout) == (0, "removed\n"), done.stderr


def login(fresh: Any, user: str) -> psycopg.Connection[Any]:
    where = f"host=127.0.0.1 port={fresh.port} dbname=crucible sslmode=disable"
    return psycopg.connect(where, user=user, password=PASSWORDS[user], autocommit=True)


def states(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {line for line in done.stdout.splitlines() if line.startswith("state ")}
