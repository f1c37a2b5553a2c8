"""From what an inventory asks for to hosts with names and addresses, and to what Ansible reads. Pure.

An address tells what a host is: on a rig's network N, N.10 is the load balancer, N.20 the database, N.31 the
first load host and N.101 the first app host.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.model import Host, Role
from harness.provision.inventory import Group, Inventory

FIRST_ADDRESS: Mapping[Role, int] = {"lb": 10, "db": 20, "load": 31, "app": 101}
"""Last octet of a role's first host."""

VM_SSH_TIMEOUT_S = 180
"""An emulated CPU takes seconds for a key exchange and for Python's start, and many share few cores."""

_OURS = ("provider", "host_count", "host_cpus", "host_memory", "vm_image", "tls")


def hosts_of(source: Inventory, network: str, app_hosts: int | None) -> tuple[Host, ...]:
    """The rig's hosts in the order of roles; `app_hosts` overrides how many serve. Raises UsageError."""
    hosts = tuple(host for group in source.groups for host in _group_hosts(source, group, network, app_hosts))
    seen: dict[object, Host] = {}
    for host in hosts:
        for mark in (host.name, (host.ssh_address, host.ssh_port, host.jump), ("reached at", host.address)):
            other = seen.setdefault(mark, host)
            if other is not host:
                raise UsageError(
                    f"{source.path}: {other.name} ({other.role}) and {host.name} ({host.role}) are the same machine",
                    hint="one role a machine, or they take from each other what is measured; see app_workers",
                )
    return hosts


def _group_hosts(source: Inventory, group: Group, network: str, app_hosts: int | None) -> list[Host]:
    count = app_hosts if group.role == "app" and app_hosts is not None else group.count
    if source.provider == "static":
        if count > group.count:
            raise UsageError(
                f"--hosts {count}: {source.path} lists {group.count} app hosts", hint="list more, or ask for fewer"
            )
        listed = list(group.hosts.items())[:count]
        return [_listed(group.role, name, {**source.variables, **group.variables, **own}) for name, own in listed]
    base = ipaddress.ip_network(network).network_address
    found = []
    for index in range(count):
        address = str(base + FIRST_ADDRESS[group.role] + index)
        name = f"{group.role}-{index + 1}"
        found.append(Host(name=name, role=group.role, address=address, ssh_address=address))
    return found


def _listed(role: Role, name: str, variables: Mapping[str, Any]) -> Host:
    reached_at = str(variables.get("ansible_host", name))
    options = ssh_options(str(variables.get("ansible_ssh_common_args", "")))
    return Host(
        name=name,
        role=role,
        address=str(variables.get("address", reached_at)),
        ssh_address=reached_at,
        ssh_port=int(variables.get("ansible_port", 22)),
        ssh_user=str(variables.get("ansible_user", "root")),
        jump=options.get("proxyjump", "") or options.get("proxycommand", ""),
        ssh_key=str(variables.get("ansible_ssh_private_key_file", "")),
        known_hosts=options.get("userknownhostsfile", ""),
    )


def ssh_options(arguments: str) -> dict[str, str]:
    """The options of `ansible_ssh_common_args` by their names in lower case; as in OpenSSH, the first one counts."""
    found: dict[str, str] = {}
    words = iter(shlex.split(arguments))
    for word in words:
        if word.startswith("-J"):
            found.setdefault("proxyjump", word[2:] or next(words, ""))
        elif word.startswith("-o"):
            # a name ends at the first `=` or space, and later ones are the value's
            name, value = (*re.split(r"\s*[=\s]\s*", (word[2:] or next(words, "")).strip(), maxsplit=1), "")[:2]
            found.setdefault(name.lower(), value)
    return found


def caps(source: Inventory, hosts: tuple[Host, ...]) -> dict[str, float]:
    """Cores by host name, for the hosts that have a cap."""
    return {
        host.name: float(cpus)
        for host in hosts
        if (cpus := source.group(host.role).variables.get("host_cpus")) is not None
    }


def ansible_inventory(
    source: Inventory, rig: str, hosts: tuple[Host, ...], state: Path, own: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The effective inventory: every host with its addresses, every variable the roles may want.

    `state` is the rig's folder: for hosts that we make, its key and its known_hosts are the only ones used.
    `own`: more variables by host.
    """
    common: dict[str, Any] = {"rig": rig, "rig_provider": source.provider, **_plain(source.variables)}
    options = ["StrictHostKeyChecking=yes", "ForwardAgent=no"]
    if source.provider != "static":
        common |= {"ansible_user": "root", "ansible_ssh_private_key_file": str(state / "id_ed25519")}
        options += [f"UserKnownHostsFile={state / 'known_hosts'}", "IdentitiesOnly=yes", "IdentityAgent=none"]
    if source.provider == "vm":
        common.setdefault("ansible_ssh_timeout", VM_SSH_TIMEOUT_S)
    ours = " ".join(f"-o {shlex.quote(option)}" for option in options)
    common["ansible_ssh_common_args"] = f"{ours} {common.get('ansible_ssh_common_args', '')}".strip()
    children: dict[str, Any] = {}
    for group in source.groups:
        children[group.role] = {
            "vars": _plain(group.variables),
            "hosts": {
                host.name: {
                    **group.hosts.get(host.name, {}),
                    "ansible_host": host.ssh_address,
                    "ansible_port": host.ssh_port,
                    "address": host.address,
                    **own.get(host.name, {}),
                }
                for host in hosts
                if host.role == group.role
            },
        }
    return {"all": {"vars": common, "children": children}}


def _plain(variables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variables.items() if name not in _OURS}
