"""What is kept about a rig on the controller: `.rigs/<name>/`, readable by its owner alone, never in git.

rig.json        provider, network, hosts, hashes of what is deployed; `ready` once verify.yml passed
inventory.yml   the effective Ansible inventory (made, not edited)
group_vars      link to the group_vars beside the source inventory
secrets.yml     generated passwords, mode 0600, handed to Ansible as a file
id_ed25519      the key that opens every host of the rig
known_hosts     the hosts' keys: made here, so they are known before the first contact
tls/            with `tls: true`: certificate authority and server certificates (harness/provision/certificates.py)
noise_floor.json  what `bench --aa` measured, and the rig as it was then
hosts/<name>/   what is mounted into a host: its SSH host key, its authorized_keys
lock            held while the rig is changed or measured
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
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RigState:
    """rig.json: what a rig is, as far as the controller knows."""

    name: str
    provider: str
    inventory: str
    """The source inventory's path."""
    network: str
    """The rig's own subnet, empty where the hosts exist already."""
    hosts: tuple[Host, ...]
    variables: Mapping[str, Any] = field(default_factory=dict)
    cpus: Mapping[str, float] = field(default_factory=dict)
    """Cores by host, for the hosts that are capped."""
    image: str = ""
    runtime: str = ""
    acceleration: str = ""
    """`kvm` or `tcg` where the hosts are virtual machines of ours."""
    code_hash: str = ""
    wheels_hash: str = ""
    ready: bool = False
    stages: Mapping[str, float] = field(default_factory=dict)


def is_name(name: str) -> bool:
    """Whether a rig may have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Returns `name` where a rig may have it. Raises UsageError."""
    if not is_name(name):
        raise UsageError(
            f"--rig {name!r} is no name for a rig",
            hint="1 to 20 of a-z, 0-9 and '-', with no '-' at either end",
        )
    return name


def folder(name: str) -> Path:
    """Where the rig's state is, existing or not."""
    return RIGS / check_name(name)


def make_folder(name: str) -> Path:
    """The rig's state folder, made where missing (0700)."""
    RIGS.mkdir(mode=0o700, exist_ok=True)
    path = folder(name)
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Held while a rig is made, changed, measured or destroyed; the kernel drops it with the process.

    The lock lies beside the folder, which destroy removes, and goes when the folder is gone. Raises RigError
    at once where another holds it.
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
                    f"rig {name}: another process is changing or measuring it just now", hint="wait until it has ended"
                ) from None
            if path.exists() and path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                break  # else its last holder removed the file between our open and our lock
        try:
            yield
        finally:
            if not folder(name).exists():
                path.unlink()


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(text)
    partial.replace(path)


def save(state: RigState) -> None:
    """Stores rig.json."""
    write_private(folder(state.name) / "rig.json", json.dumps(asdict(state), indent=2) + "\n")


def load(name: str) -> RigState | None:
    """The stored state, or None where there is no such rig. Raises RigError where it cannot be read."""
    path = folder(name) / "rig.json"
    try:
        raw = json.loads(path.read_text())
        return RigState(**raw | {"hosts": tuple(Host(**host) for host in raw["hosts"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise RigError(f"{path}: damaged: {error}", hint=f"./run destroy --rig {name}") from None


def names() -> list[str]:
    """All rigs that have a state folder."""
    return sorted(p.name for p in RIGS.iterdir() if p.is_dir()) if RIGS.is_dir() else []


def read_secrets(name: str) -> dict[str, str]:
    """The rig's passwords, generated on first use; a secret added later is added to the file."""
    path = make_folder(name) / "secrets.yml"
    have: dict[str, str] = yaml.safe_load(path.read_text()) if path.exists() else {}
    missing = [key for key in SECRET_NAMES if key not in have]
    if missing:
        have |= {key: secrets.token_urlsafe(24) for key in missing}
        write_private(path, yaml.safe_dump(have))
    return have


def authority_file(rig: str) -> Path:
    """The certificate that clients on the controller verify against."""
    return folder(rig) / "tls/ca.pem"
