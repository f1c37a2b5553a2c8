"""Attacks on the secrets of the shared rig: files, process lists, logs, results and our output."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from pathlib import Path

import pytest

from harness.provision import ansible
from harness.provision.provisioner import provision
from harness.rig import state
from harness.rig.rig import Rig
from tests.conftest import Tool

from .conftest import on


def passwords(hosts: Rig) -> list[str]:
    """The secrets that must not appear anywhere."""
    secrets = [value for value in hosts.secrets.values() if len(value) > 8]
    assert len(secrets) >= 2
    return secrets


# -- secrets -----------------------------------------------------------------------------------------------------

ON_DISK = """
import json, os
found, skipped = {}, {"proc", "sys", "dev", "usr", "boot"}
for folder, folders, files in os.walk("/"):
    if folder == "/": folders[:] = [name for name in folders if name not in skipped]
    for name in files:
        path = os.path.join(folder, name)
        status = os.lstat(path)
        if status.st_mode & 0o170000 == 0o100000 and status.st_size < 1 << 26:
            data = open(path, "rb").read()
            if any(secret.encode() in data for secret in SECRETS):
                found[path] = [oct(status.st_mode & 0o777), status.st_uid]
print(json.dumps(found))
"""


def test_secrets_are_on_hosts_only_in_the_file_that_the_service_reads(hosts: Rig) -> None:
    settings = {"/etc/pgcrucible/app.env": ["0o600", 0]}
    for host in hosts.hosts:
        found = on(hosts, host.name, ON_DISK, SECRETS=passwords(hosts))
        assert found == (settings if host.role == "app" else {}), host.name


def test_secrets_on_the_controller_are_readable_only_by_their_owner(shared_rig: str) -> None:
    folder = state.folder(shared_rig)
    assert folder.stat().st_mode & 0o077 == 0
    private = [
        path
        for path in folder.rglob("*")
        if path.suffix in (".yml", ".json") or path.name in ("id_ed25519", "host_key")
    ]
    assert len(private) > 5
    for path in private:
        assert path.stat().st_mode & 0o077 == 0, path


class Eavesdropper(threading.Thread):
    """Repeatedly reads the command line of every process of this machine, including its containers."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(daemon=True)
        self._secrets = [secret.encode() for secret in secrets]
        self._stopped = threading.Event()
        self.found: set[str] = set()
        self.rounds = 0

    def run(self) -> None:
        while not self._stopped.wait(0.1):
            self.rounds += 1
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    if any(secret in line for secret in self._secrets):
                        self.found.add(line.replace(b"\0", b" ").decode(errors="replace"))

    def __enter__(self) -> Eavesdropper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()


def test_the_eavesdropper_detects_a_secret_on_a_command_line() -> None:
    with Eavesdropper(["so-secret-that-it-hurts"]) as eavesdropper:
        process = subprocess.Popen(["sh", "-c", "read x", "so-secret-that-it-hurts"], stdin=subprocess.PIPE)
        while not eavesdropper.found:
            assert eavesdropper.rounds < 100
        process.communicate(b"\n")


def test_no_secret_appears_while_hosts_are_changed_and_measured(
    tool: Tool, hosts: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in verbose Ansible events, nor in process lists, journals, results or our output; without Mitogen too."""
    secrets, events, printed = passwords(hosts), list[str](), list[str]()
    take = ansible._take
    monkeypatch.setattr(ansible, "_take", lambda line, *rest: (events.append(line), take(line, *rest)))
    monkeypatch.setenv("ANSIBLE_VERBOSITY", "3")
    monkeypatch.setenv("ANSIBLE_DIFF_ALWAYS", "1")
    hosts.at("app-1").run(["rm", "/etc/pgcrucible/app.env"])
    drift = "ALTER ROLE appuser PASSWORD 'drift'"
    hosts.at("db-1").run(["runuser", "-u", "postgres", "--", "psql", "-qc", drift, "postgres"])
    with Eavesdropper(secrets) as eavesdropper:
        report = provision(tool.rig, echo=printed.append)
        with monkeypatch.context() as without_mitogen:
            without_mitogen.setattr(ansible, "strategy", dict)
            provision(tool.rig, echo=printed.append)
        done = tool.bench("--quick", "--scenario", "deadlocks", "--backend", "postgres", "--repeat", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert report.changed >= 2
    assert "Mitogen is not installed" in "\n".join(printed)
    assert len(events) > 100
    assert eavesdropper.rounds > 20
    assert eavesdropper.found == set()
    printed += [done.stdout, done.stderr, *events]
    printed += [path.read_bytes().decode(errors="replace") for path in tool.results.rglob("*") if path.is_file()]
    logs = ["sh", "-c", "journalctl --no-pager; cat /var/log/*.log /var/log/*/*.log"]
    for host in hosts.hosts:
        printed.append(hosts.at(host).run(logs, check=False).stdout)
        assert len(printed[-1]) > 100
    secret = re.compile("|".join([*map(re.escape, secrets), r"SCRAM-SHA-256\$\d"]))
    for text in printed:
        assert not secret.search(text), text[:500]
