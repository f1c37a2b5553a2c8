"""An inventory as data: what the user asks for, role by role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.model import Role
from harness.rig.state import Variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The hosts of one role: `hosts` by name where they exist already, else `count` hosts to create."""

    role: Role
    count: int
    variables: Variables
    hosts: Mapping[str, Variables]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A valid inventory file."""

    path: Path
    provider: str
    variables: Variables
    groups: tuple[Group, ...]

    def group(self, role: Role) -> Group:
        """Returns the group of a role; every role has one."""
        return next(group for group in self.groups if group.role == role)

    def host_count(self, app_hosts: int | None) -> int:
        """Returns the number of hosts of the rig; `app_hosts` overrides the number of app hosts."""
        return sum(app_hosts if group.role == "app" and app_hosts is not None else group.count for group in self.groups)
