"""Names and addresses of hosts, and the inventory that Ansible reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import UsageError
from harness.model import Host
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.provision.providers import local_hosts, vm
from harness.provision.topology import (
    ansible_inventory,
    cpu_limits,
    listed_hosts,
    numbered_hosts,
    require_distinct,
    ssh_options,
)
from harness.rig.state import ROLES_DIR, ROOT
from tests.support.builders import rig_state

STATIC = """\
all:
  vars: {provider: static, ansible_user: admin}
  children:
    db: {hosts: {alpha: {ansible_host: 192.0.2.1, address: 10.0.0.1}}}
    app: {hosts: {beta: {ansible_host: 192.0.2.2, ansible_port: 2222}, gamma: }}
    lb: {hosts: {delta: {ansible_host: 192.0.2.4}}}
    load: {hosts: {epsilon: {ansible_host: 192.0.2.5}}}
"""


@pytest.fixture(scope="module")
def local() -> Inventory:
    """The inventory of a rig without any option, read once."""
    return read_inventory(ROOT / "inventory/local.yml", ROLES_DIR)


def test_an_address_shows_the_role_of_a_host(local: Inventory) -> None:
    addresses = {host.name: host.address for host in numbered_hosts(local, "198.18.7.0/24", 2)}
    assert addresses == {
        "db-1": "198.18.7.20",
        "app-1": "198.18.7.101",
        "app-2": "198.18.7.102",
        "lb-1": "198.18.7.10",
        "load-1": "198.18.7.31",
    }


def test_the_largest_rig_has_as_many_addresses_as_hosts(local: Inventory) -> None:
    hosts = numbered_hosts(local, "198.18.0.0/24", 64)
    assert len({host.address for host in hosts}) == len(hosts) == 67
    assert all(host.address.startswith("198.18.0.") for host in hosts)


def test_listed_hosts_keep_their_names_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "static.yml"
    path.write_text(STATIC)
    source = read_inventory(path, ROLES_DIR)
    hosts = {host.name: host for host in listed_hosts(source, None)}
    assert (hosts["alpha"].ssh_address, hosts["alpha"].address) == ("192.0.2.1", "10.0.0.1")
    assert (hosts["beta"].ssh_port, hosts["beta"].ssh_user) == (2222, "admin")
    assert hosts["gamma"].address == "gamma"
    assert [host.name for host in listed_hosts(source, 1) if host.role == "app"] == ["beta"]
    with pytest.raises(UsageError, match="lists 2 app hosts"):
        listed_hosts(source, 3)
    options = ansible_inventory(source, rig_state(listed_hosts(source, None)), {}, {})["all"]["vars"]
    assert options["ansible_ssh_common_args"] == "-o StrictHostKeyChecking=yes -o ForwardAgent=no"
    assert "ansible_ssh_private_key_file" not in options  # the user's own key
    assert options["ansible_user"] == "admin"


@pytest.mark.parametrize("one", ["10.0.0.1", "fd00::1", "db.example"])
@pytest.mark.parametrize("other", ["10.0.0.1", "fd00:0:0:0::1", "FD00::0001", "DB.example", "db.example."])
def test_one_machine_under_two_spellings_is_refused(one: str, other: str) -> None:
    first = Host(name="a", role="db", address=one, ssh_address="x")
    second = Host(name="b", role="app", address=other, ssh_address="y")
    if one[:2] != other[:2].lower():
        require_distinct((first, second), Path("i.yml"))
        return
    with pytest.raises(UsageError, match="are the same machine"):
        require_distinct((first, second), Path("i.yml"))


@pytest.mark.parametrize("same", [{"app": {"hosts": {"a": None}}}, {"app": {"hosts": {"b": {"ansible_host": "a"}}}}])
def test_one_machine_in_two_roles_is_refused(tmp_path: Path, same: dict[str, Any]) -> None:
    others = {role: {"hosts": {name: None}} for role, name in (("db", "a"), ("lb", "l"), ("load", "x"))}
    path = tmp_path / "i.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": {"provider": "static"}, "children": others | same}}))
    with pytest.raises(UsageError, match="are the same machine"):
        require_distinct(listed_hosts(read_inventory(path, ROLES_DIR), None), path)


def test_the_example_of_a_static_inventory_is_valid() -> None:
    source = read_inventory(ROOT / "inventory/static.example.yml", ROLES_DIR)
    hosts = {host.name: host for host in listed_hosts(source, None)}
    assert source.provider == "static"
    assert {host.role for host in hosts.values()} == {"db", "app", "lb", "load"}
    assert sum(host.role == "load" for host in hosts.values()) > 1
    assert all(host.ssh_user == "ops" and host.jump == "ops@bastion.example.org" for host in hosts.values())
    assert all(host.address != host.ssh_address or host.address[0].isdigit() for host in hosts.values())


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ("", {}),
        ("-J ops@gate", {"proxyjump": "ops@gate"}),
        ("-Jops@gate:2222 -o ServerAliveInterval=5", {"proxyjump": "ops@gate:2222", "serveraliveinterval": "5"}),
        ("-o ProxyJump=gate -oUserKnownHostsFile=/k", {"proxyjump": "gate", "userknownhostsfile": "/k"}),
        ("-o 'ProxyCommand ssh -W %h:%p ops@gate'", {"proxycommand": "ssh -W %h:%p ops@gate"}),
        ("-o 'ProxyCommand ssh -o A=b -W %h:%p gate'", {"proxycommand": "ssh -o A=b -W %h:%p gate"}),
        ("-o ProxyCommand='ssh -o A=b -W %h:%p gate'", {"proxycommand": "ssh -o A=b -W %h:%p gate"}),
        ("-o ProxyJump=first -J second", {"proxyjump": "first"}),
    ],
)
def test_ssh_options_are_read_as_openssh_reads_them(arguments: str, options: dict[str, str]) -> None:
    assert ssh_options(arguments) == options


def test_ansible_uses_only_the_rigs_key_and_known_hosts(tmp_path: Path, local: Inventory) -> None:
    rig = rig_state(numbered_hosts(local, "198.18.0.0/24", 1))
    effective = ansible_inventory(local, rig, local_hosts.ssh_variables(tmp_path), {"app-1": {"extra": 1}})["all"]
    assert effective["children"]["app"]["hosts"] == {
        "app-1": {
            "ansible_host": "198.18.0.101",
            "ansible_port": 22,
            "ansible_user": "root",
            "address": "198.18.0.101",
            "extra": 1,
        }
    }
    options = effective["vars"]["ansible_ssh_common_args"]
    paths = (f'UserKnownHostsFile="{tmp_path}/known_hosts"', f'IdentityFile="{tmp_path}/id_ed25519"')
    for option in ("StrictHostKeyChecking=yes", *paths, "IdentitiesOnly=yes"):
        assert option in options
    assert "host_count" not in effective["children"]["app"]["vars"]


def test_the_users_ssh_options_follow_the_providers(tmp_path: Path) -> None:
    source = read_inventory(ROOT / "inventory/vm.yml", ROLES_DIR)
    source = replace(source, variables={**source.variables, "ansible_ssh_common_args": "-o ServerAliveInterval=5"})
    rig = rig_state(provider="vm")
    found = ansible_inventory(source, rig, vm.variables(rig, source), {})["all"]["vars"]
    assert found["ansible_ssh_common_args"].endswith("-o IdentityAgent=none -o ServerAliveInterval=5")
    assert found["ansible_ssh_timeout"] == vm.SSH_TIMEOUT_S
    source = replace(source, variables={"ansible_ssh_timeout": 7})
    assert ansible_inventory(source, rig, vm.variables(rig, source), {})["all"]["vars"]["ansible_ssh_timeout"] == 7


def test_cpu_limits_are_by_host(local: Inventory) -> None:
    hosts = numbered_hosts(local, "198.18.0.0/24", 2)
    assert cpu_limits(local, hosts)["app-2"] == local.group("app").variables["host_cpus"]


@pytest.mark.parametrize("level", ["role", "host"])
def test_ssh_options_of_one_level_keep_those_of_every_host(tmp_path: Path, level: str) -> None:
    arguments = {"ansible_ssh_common_args": "-o ServerAliveInterval=5 -J gate"}
    db = {"vars": arguments, "hosts": {"d": {}}} if level == "role" else {"hosts": {"d": arguments}}
    others = {role: {"hosts": {role[0]: {"address": role[0]}}} for role in ("app", "lb", "load")}
    others["lb"] = {"hosts": {"b": {}}}
    path = tmp_path / "i.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": {"provider": "static"}, "children": {"db": db, **others}}}))
    source = read_inventory(path, ROLES_DIR)
    hosts = listed_hosts(source, None)
    assert [host.jump for host in hosts if host.role == "db"] == ["gate"]
    written = ansible_inventory(source, rig_state(hosts), {}, {})["all"]["children"]["db"]
    options = (written["vars"] if level == "role" else written["hosts"]["d"])["ansible_ssh_common_args"]
    assert options == "-o StrictHostKeyChecking=yes -o ForwardAgent=no -o ServerAliveInterval=5 -J gate"


def test_ansible_logs_in_as_the_user_of_the_harness(tmp_path: Path) -> None:
    path = tmp_path / "static.yml"
    path.write_text(STATIC)
    source = read_inventory(path, ROLES_DIR)
    hosts = listed_hosts(source, None)
    children = ansible_inventory(source, rig_state(hosts), {}, {})["all"]["children"]
    for host in hosts:
        assert children[host.role]["hosts"][host.name]["ansible_user"] == host.ssh_user
