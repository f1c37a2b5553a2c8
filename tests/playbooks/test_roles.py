"""Every variable of a role is declared, documented and of its type; no role asks where its host comes from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).parents[2] / "playbooks" / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir())
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "path": (str,),
    "int": (int,),
    "float": (int, float),
    "list": (list,),
    "dict": (dict,),
    "bool": (bool,),
}


def defaults(role: str) -> dict[str, Any]:
    return yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return specs["argument_specs"]["main"]["options"]


def test_there_are_the_roles_of_the_design() -> None:
    assert NAMES == ["app", "common", "haproxy", "load", "postgres"]


@pytest.mark.parametrize("role", NAMES)
def test_defaults_and_argument_specs_name_the_same_variables(role: str) -> None:
    assert list(defaults(role)) == list(options(role))


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_has_its_roles_prefix_a_description_and_a_default_of_its_type(role: str) -> None:
    for name, option in options(role).items():
        value = defaults(role)[name]
        assert name.startswith(f"{role}_"), name
        assert option["description"].endswith("."), name
        templated = isinstance(value, str) and "{{" in value
        assert templated or isinstance(value, TYPES[option["type"]]), name
        assert templated or value in option.get("choices", [value]), name


@pytest.mark.parametrize("role", NAMES)
def test_every_default_is_explained_by_the_comment_above_it(role: str) -> None:
    lines = (ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8").splitlines()
    explained = False
    for line in lines:
        if line.startswith("#"):
            explained = True
        elif not line:
            explained = False
        elif re.match(r"\w+:", line):
            assert explained, line


def test_every_server_setting_is_explained() -> None:
    lines = (ROLES / "postgres" / "defaults" / "main.yml").read_text(encoding="utf-8").splitlines()
    settings = [n for n, line in enumerate(lines) if re.match(r"  \w+: ", line) and "timeout" not in line]
    assert len(settings) >= 15
    assert [lines[n] for n in settings if not lines[n - 1].startswith("  # ")] == []


def test_the_servers_settings_are_those_of_the_original() -> None:
    original = {
        "max_connections": 100,
        "shared_buffers": "256MB",
        "effective_cache_size": "1GB",
        "maintenance_work_mem": "64MB",
        "checkpoint_completion_target": 0.9,
        "wal_buffers": "16MB",
        "default_statistics_target": 100,
        "random_page_cost": 1.1,
        "effective_io_concurrency": 200,
    }
    assert original.items() <= defaults("postgres")["postgres_settings"].items()


def test_the_server_speaks_the_language_that_is_read() -> None:
    """Whatever the host's locale: of the log (deadlocks), of VACUUM and of refused logins the words are read."""
    assert defaults("postgres")["postgres_settings"]["lc_messages"] == "C"


def test_packages_are_plain_lists_so_that_an_image_can_be_baked_from_them() -> None:
    found = [p for role in NAMES for p in defaults(role).get(f"{role}_packages", [])]
    assert {"postgresql", "haproxy", "socat"} <= set(found)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", package) for package in found)


@pytest.mark.parametrize("path", sorted(ROLES.rglob("tasks/*.yml")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_no_role_asks_which_provider_it_runs_on_and_every_task_is_a_sentence(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"podman|qemu|\bprovider\b|virtualization", re.sub(r"#.*", "", text))
    for task in yaml.safe_load(text):
        assert re.match(
            r"(Ensure|Verify) .+ (is|are|be|has|have|lets|says|runs|serves|goes|may|keeps|can) ?", task["name"]
        )
