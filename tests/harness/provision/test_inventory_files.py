"""The files of an inventory are those that Ansible reads; each of their variables has a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.provision.topology import listed_hosts
from harness.rig.state import ROLES_DIR

STATIC = """\
all:
  vars:
    provider: static
    ansible_user: ops
  children:
    db:
      hosts:
        d: {ansible_host: 192.0.2.1}
    app:
      hosts:
        z:
          ansible_port: 2222
        a: {ansible_host: 192.0.2.3}
    lb:
      hosts: {l: }
    load:
      hosts: {g: }
"""
ONE_ROLE = """\
all: {vars: {provider: podman}, children: {app: {vars: {host_count: 3}}}}
"""


def read(folder: Path, text: str) -> Inventory:
    path = folder / "hosts.yml"
    path.write_text(text)
    return read_inventory(path, ROLES_DIR)


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "name", ["app", "app.yml", "app.yaml", "app.json", "app/main.yml", "app/10/main", "app/main.json", "app.yml/x.yml"]
)
def test_group_vars_are_read_where_ansible_reads_them(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"group_vars/{name}", '{"app_workers": 3}')
    assert read(tmp_path, STATIC).group("app").variables["app_workers"] == 3


@pytest.mark.parametrize(
    "name", ["app.txt", ".app.yml", "app/.main.yml", "app/main.yml~", "app/main.ini", "app/a.d/x.yml"]
)
def test_files_that_ansible_does_not_read_are_not_read(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"group_vars/{name}", "app_workers: 3")
    assert "app_workers" not in read(tmp_path, STATIC).group("app").variables


def test_the_files_of_a_folder_override_each_other_in_order(tmp_path: Path) -> None:
    write(tmp_path, "group_vars/all/2.yml", "postgres_port: 2")
    write(tmp_path, "group_vars/all/1.yml", "postgres_port: 1\ntls: true")
    source = read(tmp_path, STATIC.replace("provider: static", "provider: static\n    postgres_port: 9"))
    assert (source.variables["postgres_port"], source.variables["tls"]) == (2, True)
    write(tmp_path, "group_vars/all/2.yml", "# a comment\npostgres_prot: 2")
    with pytest.raises(UsageError, match=r"group_vars/all/2\.yml:2: unknown variable 'postgres_prot'"):
        read(tmp_path, STATIC)


def test_group_vars_of_a_role_that_the_file_does_not_list_are_read(tmp_path: Path) -> None:
    write(tmp_path, "group_vars/load.yml", "load_processes: 2")
    assert read(tmp_path, ONE_ROLE).group("load").variables["load_processes"] == 2


def test_host_vars_reach_the_harness_and_ansible(tmp_path: Path) -> None:
    write(tmp_path, "host_vars/d.yml", "ansible_port: 2200\nansible_ssh_user: admin")
    write(tmp_path, "host_vars/of-another-inventory.yml", "ansible_port: 1")
    source = read(tmp_path, STATIC)
    host = next(host for host in listed_hosts(source, None) if host.name == "d")
    assert (host.ssh_port, host.ssh_user) == (2200, "admin")
    assert source.group("db").hosts["d"] == {"ansible_host": "192.0.2.1", "ansible_port": 2200, "ansible_user": "admin"}


def test_group_vars_beside_a_symbolic_link_are_read(tmp_path: Path) -> None:
    write(tmp_path, "real/hosts.yml", STATIC)
    write(tmp_path, "group_vars/all.yml", "postgres_port: 5")
    (tmp_path / "link.yml").symlink_to(tmp_path / "real/hosts.yml")
    assert read_inventory(tmp_path / "link.yml", ROLES_DIR).variables["postgres_port"] == 5


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("group_vars/all", "$ANSIBLE_VAULT;1.1;AES256\n3132\n", "all:1: a file encrypted with ansible-vault"),
        ("group_vars/all.yml", "- a\n", "all.yml:1: the file must be a mapping"),
        ("group_vars/all/x.yml", "a: {{ b }}\n", "x.yml:1: a value that begins with {{ needs quotes"),
        ("group_vars/al/x.yml", "tls: true\n", "al: there is no group 'al'"),
        ("group_vars/ungrouped.yml", "tls: true\n", "there is no group 'ungrouped'"),
        ("group_vars", "", "group_vars: not a folder"),
        ("host_vars/d/x.yml", "x: 1\n", "x.yml:1: unknown variable 'x'"),
        ("host_vars/d", "ansible_port: ssh\n", "host_vars/d:1: ansible_port: 'ssh' is not a port"),
    ],
)
def test_faults_in_files_beside_the_inventory_name_the_file(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path, name, text)
    with pytest.raises(UsageError) as caught:
        read(tmp_path, STATIC)
    assert message in caught.value.message


def test_a_file_that_ansible_skips_beside_another_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "group_vars/all", "postgres_port: 1")
    write(tmp_path, "group_vars/all.yml", "postgres_port: 2")
    with pytest.raises(UsageError, match=r"group_vars/all\.yml: Ansible reads only .*/group_vars/all$"):
        read(tmp_path, STATIC)


def test_an_inventory_is_a_yaml_file(tmp_path: Path) -> None:
    write(tmp_path, "hosts.ini", "all:\n")
    with pytest.raises(UsageError, match=r"Ansible does not read '\.ini' as YAML"):
        read_inventory(tmp_path / "hosts.ini", ROLES_DIR)


def test_settings_of_the_users_own_ansible_have_no_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_INVENTORY_ENABLED", "ini")
    monkeypatch.setenv("ANSIBLE_VARS_ENABLED", "")
    write(tmp_path, "group_vars/all.yml", "postgres_port: 5")
    assert read(tmp_path, STATIC).variables["postgres_port"] == 5


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_inventory(tmp_path / "none.yml", ROLES_DIR)
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read: not UTF-8"):
        read_inventory(tmp_path / "binary.yml", ROLES_DIR)
