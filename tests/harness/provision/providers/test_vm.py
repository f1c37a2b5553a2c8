"""Virtual machines as hosts: their specification, and what is removed or kept."""

from __future__ import annotations

import os
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from harness.errors import RigError, UsageError
from harness.provision import machine_command, provisioner, qemu, ssh_keys
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.provision.providers import vm, vm_base
from harness.rig import state
from harness.rig.state import ROLES_DIR, ROOT, RigState

INVENTORY = ROOT / "inventory/vm.yml"


def quiet(line: str) -> None:
    """Ignores progress lines."""


@pytest.fixture(scope="module")
def source() -> Inventory:
    return read_inventory(INVENTORY, ROLES_DIR)


@pytest.fixture
def name() -> Iterator[str]:
    """A rig name that no other test uses; the rig is removed afterwards."""
    chosen = f"test-{os.getpid()}-{secrets.token_hex(2)}"
    yield chosen
    provisioner.destroy(chosen, echo=quiet)


def rig_of(source: Inventory, name: str = "try", **changes: object) -> RigState:
    """A rig as provision would place it, of which nothing exists."""
    placed = vm.place_hosts(source, "198.18.7.0/24", 2, None, [])
    rig = RigState(
        name=name, provider="vm", inventory=str(source.path), network="198.18.7.0/24", hosts=placed, acceleration="tcg"
    )
    return replace(rig, **changes)  # type: ignore[arg-type]


def qcow2(path: Path, size: int) -> Path:
    """Writes the header of a qcow2 file with a virtual size of `size` bytes."""
    path.write_bytes(b"QFI\xfb" + struct.pack(">IQIIQ", 3, 0, 0, 16, size))
    return path


# -- specification -------------------------------------------------------------------------------------


def test_the_inventory_has_whole_cpus_and_no_shared_sqlite_file(source: Inventory) -> None:
    found = vm.machines(rig_of(source), source, Path("/cache/vm-1"))
    assert [machine.host.name for machine in found] == ["db-1", "app-1", "app-2", "lb-1", "load-1"]
    assert {machine.cpus for machine in found} == {1}
    assert {machine.memory for machine in found} == {"512m", "1g"}
    assert not source.variables.get("app_sqlite_directory")
    part = replace(source, groups=tuple(replace(group, variables={"host_cpus": 0.5}) for group in source.groups))
    with pytest.raises(UsageError, match=r"host_cpus 0\.5 in db"):
        vm.machines(rig_of(source), part, Path("/cache/vm-1"))


def test_every_host_has_a_unique_port_and_keeps_it(source: Inventory) -> None:
    first = rig_of(source)
    ports = {host.name: host.ssh_port for host in first.hosts}
    assert len(set(ports.values())) == len(ports)
    assert all(20022 <= port < 32000 for port in ports.values())
    assert {host.ssh_address for host in first.hosts} == {"127.0.0.1"}
    assert {host.address.rpartition(".")[0] for host in first.hosts} == {"198.18.7"}

    more = vm.place_hosts(source, "198.18.7.0/24", 3, first, [])
    assert {host.name: host.ssh_port for host in more if host.name in ports} == ports
    other = vm.place_hosts(source, "198.18.8.0/24", 3, None, [first])
    assert not {host.ssh_port for host in other} & set(ports.values())
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", other[0].ssh_port))
        again = vm.place_hosts(source, "198.18.8.0/24", 3, None, [first])
    assert other[0].ssh_port not in {host.ssh_port for host in again}


def test_a_cloud_image_must_be_a_qcow2_file(source: Inventory, tmp_path: Path) -> None:
    def base_of(path: str) -> tuple[Path, object]:
        return vm_base.base_of(replace(source, path=tmp_path / "vm.yml", variables={"vm_image": path}))

    image = qcow2(tmp_path / "debian.qcow2", 3 << 30)
    assert base_of("debian.qcow2") == (image, None)  # beside the inventory
    assert base_of(str(image)) == (image, None)
    assert vm_base.disk_size(image) == 3 << 30
    (tmp_path / "text.qcow2").write_text("a text, long enough for a header")
    (tmp_path / "debian.raw").touch()
    for wrong in ("text.qcow2", "debian.raw", "none.qcow2"):
        with pytest.raises(UsageError, match=r"qcow2"):
            base_of(wrong)


def test_a_cloud_image_gets_the_same_identity_from_a_seed(source: Inventory) -> None:
    host = rig_of(source).hosts[0]
    files = qemu.seed(host, "198.18.7.0/24", "PRIVATE\n", "ssh-ed25519 AAAA db-1\n", "ssh-ed25519 BBBB us\n")
    assert files["user-data"].startswith("#cloud-config\n")
    user = yaml.safe_load(files["user-data"])
    assert user["ssh_keys"] == {"ed25519_private": "PRIVATE\n", "ed25519_public": "ssh-ed25519 AAAA db-1"}
    assert user["users"] == [{"name": "root", "lock_passwd": True, "ssh_authorized_keys": ["ssh-ed25519 BBBB us"]}]
    assert yaml.safe_load(files["meta-data"])["local-hostname"] == "db-1"
    nics = yaml.safe_load(files["network-config"])["ethernets"]
    assert nics["lan"] == {"match": {"macaddress": qemu.mac(host, 1)}, "addresses": ["198.18.7.20/24"]}
    assert nics["wan"] == {"match": {"macaddress": qemu.mac(host, 0)}, "dhcp4": True}


def test_the_base_has_the_roles_packages_a_kernel_and_a_separate_hash(source: Inventory) -> None:
    base, recipe = vm_base.base_of(source)
    assert recipe is not None
    assert {"postgresql", "haproxy", *vm_base.KERNEL} <= set(recipe.packages)
    containers = provisioner.image.prepare(ROLES_DIR)
    assert not set(vm_base.KERNEL) & set(containers.packages)
    assert recipe.folder != containers.folder
    assert base.parent == state.CACHE


# -- what is kept ----------------------------------------------------------------------------------------


def test_only_changed_machines_are_created_again(source: Inventory, name: str) -> None:
    rig = rig_of(source, name)
    state.make_folder(name)
    ssh_keys.make_keys(name, rig.hosts)
    place = vm.folder(name)

    def update(rig: RigState, source: Inventory = source) -> set[str]:
        """Returns the hosts whose disk is kept."""
        vm.remove_stale(rig, vm.machines(rig, source, Path("/cache/vm-1")))
        kept = {path.parent.name for path in place.glob("*/overlay.qcow2")}
        for path in place.iterdir():
            (path / "overlay.qcow2").touch()
        return kept

    everything = {host.name for host in rig.hosts} | {qemu.LAN}
    assert update(rig) == set()
    assert update(rig) == everything
    for path in place.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0 or path.name == "overlay.qcow2", path
    (state.folder(name) / "hosts/db-1/host_key.pub").unlink()
    ssh_keys.make_keys(name, rig.hosts)  # db-1 has a new host key
    assert update(rig) == everything - {"db-1"}
    smaller = replace(rig, hosts=tuple(host for host in rig.hosts if host.name != "app-2"))
    assert update(smaller) == everything - {"app-2", qemu.LAN}
    assert not (place / "app-2").exists()


def test_bases_of_other_rigs_are_kept(source: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    for entry in ("vm-used", "vm-old", "vm-new.partial", "image-1"):
        (tmp_path / "cache" / entry).mkdir(parents=True)
    (tmp_path / "cache/code-1.tar.gz").touch()
    state.make_folder("other")
    state.save(rig_of(source, "other", image=str(tmp_path / "cache/vm-used")))
    vm_base.remove_unused_bases()
    assert {path.name for path in state.CACHE.iterdir()} == {"vm-used", "vm-new.partial", "image-1", "code-1.tar.gz"}
    vm_base.purge_cache()
    assert {path.name for path in state.CACHE.iterdir()} == {"vm-used"}
    (state.folder("other") / "rig.json").unlink()
    vm_base.purge_cache()
    assert not state.CACHE.exists()


def test_waiting_ends_when_the_machine_stops_and_its_console_is_shown(source: Inventory, name: str) -> None:
    rig = rig_of(source, name)
    (vm.folder(name) / "db-1").mkdir(parents=True)
    (vm.folder(name) / "db-1/console.log").write_text("Kernel panic - not syncing: no root\n")
    with pytest.raises(RigError, match=r"db-1 .*stopped while it booted") as failure:
        vm.wait_for_hosts(replace(rig, hosts=rig.hosts[:1]))
    assert "Kernel panic" in failure.value.output


def test_a_machine_that_was_stopped_starts_with_its_stored_command(
    source: Inventory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = rig_of(source, name)
    host = rig.hosts[0]
    folder = vm.folder(name) / host.name
    folder.mkdir(parents=True)
    monkeypatch.setattr(vm, "_wait_for_ssh", lambda name, hosts: None)
    with pytest.raises(RigError, match="its command is not stored"):
        vm.start_host(name, host)
    monkeypatch.setenv("PGCRUCIBLE_PLAY", "1")
    command = ["sh", "-c", 'echo "${PGCRUCIBLE_PLAY-none}" > "$1"', "sh", str(folder / "started")]
    machine_command.store(folder, command)
    vm.start_host(name, host)
    assert (folder / "started").read_text() == "none\n"
    machine_command.store(folder, ["sh", "-c", "echo no disk >&2; exit 1"])
    with pytest.raises(RigError, match=f"{host.name}: the machine does not start: no disk"):
        vm.start_host(name, host)
