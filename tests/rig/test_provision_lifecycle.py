"""A rig of containers is created, left unchanged, protected by its host keys, and removed completely."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import bundle, podman_cli, provisioner
from harness.provision.providers import podman
from harness.provision.provisioner import ProvisionReport
from harness.provision.status import status
from harness.rig import state

INVENTORY = """\
all:
  vars:
    provider: podman
    app_sqlite_directory: /srv/pgcrucible/shared
  children:
    app:
      vars: {host_count: 1, host_cpus: 0.5, host_memory: 256m}
"""


def quiet(line: str) -> None:
    """Ignores progress lines."""


def owner_lives(name: str) -> bool:
    """Whether the process that created a test's rig (test-<process>-<random>) still runs."""
    return Path(f"/proc/{name.split('-')[1]}").exists()


@pytest.fixture(scope="session", autouse=True)
def _leftovers() -> None:
    """Removes the rigs of test runs that crashed."""
    for name in state.names():
        if name.startswith("test-") and not owner_lives(name):
            provisioner.destroy(name, echo=quiet)


@pytest.fixture
def name() -> Iterator[str]:
    """A rig name that no other test uses; the rig is removed afterwards."""
    chosen = f"test-{os.getpid()}-{secrets.token_hex(2)}"
    yield chosen
    provisioner.destroy(chosen, echo=quiet)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    path = tmp_path / "small.yml"
    path.write_text(INVENTORY)
    return path


def leftovers(name: str) -> list[str]:
    """Everything in podman whose name or label is the rig's."""
    output = podman_cli.run("ps", "--all", "--format", "{{.Names}}") + podman_cli.run(
        "network", "ls", "--format", "{{.Name}}"
    )
    output += podman_cli.run("volume", "ls", "--format", "{{.Name}}")
    named = [line for line in output.splitlines() if name in line]
    return named + [rig for rig in podman_cli.labelled_rigs() if rig == name]


def test_a_rig_is_created_kept_repaired_and_destroyed(
    name: str, inventory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = bundle.build_bundle()
    monkeypatch.setattr(
        provisioner, "build_bundle", lambda **platform: deployed
    )  # even if the code is edited meanwhile
    first = provisioner.provision(name, echo=quiet, inventory=inventory)
    assert first.changed > 0
    check_created_rig(name, first)
    (tmp_path / "other").mkdir()
    refuses_another_checkout(name, monkeypatch, tmp_path / "other")
    again = provisioner.provision(name, echo=quiet)
    assert again.changed == 0
    assert again.rig.hosts == first.rig.hosts
    assert {"doctor", "image", "hosts", "ssh", "bundle", "site", "verify"} <= set(again.stages)

    podman_cli.run("stop", "--time", "0", f"pgcrucible-{name}-app-1")
    assert status(name).hosts["app-1"] == "exited"
    with pytest.raises(RigError, match="another process"), state.locked(name):
        provisioner.provision(name, echo=quiet)

    known_hosts = state.folder(name) / "known_hosts"
    recorded = known_hosts.read_text()
    host_key = (state.folder(name) / "hosts/app-1/host_key.pub").read_text().split()[1]
    other_key = (state.folder(name) / "hosts/db-1/host_key.pub").read_text().split()[1]
    assert provisioner.provision(name, echo=quiet).changed > 0  # started again
    known_hosts.write_text(recorded.replace(host_key, other_key))
    refused = subprocess.run(ssh(name, "app-1"), capture_output=True, text=True, check=False)
    assert refused.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in refused.stderr

    bystander = f"bystander-{name}"
    podman_cli.run("volume", "create", bystander)
    try:
        destroyed = provisioner.destroy(name, echo=quiet)
        assert len([line for line in destroyed.removed if line.startswith("container ")]) == 4
        assert leftovers(name) == [bystander]
    finally:
        podman_cli.run("volume", "rm", bystander)
    assert not state.folder(name).exists()
    assert first.rig.image in podman_cli.images(), "cached for the next provision"
    with pytest.raises(RigError, match="there is no rig"):
        status(name)


def refuses_another_checkout(name: str, monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    """Another checkout on this machine neither changes nor removes the rig, and names its owner."""
    with monkeypatch.context() as patch:
        patch.setattr(state, "OWNER", str(other))
        patch.setattr(state, "RIGS", other / ".rigs")
        for task in (provisioner.provision, provisioner.destroy):
            with pytest.raises(RigError, match=f"rig '{name}' belongs to the checkout in {state.ROOT}$") as caught:
                task(name, echo=quiet)
            assert "--take-over" in caught.value.hint
        with pytest.raises(RigError, match=f"there is no rig '{name}' in this checkout; .* {state.ROOT}$"):
            status(name)
    assert set(status(name).hosts.values()) == {"up"}


def ssh(name: str, host: str) -> list[str]:
    """The command that connects to a host with the same options as Ansible and the harness."""
    base = state.folder(name)
    address = next(h.address for h in state.load(name).hosts if h.name == host)  # type: ignore[union-attr]
    options = ["StrictHostKeyChecking=yes", f"UserKnownHostsFile={base}/known_hosts", "BatchMode=yes"]
    return ["ssh", "-i", f"{base}/id_ed25519", *(f"-o{option}" for option in options), f"root@{address}", "true"]


def check_created_rig(name: str, report: ProvisionReport) -> None:
    """Checks labels, rights and CPU limits of a rig that was just created."""
    assert set(status(name).hosts.values()) == {"up"}
    records = podman_cli.containers(name)
    assert len(records) == len(report.rig.hosts) == 4
    for kind in ("network", "volume"):
        assert len(podman_cli.run(kind, "ls", "--quiet", "--filter", f"label={podman_cli.LABEL}={name}").split()) == 1
    app = f"pgcrucible-{name}-app-1"
    assert podman_cli.run("inspect", "--format", "{{.HostConfig.Privileged}}", app).strip() == "false"
    v1 = "/sys/fs/cgroup/cpu/cpu.cfs"
    script = f"cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat {v1}_quota_us {v1}_period_us"
    quota, period = podman_cli.run("exec", app, "sh", "-c", script).split()
    assert int(quota) / int(period) == pytest.approx(0.5)
    podman.limit_cpus(name, dict.fromkeys(report.rig.cpus, float(os.cpu_count() or 1)))
    quota, period = podman_cli.run("exec", app, "sh", "-c", script).split()
    assert int(quota) / int(period) == pytest.approx(os.cpu_count())
    podman.limit_cpus(name, report.rig.cpus)
    assert subprocess.run(ssh(name, "app-1"), capture_output=True, check=False).returncode == 0
    for path in (state.folder(name) / "secrets.yml", state.folder(name) / "rig.json"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("lose_state", [False, True])
def test_a_half_made_rig_can_be_destroyed(
    name: str, inventory: Path, monkeypatch: pytest.MonkeyPatch, *, lose_state: bool
) -> None:
    def interrupt(rig: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(podman, "wait_for_hosts", interrupt)
    with pytest.raises(KeyboardInterrupt):
        provisioner.provision(name, echo=quiet, inventory=inventory)
    half = state.load(name)
    assert half is not None
    assert not half.ready
    assert len(podman_cli.containers(name)) == 4
    if lose_state:
        shutil.rmtree(state.folder(name))
    else:
        (state.folder(name) / "rig.json").write_text("{")  # damaged, which is no obstacle either
    assert provisioner.destroy(name, echo=quiet).removed
    assert leftovers(name) == []
    assert not state.folder(name).exists()


def test_a_container_that_cannot_start_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / "tight.yml"
    path.write_text(INVENTORY.replace("256m", "1k"))
    with pytest.raises(RigError, match=f"pgcrucible-{name}-app-1"):
        provisioner.provision(name, echo=quiet, inventory=path)
