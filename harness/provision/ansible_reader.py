"""Asks Ansible what an inventory is: `ansible-inventory --list --export`, within bounds of time and size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.model import ROLES
from harness.rig.state import PLAYBOOKS, Variables
from harness.text import printable

TIMEOUT_S = 60.0
MAX_BYTES = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """An inventory as Ansible reads it, variables as they are written: none is inherited and no template evaluated."""

    groups: Mapping[str, Variables]
    """`all` and each role -> its variables, with those of group_vars."""
    members: Mapping[str, tuple[str, ...]]
    """Role -> the names of its hosts, in the order of the file."""
    hosts: Mapping[str, Variables]
    """Host -> its variables, with those of host_vars."""


def ansible_listing(path: Path) -> Listing:
    """Returns the inventory at `path` with its group_vars and host_vars. Raises UsageError."""
    with tempfile.TemporaryDirectory(prefix="pgcrucible-") as temporary:
        roles = Path(temporary) / "roles.yml"  # so that group_vars of a role are read where the file does not list it
        roles.write_text(json.dumps({"all": {"children": {role: {} for role in ROLES}}}), encoding="utf-8")
        output = _run([str(roles), os.path.abspath(path)], Path(temporary))  # noqa: PTH100  # keeps symbolic links
    try:
        content = json.loads(output)
        hosts = content.get("_meta", {}).get("hostvars", {})
        return Listing(
            groups={name: content.get(name, {}).get("vars", {}) for name in ("all", *ROLES)},
            members={role: tuple(content.get(role, {}).get("hosts", ())) for role in ROLES},
            hosts={name: hosts.get(name, {}) for role in ROLES for name in content.get(role, {}).get("hosts", ())},
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{path}: Ansible's output is not a list of hosts: {printable(error, 200)}") from None


def own_environment() -> dict[str, str]:
    """Returns the environment without settings of the user's own Ansible, such as ANSIBLE_HOST_KEY_CHECKING=False."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}


def _run(sources: list[str], temporary: Path) -> bytes:
    command = [sys.executable, "-m", "ansible", "inventory", "--list", "--export"]
    command += [word for source in sources for word in ("--inventory", source)]
    environment = own_environment() | {
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_LOCAL_TEMP": str(temporary / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONWARNINGS": "ignore",
    }
    with (temporary / "output").open("w+b") as output:
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=temporary,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.PIPE,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"{sources[-1]}: Ansible did not read it within {TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            lines = [line for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
            reason = printable(" ".join(lines[-6:]) or f"exit code {done.returncode}", 600)
            raise UsageError(f"{sources[-1]}: Ansible cannot read it: {reason}")
        output.seek(0)
        text = output.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise UsageError(f"{sources[-1]}: its variables are larger than {MAX_BYTES:,} bytes")
    return text
