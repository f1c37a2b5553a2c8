"""Every variable of a role is declared, documented and of its type; no role depends on the provider of its host."""

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
SENTENCE = re.compile(
    r"(Ensure|Verify) .+ (is|are|has|have|runs|passes) ?|(Restart|Stop) .+ (if|whose) .*configuration changed$"
)
"""How a task is named: the state that it ensures or verifies, or the condition of a handler run."""


def defaults(role: str) -> dict[str, Any]:
    return yaml.safe_load((ROLES / role / "defaults" / "main.yml").read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    specs = yaml.safe_load((ROLES / role / "meta" / "argument_specs.yml").read_text(encoding="utf-8"))
    return specs["argument_specs"]["main"]["options"]


def test_there_is_one_role_per_function() -> None:
    assert NAMES == ["app", "common", "haproxy", "load", "postgres"]


@pytest.mark.parametrize("role", NAMES)
def test_defaults_and_argument_specs_name_the_same_variables(role: str) -> None:
    assert list(defaults(role)) == list(options(role))


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_has_the_roles_prefix_a_description_and_a_default_of_its_type(role: str) -> None:
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


def test_the_server_settings_are_those_of_the_original_system() -> None:
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


def test_the_server_logs_in_english() -> None:
    """In any locale: the harness parses messages about deadlocks, VACUUM and refused logins."""
    assert defaults("postgres")["postgres_settings"]["lc_messages"] == "C"


def test_packages_are_plain_lists_that_an_image_recipe_can_read() -> None:
    packages = [p for role in NAMES for p in defaults(role).get(f"{role}_packages", [])]
    assert {"postgresql", "haproxy", "socat"} <= set(packages)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]*", package) for package in packages)


@pytest.mark.parametrize("path", sorted(ROLES.rglob("tasks/*.yml")), ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def test_tasks_are_named_by_sentences_and_ask_for_no_provider(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"podman|qemu|\bprovider\b|virtualization", re.sub(r"#.*", "", text))
    for task in yaml.safe_load(text):
        assert SENTENCE.match(task["name"]), task["name"]
