"""Names and addresses of hosts, and what Ansible gets to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.provision.inventory import read_inventory
from harness.provision.topology import ansible_inventory, caps, hosts_of
from harness.rig.state import ROLES_DIR, ROOT

STATIC = """\
all:
  vars: {provider: static, ansible_user: admin}
  children:
    db: {hosts: {alpha: {ansible_host: 192.0.2.1, address: 10.0.0.1}}}
    app: {hosts: {beta: {ansible_host: 192.0.2.2, ansible_port: 2222}, gamma: }}
    lb: {hosts: {delta: {ansible_host: 192.0.2.4}}}
    load: {hosts: {epsilon: {ansible_host: 192.0.2.5}}}
"""


def test_an_address_tells_what_a_host_is() -> None:
    source = read_inventory(ROOT / "inventory/local.yml", ROLES_DIR)
    found = {host.name: host.address for host in hosts_of(source, "198.18.7.0/24", 2)}
    assert found == {
        "db-1": "198.18.7.20",
        "app-1": "198.18.7.101",
        "app-2": "198.18.7.102",
        "lb-1": "198.18.7.10",
        "load-1": "198.18.7.31",
    }


def test_the_largest_rig_has_as_many_addresses_as_hosts() -> None:
    source = read_inventory(ROOT / "inventory/local.yml", ROLES_DIR)
    hosts = hosts_of(source, "198.18.0.0/24", 64)
    assert len({host.address for host in hosts}) == len(hosts) == 67
    assert all(host.address.startswith("198.18.0.") for host in hosts)


def test_hosts_that_exist_keep_their_names_and_addresses(tmp_path: Path) -> None:
    path = tmp_path / "static.yml"
    path.write_text(STATIC)
    source = read_inventory(path, ROLES_DIR)
    hosts = {host.name: host for host in hosts_of(source, "", None)}
    assert (hosts["alpha"].ssh_address, hosts["alpha"].address) == ("192.0.2.1", "10.0.0.1")
    assert (hosts["beta"].ssh_port, hosts["beta"].ssh_user) == (2222, "admin")
    assert hosts["gamma"].address == "gamma"
    assert [host.name for host in hosts_of(source, "", 1) if host.role == "app"] == ["beta"]
    with pytest.raises(UsageError, match="lists 2 app hosts"):
        hosts_of(source, "", 3)
    options = ansible_inventory(source, "mine", hosts_of(source, "", None), tmp_path, {})["all"]["vars"]
    assert "StrictHostKeyChecking=yes" in options["ansible_ssh_common_args"]
    assert "ansible_ssh_private_key_file" not in options  # the user's own key


def test_ansible_reads_our_hosts_with_our_key_and_known_hosts_only(tmp_path: Path) -> None:
    source = read_inventory(ROOT / "inventory/local.yml", ROLES_DIR)
    hosts = hosts_of(source, "198.18.0.0/24", 1)
    effective = ansible_inventory(source, "mine", hosts, tmp_path, {})["all"]
    assert effective["children"]["app"]["hosts"] == {
        "app-1": {"ansible_host": "198.18.0.101", "ansible_port": 22, "address": "198.18.0.101"}
    }
    options = effective["vars"]["ansible_ssh_common_args"]
    for option in ("StrictHostKeyChecking=yes", f"UserKnownHostsFile={tmp_path}/known_hosts", "IdentitiesOnly=yes"):
        assert option in options
    assert "host_count" not in effective["children"]["app"]["vars"]


def test_caps_are_by_host() -> None:
    source = read_inventory(ROOT / "inventory/local.yml", ROLES_DIR)
    hosts = hosts_of(source, "198.18.0.0/24", 2)
    assert caps(source, hosts)["app-2"] == source.group("app").variables["host_cpus"]
