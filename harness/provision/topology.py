"""Turns an inventory into hosts with names and addresses, and those into the inventory that Ansible reads. Pure.

An address shows the role of a host: on a rig's network N, N.10 is the load balancer, N.20 the database, N.31 the
first load host and N.101 the first app host.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.model import Host, Role
from harness.provision.inventory_files import ONE_ROLE
from harness.provision.inventory_model import Group, Inventory
from harness.provision.path_quoting import ssh_path
from harness.rig.state import RigState, Variables

FIRST_ADDRESS: Mapping[Role, int] = {"lb": 10, "db": 20, "load": 31, "app": 101}
"""Last octet of the first host of a role."""

_OURS = ("provider", "host_count", "host_cpus", "host_memory", "vm_image", "tls", "faults_allowed")
_ARGUMENTS = "ansible_ssh_common_args"


def numbered_hosts(source: Inventory, network: str, app_hosts: int | None) -> tuple[Host, ...]:
    """Returns the hosts to create, in the order of roles, at their addresses of the rig's network.

    `app_hosts` overrides the number of app hosts.
    """
    base = ipaddress.ip_network(network).network_address
    hosts = []
    for group in source.groups:
        for index in range(_count(group, app_hosts)):
            address = str(base + FIRST_ADDRESS[group.role] + index)
            name = f"{group.role}-{index + 1}"
            hosts.append(Host(name=name, role=group.role, address=address, ssh_address=address))
    return tuple(hosts)


def listed_hosts(source: Inventory, app_hosts: int | None) -> tuple[Host, ...]:
    """Returns the hosts that the inventory lists, the first `app_hosts` of its app hosts. Raises UsageError."""
    hosts = []
    for group in source.groups:
        count = _count(group, app_hosts)
        if count > group.count:
            raise UsageError(
                f"--hosts {count}: {source.path} lists {group.count} app hosts", hint="list more, or ask for fewer"
            )
        for name, variables in list(group.hosts.items())[:count]:
            hosts.append(listed_host(group.role, name, {**source.variables, **group.variables, **variables}))
    return tuple(hosts)


def _count(group: Group, app_hosts: int | None) -> int:
    return app_hosts if group.role == "app" and app_hosts is not None else group.count


def require_distinct(hosts: Sequence[Host], inventory: Path) -> None:
    """Raises UsageError if two hosts are the same machine by name or address."""
    owners: dict[object, Host] = {}
    for host in hosts:
        login, address = _same_text(host.ssh_address), _same_text(host.address)
        for key in (host.name.lower(), (login, host.ssh_port, host.jump), ("reached at", address)):
            other = owners.setdefault(key, host)
            if other is not host:
                raise UsageError(
                    f"{inventory}: {other.name} ({other.role}) and {host.name} ({host.role}) are the same machine",
                    hint=ONE_ROLE,
                )


def _same_text(address: str) -> str:
    """Returns one text for all ways to write an address, or a name, which has no case."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower().removesuffix(".")


def listed_host(role: Role, name: str, variables: Variables) -> Host:
    """Returns a host that an inventory lists, from all variables that apply to it."""
    ssh_address = str(variables.get("ansible_host", name))
    options = ssh_options(str(variables.get(_ARGUMENTS, "")))
    return Host(
        name=name,
        role=role,
        address=str(variables.get("address", ssh_address)),
        ssh_address=ssh_address,
        ssh_port=int(variables.get("ansible_port", 22)),
        ssh_user=str(variables.get("ansible_user", "root")),
        jump=options.get("proxyjump", "") or options.get("proxycommand", ""),
        ssh_key=str(variables.get("ansible_ssh_private_key_file", "")),
        known_hosts=ssh_path(options.get("userknownhostsfile", "")),
    )


def ssh_options(arguments: str) -> dict[str, str]:
    """Returns the options in `ansible_ssh_common_args` by lower-case name; as in OpenSSH, the first value counts."""
    options: dict[str, str] = {}
    words = iter(shlex.split(arguments))
    for word in words:
        if word.startswith("-J"):
            options.setdefault("proxyjump", word[2:] or next(words, ""))
        elif word.startswith("-o"):
            # the name ends at the first `=` or space; later ones belong to the value
            name, value = (*re.split(r"\s*[=\s]\s*", (word[2:] or next(words, "")).strip(), maxsplit=1), "")[:2]
            options.setdefault(name.lower(), value)
    return options


def cpu_limits(source: Inventory, hosts: Sequence[Host]) -> dict[str, float]:
    """Returns the limit in cores by host name, for the hosts that have one."""
    return {
        host.name: float(cpus)
        for host in hosts
        if (cpus := source.group(host.role).variables.get("host_cpus")) is not None
    }


def ansible_inventory(
    source: Inventory,
    rig: RigState,
    provider_variables: Variables,
    host_variables: Mapping[str, Variables],
) -> dict[str, object]:
    """Returns the effective inventory: every host with its addresses, and every variable that the roles may read.

    `provider_variables` override those of the source inventory, except that SSH options are added to each other.
    `host_variables` are additional variables by host name.
    """

    def arguments(variables: Variables) -> str:
        own = ("-o StrictHostKeyChecking=yes -o ForwardAgent=no", provider_variables.get(_ARGUMENTS, ""))
        return " ".join(str(text) for text in (*own, variables.get(_ARGUMENTS, "")) if text)

    def level(variables: Variables) -> dict[str, object]:
        """The variables of a group or a host. Its SSH options override those of `all`, so they are complete."""
        complete = {_ARGUMENTS: arguments(variables)} if _ARGUMENTS in variables else {}
        return {**_without_ours(variables), **complete}

    common = {
        "rig": rig.name,
        "rig_provider": source.provider,
        **_without_ours(source.variables),
        **provider_variables,
        _ARGUMENTS: arguments(source.variables),
    }
    children: dict[str, object] = {}
    for group in source.groups:
        children[group.role] = {
            "vars": level(group.variables),
            "hosts": {
                host.name: {
                    **level(group.hosts.get(host.name, {})),
                    "ansible_host": host.ssh_address,
                    "ansible_port": host.ssh_port,
                    "ansible_user": host.ssh_user,
                    "address": host.address,
                    **host_variables.get(host.name, {}),
                }
                for host in rig.hosts
                if host.role == group.role
            },
        }
    return {"all": {"vars": common, "children": children}}


def _without_ours(variables: Variables) -> dict[str, object]:
    return {name: value for name, value in variables.items() if name not in _OURS}
