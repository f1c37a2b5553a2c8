"""A rig's SSH key, its hosts' keys, and known_hosts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from harness.errors import RigError
from harness.model import Host
from harness.rig.state import make_folder, write_private


def make_keys(name: str, hosts: Iterable[Host]) -> None:
    """The rig's SSH key, a host key a host, and known_hosts. What is there already stays."""
    base = make_folder(name)
    if not (base / "id_ed25519").exists():
        _generate(base / "id_ed25519", f"pgcrucible {name}")
    public = (base / "id_ed25519.pub").read_text()
    known = []
    wanted = {host.name for host in hosts}
    for stale in (base / "hosts").glob("*"):
        if stale.name not in wanted:
            shutil.rmtree(stale)
    for host in hosts:
        place = base / "hosts" / host.name
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (place / "host_key.pub").exists():
            _generate(place / "host_key", host.name)
        if not (place / "authorized_keys").exists():
            write_private(place / "authorized_keys", public)
        kind, key, *_ = (place / "host_key.pub").read_text().split()
        where = host.ssh_address if host.ssh_port == 22 else f"[{host.ssh_address}]:{host.ssh_port}"
        known.append(f"{where} {kind} {key}\n")
    write_private(base / "known_hosts", "".join(known))


def _generate(path: Path, comment: str) -> None:
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        raise RigError("ssh-keygen is missing", hint="apt-get install openssh-client") from None
    except subprocess.CalledProcessError as error:
        raise RigError(f"{path}: ssh-keygen failed: {error.stderr.strip()}") from None
