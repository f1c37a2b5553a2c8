"""An inventory is read correctly, or refused with file, line and the nearest known key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model import Host
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.provision.topology import listed_hosts
from harness.rig.state import READ_HERE, ROLES_DIR, ROOT

GOOD = """\
all:
  vars:
    provider: podman
    postgres_port: 5433
  children:
    app:
      vars:
        host_count: 3
        host_cpus: 0.5
"""


def read(folder: Path, text: str) -> Inventory:
    path = folder / "hosts.yml"
    path.write_text(text)
    return read_inventory(path, ROLES_DIR)


def test_the_default_inventory_is_valid() -> None:
    source = read_inventory(ROOT / "inventory/local.yml", ROLES_DIR)
    assert source.provider == "podman"
    assert {group.role: group.count for group in source.groups} == {"db": 1, "app": 4, "lb": 1, "load": 1}


def test_groups_that_are_not_listed_have_their_defaults(tmp_path: Path) -> None:
    source = read(tmp_path, GOOD)
    assert {group.role: group.count for group in source.groups} == {"db": 1, "app": 3, "lb": 1, "load": 1}
    assert source.group("app").variables["host_cpus"] == 0.5
    assert source.variables["postgres_port"] == 5433


@pytest.mark.parametrize(
    ("change", "line", "message", "hint"),
    [
        (("host_cpus: 0.5", "host_cpu: 0.5"), 9, "unknown variable 'host_cpu'", "host_cpus"),
        (("postgres_port: 5433", "postgres_prot: 5433"), 4, "unknown variable 'postgres_prot'", "postgres_port"),
        (("postgres_port: 5433", "postgres_port: many"), 4, "postgres_port: ", ""),
        (("postgres_port: 5433", "tls: 'no'"), 4, "tls: ", ""),
        (("host_count: 3", "tls: true"), 8, "`tls` applies to the whole rig", "all: vars:"),
        (("postgres_port: 5433", "faults_allowed: 'yes'"), 4, "faults_allowed: ", ""),
        (("postgres_port: 5433", "faults_alowed: true"), 4, "unknown variable 'faults_alowed'", "faults_allowed"),
        (("host_count: 3", "faults_allowed: true"), 8, "`faults_allowed` applies to the whole rig", "all: vars:"),
        (("host_count: 3", "host_count: 0"), 8, "host_count: ", ""),
        (("host_count: 3", "host_count: 65"), 8, "host_count: ", ""),
        (("host_count: 3", "host_count: '3'"), 8, "host_count: ", ""),
        (("postgres_port: 5433", "common_directory: /"), 4, "common_directory: ", ""),
        (("provider: podman", "provider: podmam"), 3, "provider: ", ""),
        (("    app:", "    apps:"), 6, "unknown key 'apps' in all.children", "app"),
        (("  children:", "  childen:"), 5, "unknown key 'childen' in all", "children"),
        (("all:", "al:"), 1, "unknown key 'al'", "all"),
        (("      vars:\n        host", "      hosts: [a]\n      vars:\n        host"), 7, "must be a mapping", ""),
        (("    app:", "    db:\n      vars: {host_count: 2}\n    app:"), 7, "2 hosts in db", "1 to 1"),
        (("    app:", "    db:\n      hosts: {a: }\n    app:"), 7, "creates its hosts itself", "static"),
        (("    provider: podman\n", "    provider: podman\n    provider: vm\n"), 4, "duplicate key 'provider'", ""),
        (("    app:", "    app: ["), 8, "not YAML", "indentation"),
    ],
)
def test_an_error_is_reported_at_its_line(
    tmp_path: Path, change: tuple[str, str], line: int, message: str, hint: str
) -> None:
    assert change[0] in GOOD
    with pytest.raises(UsageError) as caught:
        read(tmp_path, GOOD.replace(*change, 1))
    assert caught.value.message.startswith(f"{tmp_path}/hosts.yml:{line}: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_tls_is_set_once_for_the_whole_rig(tmp_path: Path) -> None:
    assert "tls" not in read(tmp_path, GOOD).variables
    assert read(tmp_path, GOOD.replace("postgres_port: 5433", "tls: true")).variables["tls"] is True


def test_group_vars_override_the_inventory_and_are_checked(tmp_path: Path) -> None:
    group_vars = tmp_path / "group_vars"
    group_vars.mkdir()
    (group_vars / "all.yml").write_text("postgres_port: 6000\n")
    assert read(tmp_path, GOOD).variables["postgres_port"] == 6000
    (group_vars / "all.yml").write_text("# a comment\npostgres_prot: 6000\n")
    with pytest.raises(UsageError, match=r"group_vars/all\.yml:2: unknown variable 'postgres_prot'"):
        read(tmp_path, GOOD)
    (group_vars / "all.yml").unlink()
    (group_vars / "ap.yml").write_text("")
    with pytest.raises(UsageError, match="there is no group 'ap'"):
        read(tmp_path, GOOD)


def test_jinja_expressions_of_variables_that_only_roles_read_are_left_to_ansible(tmp_path: Path) -> None:
    text = GOOD.replace("postgres_port: 5433", "postgres_extra_settings: {work_mem: '{{ 4 }}MB'}")
    assert read(tmp_path, text).variables["postgres_extra_settings"] == {"work_mem": "{{ 4 }}MB"}


def test_all_variables_of_roles_that_the_harness_reads_are_known() -> None:
    texts = [path.read_text() for path in (ROOT / "harness").rglob("*.py")]
    used = {name for text in texts for name in re.findall(r"variables\[[\"']([a-z_]+)[\"']\]", text)}
    assert used - {"vm_image", "rig_provider"} <= set(READ_HERE)


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


def hosts_of(source: Inventory) -> dict[str, Host]:
    return {host.name: host for host in listed_hosts(source, None)}


def test_other_names_of_connection_variables_mean_the_same(tmp_path: Path) -> None:
    names = "ansible_ssh_host: 192.0.2.9, ansible_ssh_port: '2223', ansible_ssh_user: u, ansible_private_key_file: ~/k"
    source = read(tmp_path, STATIC.replace("ansible_host: 192.0.2.1", names))
    host = hosts_of(source)["d"]
    assert (host.ssh_address, host.ssh_port, host.ssh_user, host.ssh_key) == ("192.0.2.9", 2223, "u", "~/k")
    assert set(source.group("db").hosts["d"]) == {
        "ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file",
    }  # fmt: skip


def test_hosts_keep_the_order_of_the_file(tmp_path: Path) -> None:
    assert list(read(tmp_path, STATIC).group("app").hosts) == ["z", "a"]


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("{ansible_host: 192.0.2.1}", "{ansible_host: }"), 8, "ansible_host is empty"),
        (("{ansible_host: 192.0.2.1}", "{ansible_host: ''}"), 8, "ansible_host is empty"),
        (("{ansible_host: 192.0.2.1}", "{address: null}"), 8, "address is empty"),
        (("ansible_user: ops", "ansible_user:"), 4, "ansible_user is empty"),
        (("ansible_user: ops", "postgres_port: ~"), 4, "postgres_port is empty"),
        (("192.0.2.1", "'{{ address }}'"), 8, "ansible_host: Jinja is not evaluated"),
        (("192.0.2.1", "'{% if x %}'"), 8, "ansible_host: Jinja is not evaluated"),
        (("ansible_host: 192.0.2.1", "address: '{{ x }}'"), 8, "address: Jinja is not evaluated"),
        (("ansible_user: ops", "ansible_ssh_common_args: '-J {{ gate }}'"), 4, "Jinja is not evaluated"),
        (("ansible_user: ops", "postgres_port: '{{ 5432 }}'"), 4, "postgres_port: Jinja is not evaluated"),
        (("ansible_user: ops", "ansible_ssh_common_args: -o 'A"), 4, "no closing quotation"),
        (("2222", "ssh"), 12, "'ssh' is not a port"),
        (("2222", "0"), 12, "'0' is not a port"),
        (("2222", "70000"), 12, "'70000' is not a port"),
        (("2222", "true"), 12, "'True' is not a port"),
        (("2222", "22.5"), 12, "'22.5' is not a port"),
        (("2222", "[22]"), 12, "is not a port"),
        (("192.0.2.1", "10"), 8, "'10' is not text"),
        (("192.0.2.1", "'-oProxyCommand=x'"), 8, "is not a name or an address"),
        (("192.0.2.1", "[a]"), 8, "is not text"),
        (("ansible_user: ops", "ansible_user: 1000"), 4, "is not a user's name"),
        (("ansible_user: ops", "ansible_connection: local"), 4, "is not supported, only ssh"),
        (("ansible_user: ops", "ansible_become_password: x"), 4, "'ansible_become_password' is not supported"),
        (("ansible_user: ops", "ansible_password: x"), 4, "'ansible_password' is not supported"),
        (("ansible_user: ops", "ansible_ssh_pass: x"), 4, "'ansible_ssh_pass' is not supported"),
        (("ansible_user: ops", "ansible_ssh_extra_args: -v"), 4, "'ansible_ssh_extra_args' is not supported"),
        (("ansible_user: ops", "ansible_become_user: x"), 4, "is not supported, only root"),
        (("ansible_user: ops", "ansible_group_priority: 2"), 4, "'ansible_group_priority'"),
        (("ansible_user: ops", "groups: 2"), 4, "'groups'"),
        (("ansible_user: ops", "ansible_user: ops\n    ansible_ssh_user: b"), 5, "ansible_user has another value"),
        (("        a: {", "        a[1:3]: {"), 13, "'a[1:3]' is not a host name"),
        (("        a: {", "        a:22: {"), 13, "'a:22' is not a host name"),
        (("        a: {", "        7: {"), 13, "the key '7' in all.children.app.hosts is not text"),
        (("        a: {", "        d: {"), 13, "d (db) and d (app) are the same machine"),
        (("      hosts:\n        d", "      children: {app: }\n      hosts:\n        d"), 7, "unknown key 'children'"),
        (("  children:", "  hosts: {x: }\n  children:"), 5, "unknown key 'hosts' in all"),
        (("ansible_user: ops", "ansible_user: !vault |\n      x"), 4, "'!vault'"),
        (("ansible_user: ops", "host_count: 3"), 4, "`host_count` applies to one role"),
        (("ansible_port: 2222", "provider: podman"), 12, "`provider` applies to the whole rig"),
        (("ansible_port: 2222", "app_workers: 3"), 12, "`app_workers` is the same on all hosts of a role"),
    ],
)
def test_what_only_one_of_harness_and_ansible_would_follow_is_refused(
    tmp_path: Path, change: tuple[str, str], line: int, message: str
) -> None:
    assert change[0] in STATIC
    with pytest.raises(UsageError) as caught:
        hosts_of(read(tmp_path, STATIC.replace(*change, 1)))
    assert caught.value.message.startswith(f"{tmp_path}/hosts.yml:{line}: ")
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["ansible_host", "ansible_port", "ansible_ssh_user", "ansible_private_key_file"])
def test_a_provider_that_creates_hosts_decides_how_they_are_reached(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=rf"hosts\.yml:4: {name}: provider podman sets it"):
        read(tmp_path, GOOD.replace("postgres_port: 5433", f"{name}: '22'"))
