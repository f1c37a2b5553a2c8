"""Virtual machines that boot: a pair takes the roles and goes, and a failed or killed provision leaves nothing."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.model import Host
from harness.provision import bundle, provisioner, qemu
from harness.provision.inventory import read_inventory
from harness.provision.providers import vm
from harness.provision.status import status
from harness.rig import machine_lock, state
from harness.rig.state import ROLES_DIR, ROOT

INVENTORY = ROOT / "inventory/vm.yml"


def quiet(line: str) -> None:
    """Ignores progress lines."""


@pytest.fixture
def name() -> Iterator[str]:
    """A rig name that no other test uses; the rig is removed afterwards."""
    chosen = f"test-{os.getpid()}-{secrets.token_hex(2)}"
    yield chosen
    provisioner.destroy(chosen, echo=quiet)


def limit_hosts(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Limits rigs to these hosts: two machines show as much as five, in less than half the time."""

    place_hosts = vm.place_hosts

    def chosen(*arguments: Any) -> tuple[Host, ...]:
        return tuple(host for host in place_hosts(*arguments) if host.name in names)

    monkeypatch.setattr(vm, "place_hosts", chosen)


def leftovers(name: str) -> list[str]:
    """Every process whose command line has the rig's name, and its folder."""
    own_pid = os.getpid()
    lines = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if name in line and int(entry.parent.name) != own_pid:
            lines.append(line[:200])
    return lines + ([str(state.folder(name))] if state.folder(name).exists() else [])


def ssh(name: str, host: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command on a host, whose key must be the one generated before the machine."""
    base = state.folder(name)
    port = next(str(h.ssh_port) for h in state.load(name).hosts if h.name == host)  # type: ignore[union-attr]
    options = ["StrictHostKeyChecking=yes", f"UserKnownHostsFile={base}/known_hosts", "BatchMode=yes"]
    line = ["ssh", "-i", f"{base}/id_ed25519", "-p", port, *(f"-o{option}" for option in options), "root@127.0.0.1"]
    return subprocess.run([*line, *command], capture_output=True, text=True, check=False, timeout=120)


def test_two_machines_boot_get_their_roles_and_are_destroyed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_hosts(monkeypatch, "db-1", "app-1")
    deployed = bundle.build_bundle()
    monkeypatch.setattr(
        provisioner, "build_bundle", lambda **platform: deployed
    )  # even if the code is edited meanwhile
    report = provisioner.provision(name, echo=quiet, provider="vm", hosts=1)  # site.yml and verify.yml passed
    assert report.rig.ready
    assert report.rig.acceleration in ("kvm", "tcg")
    has_warning = any("CPUs are emulated" in warning for warning in report.warnings)
    assert has_warning == (report.rig.acceleration == "tcg")
    assert status(name).hosts == {"db-1": "up", "app-1": "up"}

    app = ssh(name, "app-1", "hostname; systemd-detect-virt; ip -4 -o addr show eth1; getent hosts db-1")
    assert app.returncode == 0, app.stderr
    hostname, kind, address, database = app.stdout.splitlines()
    assert hostname == "app-1"
    assert kind in ("qemu", "kvm")
    assert f"{report.rig.hosts[1].address}/24" in address
    assert database.startswith(report.rig.hosts[0].address)

    machines = qemu.processes(vm.folder(name))
    os.kill(machines["app-1"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while status(name).hosts["app-1"] != "missing":
        assert time.monotonic() < deadline

    # The machine starts again with its disk and keys, and reconnects to the same LAN.
    vm.create(report.rig, read_inventory(INVENTORY, ROLES_DIR), quiet)
    vm.wait_for_hosts(report.rig)
    assert qemu.processes(vm.folder(name))["db-1"] == machines["db-1"]
    reach = f"import socket; socket.create_connection(('{report.rig.hosts[0].address}', 5432), 30); print('reached')"
    again = ssh(name, "app-1", f'test -d /opt/pgcrucible/code && python3 -c "{reach}"')
    assert again.stdout == "reached\n", again.stderr
    destroyed = provisioner.destroy(name, echo=quiet)
    assert destroyed.removed == ("machine app-1", "machine db-1", "machine lan", "state")
    assert leftovers(name) == []


def test_a_machine_that_does_not_boot_shows_its_console(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_hosts(monkeypatch, "db-1")
    words = qemu._kernel
    monkeypatch.setattr(qemu, "_kernel", lambda machine: [*words(machine), "rdinit=/none", "noinitrd"])
    with pytest.raises(RigError, match=r"db-1 .*stopped while it booted") as failure:
        provisioner.provision(name, echo=quiet, provider="vm")
    assert "Kernel panic" in failure.value.output
    half = status(name)
    assert "NOT READY" in half.lines()[0]
    assert half.hosts == {"db-1": "missing"}
    assert provisioner.destroy(name, echo=quiet).removed == ("machine db-1", "machine lan", "state")
    assert leftovers(name) == []


def test_destroy_removes_everything_of_a_killed_provision(name: str) -> None:
    script = (
        f"from harness.provision.provisioner import provision; provision({name!r}, echo=print, provider='vm', hosts=1)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.DEVNULL) as controller:
        deadline = time.monotonic() + 400  # the base may have to be built
        while not qemu.processes(vm.folder(name)).keys() - {qemu.LAN}:
            assert controller.poll() is None, "provision ended before a machine ran"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        controller.kill()
    with machine_lock.held(f"rig {name}", timeout_s=60):  # the watcher of the play holds it until Ansible has ended
        pass
    removed = provisioner.destroy(name, echo=quiet).removed
    assert {"machine lan", "state"} < set(removed)
    assert not state.folder(name).exists()
    deadline = time.monotonic() + 60
    while remaining := leftovers(name):  # Ansible of the killed controller ends by itself
        assert time.monotonic() < deadline, remaining
        assert not qemu.processes(vm.folder(name))
        time.sleep(0.2)
