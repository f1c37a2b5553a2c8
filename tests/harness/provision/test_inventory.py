"""An inventory is read correctly, or refused with file, line and the nearest known key."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.rig.state import ROLES_DIR, ROOT

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
        (("host_count: 3", "host_count: 0"), 8, "host_count: ", ""),
        (("host_count: 3", "host_count: 65"), 8, "host_count: ", ""),
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


def test_jinja_expressions_are_left_to_ansible(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace("5433", "'{{ 5400 + 33 }}'")).variables["postgres_port"].startswith("{{")


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_inventory(tmp_path / "none.yml", ROLES_DIR)
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read: not UTF-8"):
        read_inventory(tmp_path / "binary.yml", ROLES_DIR)
