"""Attacks on the SSH of the shared rig: other keys, a forwarded agent, a changed host key."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import podman_cli
from harness.rig import state
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection
from tests.conftest import Tool

# -- SSH ---------------------------------------------------------------------------------------------------------


def ssh(shared_rig: str, hosts: Rig, *options: str, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `env` on app-1 with OpenSSH, with the rig's key unless another is given."""
    base = state.folder(shared_rig)
    command = ["ssh", "-F", "none", "-i", str(key or base / "id_ed25519"), "-o", "BatchMode=yes", *options]
    command += ["-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={base}/known_hosts"]
    command += ["-o", "IdentitiesOnly=yes", f"root@{hosts.role('app')[0].address}", "env"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)


def new_key(folder: Path) -> Path:
    path = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def test_only_the_rigs_own_key_opens_its_hosts(shared_rig: str, hosts: Rig, tmp_path: Path) -> None:
    other = next((state.folder(name) / "id_ed25519" for name in state.names() if name != shared_rig), None)
    for key in [new_key(tmp_path), *([other] if other and other.exists() else [])]:
        refused = ssh(shared_rig, hosts, key=key)
        assert (refused.returncode, refused.stdout) == (255, "")
        assert "Permission denied (publickey)" in refused.stderr
    assert ssh(shared_rig, hosts).returncode == 0


def test_no_agent_is_forwarded_even_on_request(
    shared_rig: str, hosts: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ansible = [sys.executable, "-m", "ansible", "adhoc", "-i", str(state.folder(shared_rig) / "inventory.yml")]
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        for _ in range(100):
            key = str(state.folder(shared_rig) / "id_ed25519")
            added = subprocess.run(["ssh-add", key], capture_output=True, check=False)
            if added.returncode == 0:
                break
        assert added.returncode == 0, added.stderr
        by_openssh = ssh(shared_rig, hosts, "-A")
        by_ansible = subprocess.run(
            [*ansible, "-m", "raw", "-a", "env", "app-1"],
            env={**os.environ, "ANSIBLE_CONFIG": str(state.PLAYBOOKS / "ansible.cfg")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        with contextlib.closing(SshConnection(hosts.role("app")[0], hosts.key, hosts.known_hosts)) as harness:
            environments = [by_openssh.stdout, by_ansible.stdout, harness.run(["env"]).stdout]
    finally:
        agent.terminate()
        agent.wait()
    for environment in environments:
        assert "SSH_CONNECTION" in environment
        assert "SSH_AUTH_SOCK" not in environment


def test_a_host_with_an_unknown_key_is_refused(hosts: Rig, tmp_path: Path) -> None:
    (tmp_path / "known_hosts").touch()
    with (
        contextlib.closing(SshConnection(hosts.role("app")[0], hosts.key, tmp_path / "known_hosts")) as connection,
        pytest.raises(RigError, match="not found in known_hosts"),
    ):
        connection.run(["true"])


SSHD = "/etc/ssh/sshd_config.d/pgcrucible.conf"


@pytest.fixture
def changed_host_key(shared_rig: str) -> Iterator[None]:
    """app-2 has another host key, as if another machine had taken its address."""

    def inside(script: str) -> None:
        podman_cli.run("exec", f"pgcrucible-{shared_rig}-app-2", "sh", "-ec", script)

    restart = (
        "systemctl restart ssh; until ssh-keyscan -t ed25519 localhost 2>/dev/null | grep -q ssh; do sleep 0.1; done"
    )
    record = state.folder(shared_rig) / "rig.json"
    before = record.read_text()
    inside(
        f"ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/other; cp {SSHD} /run/sshd.conf; "
        f"sed -i 's,^HostKey .*,HostKey /etc/ssh/other,' {SSHD}; {restart}"
    )
    yield
    inside(f"mv /run/sshd.conf {SSHD}; rm /etc/ssh/other*; {restart}")
    record.write_text(before)  # the refused provision has marked the rig as not ready,
    podman_cli.set_cpus(shared_rig, json.loads(before)["cpus"])  # and lifted the limits of its hosts before that


@pytest.mark.usefixtures("changed_host_key")
def test_a_changed_host_key_stops_every_task(tool: Tool) -> None:
    for done in (
        tool.bench("--scenario", "concurrent-writes", "--backend", "postgres"),
        tool("provision", "--rig", tool.rig),
    ):
        output = done.stdout + done.stderr
        assert done.returncode == 3, output
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, output
        assert re.search(r"app-2\b.*host key is not the one recorded", errors[0]), output
        assert "Traceback" not in output
        assert "@@@" not in output
