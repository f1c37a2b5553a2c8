"""What virtual machines start from: the bases of their disks, which of the cached ones are in use, their boot files."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.errors import RigError, UsageError
from harness.provision import image, qemu
from harness.provision.inventory_model import Inventory
from harness.provision.pgadmin import packages
from harness.provision.pgadmin import server as pgadmin
from harness.rig import state
from harness.rig.state import RigState

KERNEL = ("ifupdown", "linux-image-cloud-amd64", "tiny-initramfs")
"""Packages that a virtual machine needs and a container does not."""

RECIPE = state.PLAYBOOKS / "images/vm"


def base_of(source: Inventory) -> tuple[Path, image.Recipe | None]:
    """Returns the base of the machines' disks: the user's image, or our base and its recipe. Raises UsageError."""
    if "vm_image" in source.variables:
        path = Path(str(source.variables["vm_image"])).expanduser()
        path = path if path.is_absolute() else source.path.resolve().parent / path
        if path.suffix != ".qcow2" or not path.is_file():
            raise UsageError(f"{source.path}: vm_image: {path} is not a qcow2 file", hint="name a cloud image, *.qcow2")
        disk_size(path)
        return path.resolve(), None
    recipe = image.prepare(state.ROLES_DIR, packages=KERNEL, scripts=RECIPE)
    return state.CACHE / f"vm-{recipe.folder.name.rpartition('-')[2]}", recipe


def disk_size(path: Path) -> int:
    """Returns the virtual size in bytes of a qcow2 file (docs/interop/qcow2: big-endian, at 24). Raises UsageError."""
    with path.open("rb") as file:
        header = file.read(32)
    if header[:4] != b"QFI\xfb" or len(header) < 32:
        raise UsageError(f"{path} is not a qcow2 file", hint="convert it with: qemu-img convert -O qcow2")
    return int.from_bytes(header[24:32])


def bases_in_use(*, without: str = "") -> set[Path]:
    """Returns the disk bases of all rigs, or of all rigs but one; every base, while a rig's state cannot be read."""
    try:
        rigs = [rig for name in state.names() if name != without and (rig := state.load(name))]
    except RigError:
        return set(state.CACHE.glob("vm-*"))
    return {Path(rig.image) for rig in rigs if rig.provider == "vm"}


def remove_unused_bases() -> None:
    """Removes cached bases (0.6 GB each) that no rig uses."""
    used = bases_in_use()
    for path in state.CACHE.glob("vm-*"):
        if path not in used and path.suffix != ".partial":
            shutil.rmtree(path)


def purge_cache(*, without: str = "") -> None:
    """Empties the cache except for the bases and pgAdmin in use; the bases of the rig `without` do not count."""
    with packages.unfinished() as unfinished:
        used = bases_in_use(without=without) | pgadmin.packages_in_use() | unfinished
        for path in state.CACHE.glob("*"):
            if path.is_dir() and path not in used:
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        if state.CACHE.is_dir() and not used:
            state.CACHE.rmdir()


def boot_files(rig: RigState, machine: qemu.VirtualMachine) -> dict[str, str]:
    """Returns the files in the machine's folder that give it its identity at boot, by relative name."""
    keys = state.folder(rig.name) / "hosts" / machine.host.name
    private, public = (keys / "host_key").read_text(), (keys / "host_key.pub").read_text()
    authorized = (keys / "authorized_keys").read_text()
    if machine.own_base:
        return {"identity": qemu.identity(machine.host, rig.network, private, authorized)}
    return {
        f"seed/{name}": text for name, text in qemu.seed(machine.host, rig.network, private, public, authorized).items()
    }
