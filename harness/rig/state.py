"""The state of a rig on the controller: the folder `.rigs/<name>/`, readable only by its owner, never in git.

rig.json          provider, network, hosts, hashes of the deployed code; `ready` once verify.yml has passed
inventory.yml     the effective Ansible inventory (generated, not edited)
secrets.yml       generated passwords, mode 0600, passed to Ansible as a file
id_ed25519        the SSH key accepted by every host of the rig
known_hosts       the hosts' SSH keys, generated here and thus known before the first connection
tls/              with `tls: true`: certificate authority and server certificates (harness/provision/certificates.py)
faults.json       faults that are injected and not healed yet (harness/faults/open_faults.py)
provision.log     what the plays did and printed (harness/provision/play_log.py)
noise_floor.json  the noise that `bench --aa` measured, and the rig that it was measured on
hosts/<name>/     files for one host: its SSH host key, its authorized_keys
vm/<name>/        with provider vm: disk, console and identity of one machine

The rig's lock (harness/rig/machine_lock.py) is held while it is changed or measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from harness.errors import RigError, UsageError
from harness.model import Host
from harness.rig import machine_lock

ROOT = Path(__file__).resolve().parents[2]
RIGS = ROOT / ".rigs"
OWNER = os.fsencode(ROOT).decode(errors="backslashreplace")
"""The folder of this checkout, the same text in every locale: it tells apart the rigs of several checkouts."""
CACHE = ROOT / ".cache"
PLAYBOOKS = ROOT / "playbooks"
ROLES_DIR = PLAYBOOKS / "roles"


SECRET_NAMES = ("app_password", "harness_password")
Variables = Mapping[str, Any]
"""Ansible's variables by name. A role's argument_specs.yml, not this program, gives the type of each."""
READ_HERE = (
    "app_port",
    "app_sqlite_directory",
    "app_workers",
    "common_directory",
    "common_settings_directory",
    "common_user",
    "haproxy_backlog",
    "haproxy_port",
    "load_processes",
    "postgres_app_timeouts",
    "postgres_app_user",
    "postgres_database",
    "postgres_harness_user",
    "postgres_port",
)
"""Variables of roles that this program reads too: they are the same on all hosts of a role, and have no Jinja."""
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
    faults_allowed: bool = False
    """Whether faults may be injected that need a right: network faults, and every fault on existing machines."""
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

    A rig is locked while it is provisioned, measured or destroyed. The lock is the machine's, because the names of
    containers and networks are: two checkouts never change rigs of one name at the same time.
    """
    with machine_lock.held(f"rig {check_name(name)}"):
        yield


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
    """Returns the stored state, or None if there is no such rig.

    Raises RigError if rig.json is damaged, or has keys that this version does not know.
    """
    path = folder(name) / "rig.json"
    try:
        return _parse(name, path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    except _OtherVersionError as error:
        reason = str(error)
    except (ValueError, RecursionError, OSError) as error:
        reason = f"damaged: {error}"
    raise RigError(f"{path}: {reason}", hint=f"./run destroy --rig {name} removes the rig without this file")


class _OtherVersionError(Exception):
    """rig.json has keys that this version does not know."""


def _parse(name: str, text: bytes) -> RigState:
    raw = json.loads(text)
    if isinstance(raw, dict) and (unknown := raw.keys() - {key.name for key in fields(RigState)}):
        raise _OtherVersionError(f"written by another version of pgcrucible: unknown key {', '.join(sorted(unknown))}")
    stored = TypeAdapter(RigState).validate_python(raw)
    if stored.name != name:
        raise ValueError(f"it describes the rig {stored.name!r}")
    return stored


def readable(*, without: str = "") -> list[RigState]:
    """Returns the stored states of all rigs but one; a rig without a readable state is left out."""
    states = []
    for name in names():
        with contextlib.suppress(RigError):
            if name != without and (stored := load(name)):
                states.append(stored)
    return states


def names() -> list[str]:
    """Returns the names of all rigs that have a state folder."""
    return sorted(p.name for p in RIGS.iterdir() if p.is_dir() and is_name(p.name)) if RIGS.is_dir() else []


def read_secrets(name: str) -> dict[str, str]:
    """Returns the rig's passwords; adds missing ones to the file. Raises RigError if the file is damaged."""
    path = make_folder(name) / "secrets.yml"
    try:
        passwords = TypeAdapter(dict[str, str]).validate_python(
            yaml.safe_load(path.read_bytes()) if path.exists() else {}
        )
    except (ValueError, OSError, yaml.YAMLError):  # the error's text could hold a password
        raise RigError(
            f"{path}: damaged", hint="remove it; ./run provision then generates passwords and sets them"
        ) from None
    missing = [key for key in SECRET_NAMES if key not in passwords]
    if missing:
        passwords |= {key: secrets.token_urlsafe(24) for key in missing}
        write_private(path, yaml.safe_dump(passwords))
    return passwords


def authority_file(rig: str) -> Path:
    """Returns the path of the certificate authority that clients on the controller verify servers against."""
    return folder(rig) / "tls/ca.pem"
