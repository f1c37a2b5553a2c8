"""Generates a rig's SSH key, its hosts' keys, and known_hosts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.errors import RigError
from harness.model import Host
from harness.rig.state import make_folder, write_private


def make_keys(name: str, hosts: Iterable[Host]) -> None:
    """Generates the rig's SSH key, one host key per host, and known_hosts. Existing keys are kept."""
    base = make_folder(name)
    if not (base / "id_ed25519").exists():
        _generate(base / "id_ed25519", f"pgcrucible {name}")
    public = (base / "id_ed25519.pub").read_text()
    known_hosts = []
    names = {host.name for host in hosts}
    for stale in (base / "hosts").glob("*"):
        if stale.name not in names:
            shutil.rmtree(stale)
    for host in hosts:
        folder = base / "hosts" / host.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (folder / "host_key.pub").exists():
            _generate(folder / "host_key", host.name)
        if not (folder / "authorized_keys").exists():
            write_private(folder / "authorized_keys", public)
        kind, key, *_ = (folder / "host_key.pub").read_text().split()
        pattern = host.ssh_address if host.ssh_port == 22 else f"[{host.ssh_address}]:{host.ssh_port}"
        known_hosts.append(f"{pattern} {kind} {key}\n")
    write_private(base / "known_hosts", "".join(known_hosts))


def _generate(path: Path, comment: str) -> None:
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise RigError("ssh-keygen is not installed", hint="apt-get install openssh-client") from None
    except subprocess.CalledProcessError as error:
        raise RigError(f"{path}: ssh-keygen failed: {error.stderr.strip()}") from None
