"""The files of an inventory: which there are, and where in them a variable is written.

Ansible says what the inventory is (ansible_reader.py); this module finds the line of what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from harness.errors import UsageError
from harness.model import ROLES
from harness.provision.ansible_reader import Listing
from harness.provision.yaml_file import line_of, mapping_at, read_yaml
from harness.rig.state import Variables
from harness.text import nearest, printable

SUFFIXES = (".yml", ".yaml", ".json")
"""The endings with which Ansible reads a file as YAML; in group_vars and host_vars a name without ending too."""
MAX_FILES = 100
ONE_ROLE = "assign one role per machine: roles on one machine compete for CPU and disk; see app_workers"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One mapping of variables: at `keys` of a file."""

    path: Path
    keys: tuple[str, ...]
    variables: Variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The variables of `all`, of a role or of a host, as Ansible reads them, and the places where they are written."""

    variables: Variables
    places: tuple[Place, ...]
    """The place that overrides the others is last."""

    def where(self, name: str) -> str:
        """Returns `file:line` of a variable, or of the part where it does not set it."""
        place = next((place for place in reversed(self.places) if name in place.variables), self.places[0])
        return f"{place.path}:{line_of(place.path, (*place.keys, name))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryFiles:
    """An inventory and the files beside it: the places of `all` and the roles, and of the hosts of each role."""

    path: Path
    groups: Mapping[str, tuple[Place, ...]]
    hosts: Mapping[str, Mapping[str, tuple[Place, ...]]]


def read_files(path: Path) -> InventoryFiles:
    """Returns the places of an inventory. Raises UsageError with file and line for what is not supported."""
    content = read_yaml(path)
    if path.suffix not in ("", *SUFFIXES):
        raise UsageError(f"{path}: Ansible does not read '{path.suffix}' as YAML", hint=f"name it *{SUFFIXES[0]}")
    top = mapping_at(path, (), content, ("all",))
    body = mapping_at(path, ("all",), top.get("all"), ("vars", "children"))
    children = mapping_at(path, ("all", "children"), body.get("children"), ROLES)
    groups = {"all": [_place(path, ("all", "vars"), body.get("vars"))]}
    hosts: dict[str, dict[str, list[Place]]] = {}
    for role in ROLES:
        keys = ("all", "children", role)
        group = mapping_at(path, keys, children.get(role), ("vars", "hosts"))
        groups[role] = [_place(path, (*keys, "vars"), group.get("vars"))]
        listed = mapping_at(path, (*keys, "hosts"), group.get("hosts"))
        for name in listed:
            if not _HOST.fullmatch(name):
                raise UsageError(
                    f"{path}:{line_of(path, (*keys, 'hosts', name))}: '{printable(name, 80)}' is not a host name",
                    hint="list each host by name, without ranges and patterns; its port is ansible_port",
                )
            other = next((role for role, names in hosts.items() if name in names), None)
            if other:
                where = f"{path}:{line_of(path, (*keys, 'hosts', name))}"
                raise UsageError(f"{where}: {name} ({other}) and {name} ({role}) are the same machine", hint=ONE_ROLE)
        hosts[role] = {name: [_place(path, (*keys, "hosts", name), host)] for name, host in listed.items()}
    for name, places in groups.items():
        places.extend(_vars_files(path.parent / "group_vars", name))
    for listed_hosts in hosts.values():
        for name, places in listed_hosts.items():
            places.extend(_vars_files(path.parent / "host_vars", name))
    _refuse_unknown_groups(path.parent / "group_vars", groups)
    return InventoryFiles(
        path=path,
        groups={name: tuple(places) for name, places in groups.items()},
        hosts={role: {name: tuple(places) for name, places in part.items()} for role, part in hosts.items()},
    )


def parts(files: InventoryFiles, listing: Listing) -> tuple[dict[str, Part], dict[str, dict[str, Part]]]:
    """Returns `all` and the roles, and the hosts of each role. Raises UsageError where Ansible reads something else."""
    groups = {name: _part(listing.groups[name], places) for name, places in files.groups.items()}
    hosts: dict[str, dict[str, Part]] = {}
    for role, listed in files.hosts.items():
        if tuple(listed) != listing.members[role]:
            line = line_of(files.path, ("all", "children", role, "hosts"))
            names = printable(", ".join(listing.members[role]) or "none", 200)
            raise UsageError(f"{files.path}:{line}: Ansible reads other hosts in {role}: {names}")
        hosts[role] = {name: _part(listing.hosts[name], places) for name, places in listed.items()}
    return groups, hosts


def _part(variables: Variables, places: tuple[Place, ...]) -> Part:
    part = Part(variables=variables, places=places)
    written = {name for place in places for name in place.variables}
    for name in sorted(written ^ variables.keys()):
        change = "does not read" if name in written else "also reads"
        raise UsageError(
            f"{part.where(name)}: Ansible {change} '{printable(name, 80)}'",
            hint="compare: ansible-inventory --list",
        )
    return part


def _place(path: Path, keys: tuple[str, ...], value: object) -> Place:
    return Place(path=path, keys=keys, variables=mapping_at(path, keys, value))


def _vars_files(folder: Path, name: str) -> Iterator[Place]:
    """The variables of one group or host in group_vars or host_vars: a file, or all files of a folder."""
    existing = [path for suffix in ("", *SUFFIXES) if (path := folder / f"{name}{suffix}").exists()]
    if len(existing) > 1:
        raise UsageError(
            f"{existing[1]}: Ansible reads only {existing[0]}", hint=f"one file or folder for each name in {folder}"
        )
    for path in existing:
        read = list(islice(_files_below(path), MAX_FILES + 1)) if path.is_dir() else [path]
        if len(read) > MAX_FILES:
            raise UsageError(f"{path}: more than {MAX_FILES} files")
        for file in read:
            yield _place(file, (), read_yaml(file))


def _files_below(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The files that Ansible reads in a folder of variables, in its order."""
    if depth > 5:
        raise UsageError(f"{folder}: folders of variables are nested too deep")
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir() and not path.suffix:
            yield from _files_below(path, depth + 1)
        elif path.is_file() and path.suffix in ("", *SUFFIXES):
            yield path


def _refuse_unknown_groups(folder: Path, known: Iterable[str]) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: not a folder; Ansible does not read it")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        ignored = path.name.startswith(".") or path.name.endswith("~") or path.suffix not in ("", *SUFFIXES)
        name = path.stem if path.suffix in SUFFIXES else path.name
        if name not in known and not ignored:
            raise UsageError(f"{path}: there is no group '{printable(name, 80)}'", hint=nearest(name, known))
