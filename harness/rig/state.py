"""The state of a rig on the controller: the folder `.rigs/<name>/`, readable only by its owner, never in git.

rig.json          provider, network, hosts, hashes of the deployed code; `ready` once verify.yml has passed
inventory.yml     the effective Ansible inventory (generated, not edited)
secrets.yml       generated passwords, mode 0600, passed to Ansible as a file
id_ed25519        the SSH key accepted by every host of the rig
known_hosts       the hosts' SSH keys, generated here and thus known before the first connection
tls/              with `tls: true`: certificate authority and server certificates (harness/provision/certificates.py)
noise_floor.json  the noise that `bench --aa` measured, and the rig that it was measured on
hosts/<name>/     files for one host: its SSH host key, its authorized_keys
vm/<name>/        with provider vm: disk, console and identity of one machine

`.rigs/.<name>.lock` is held while the rig is changed or measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.errors import RigError, UsageError
from harness.model import Host

ROOT = Path(__file__).resolve().parents[2]
RIGS = ROOT / ".rigs"
CACHE = ROOT / ".cache"
PLAYBOOKS = ROOT / "playbooks"
ROLES_DIR = PLAYBOOKS / "roles"


SECRET_NAMES = ("app_password", "harness_password")
Variables = Mapping[str, Any]
"""Ansible's variables by name. A role's argument_specs.yml, not this program, gives the type of each."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RigState:
    """The content of rig.json."""

    name: str
    provider: str
    inventory: str
    """Path of the source inventory."""
    network: str
    """The rig's subnet; empty for hosts that already existed."""
    hosts: tuple[Host, ...]
    variables: Variables = field(default_factory=dict)
    cpus: Mapping[str, float] = field(default_factory=dict)
    """CPU limit in cores by host name, for hosts that have one."""
    image: str = ""
    runtime: str = ""
    acceleration: str = ""
    """`kvm` or `tcg` for hosts of provider vm."""
    code_hash: str = ""
    wheels_hash: str = ""
    ready: bool = False
    stages: Mapping[str, float] = field(default_factory=dict)


def is_name(name: str) -> bool:
    """Whether the name is a valid rig name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Returns `name` if it is a valid rig name. Raises UsageError."""
    if not is_name(name):
        raise UsageError(
            f"--rig {name!r} is not a valid name",
            hint="use 1 to 20 of a-z, 0-9 and '-', with no '-' at either end",
        )
    return name


def folder(name: str) -> Path:
    """Returns the path of the rig's state folder, which may not exist."""
    return RIGS / check_name(name)


def make_folder(name: str) -> Path:
    """Creates the rig's state folder (0700) if it is missing, and returns it."""
    RIGS.mkdir(mode=0o700, exist_ok=True)
    path = folder(name)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Holds the rig's lock, which the kernel releases if the process ends. Raises RigError at once if it is taken.

    A rig is locked while it is provisioned, measured or destroyed. The lock file is beside the state folder, because
    destroy removes the folder; it is deleted with the last state.
    """
    RIGS.mkdir(mode=0o700, exist_ok=True)
    path = RIGS / f".{check_name(name)}.lock"
    with contextlib.ExitStack() as stack:
        while True:
            handle = stack.enter_context(path.open("w"))
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RigError(
                    f"rig {name}: another process is changing or measuring it", hint="wait until that process ends"
                ) from None
            if path.exists() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                break  # otherwise its last holder removed the file between our open and our lock
        try:
            yield
        finally:
            if not folder(name).exists():
                path.unlink()


def write_private(path: Path, text: str) -> None:
    """Writes a file atomically, readable only by its owner."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    partial.replace(path)


def save(state: RigState) -> None:
    """Writes rig.json."""
    write_private(folder(state.name) / "rig.json", json.dumps(asdict(state), indent=2) + "\n")


def load(name: str) -> RigState | None:
    """Returns the stored state, or None if there is no such rig. Raises RigError if rig.json is damaged."""
    path = folder(name) / "rig.json"
    try:
        raw = json.loads(path.read_text())
        return RigState(**raw | {"hosts": tuple(Host(**host) for host in raw["hosts"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise RigError(f"{path}: damaged: {error}", hint=f"./run destroy --rig {name}") from None


def names() -> list[str]:
    """Returns the names of all rigs that have a state folder."""
    return sorted(p.name for p in RIGS.iterdir() if p.is_dir()) if RIGS.is_dir() else []


def read_secrets(name: str) -> dict[str, str]:
    """Returns the rig's passwords; generates missing ones and adds them to the file."""
    path = make_folder(name) / "secrets.yml"
    passwords: dict[str, str] = yaml.safe_load(path.read_text()) if path.exists() else {}
    missing = [key for key in SECRET_NAMES if key not in passwords]
    if missing:
        passwords |= {key: secrets.token_urlsafe(24) for key in missing}
        write_private(path, yaml.safe_dump(passwords))
    return passwords


def authority_file(rig: str) -> Path:
    """Returns the path of the certificate authority that clients on the controller verify servers against."""
    return folder(rig) / "tls/ca.pem"
