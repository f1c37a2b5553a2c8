"""What users can type or set is written down: tasks, options, scenarios, endpoints, settings, columns, metrics."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import tasks
from app.settings import Settings
from harness.analysis.figures import FIGURES
from harness.scenarios import SCENARIOS
from harness.store.csv_rows import TELEMETRY_COLUMNS, TIMELINE_COLUMNS, TRIAL_COLUMNS
from harness.store.manifest import Manifest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
OPENAPI = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text(encoding="utf-8"))
ROLES = sorted(path.name for path in (ROOT / "playbooks/roles").iterdir() if path.is_dir())


@pytest.mark.parametrize("task", tasks.namespace.task_names)
def test_every_task_is_in_the_readme(task: str) -> None:
    assert re.search(rf"\./run {task}\b|selfbench", README), task
    assert f"{task}" in README


@pytest.mark.parametrize("option", [n for n in inspect.signature(tasks.bench.body).parameters if n != "_"])
def test_every_option_of_bench_is_in_the_readme(option: str) -> None:
    assert f"--{option.replace('_', '-')}" in README


@pytest.mark.parametrize("task", tasks.namespace.task_names)
def test_every_option_has_a_help_line_and_every_task_a_sentence(task: str) -> None:
    body = tasks.namespace[task]
    options = [n.replace("_", "-") for n in inspect.signature(body.body).parameters if n != "_"]
    assert sorted(body.help) == sorted(options)
    assert (body.__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_in_the_readme_with_its_question(name: str) -> None:
    assert f"| `{name}` | {SCENARIOS[name].question} |" in README


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda f: f.name)
def test_every_setting_of_the_service_is_documented(setting: object) -> None:
    name, help_line = setting.name, setting.metadata["help"]  # type: ignore[attr-defined]
    assert re.search(rf"^\| `{name.upper()}` \| .* \| {re.escape(help_line)} \|$", SETTINGS, re.MULTILINE)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_default_is_documented(role: str) -> None:
    specs = ROOT / "playbooks/roles" / role / "meta/argument_specs.yml"
    defaults = yaml.safe_load((ROOT / "playbooks/roles" / role / "defaults/main.yml").read_text(encoding="utf-8"))
    names = set(defaults or {}) | set(yaml.safe_load(specs.read_text())["argument_specs"]["main"]["options"])
    assert {name for name in names if f"| `{name}` |" not in SETTINGS} == set()


def test_every_endpoint_is_in_the_contract() -> None:
    source = (ROOT / "app/handlers.py").read_text(encoding="utf-8")
    served = {re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path) for path in re.findall(r'"(/[a-z][^"]*)": \("', source)}
    assert served
    assert served == set(OPENAPI["paths"])


@pytest.mark.parametrize("column", [*TRIAL_COLUMNS, *TIMELINE_COLUMNS, *TELEMETRY_COLUMNS, *Manifest.model_fields])
def test_every_column_and_key_is_documented(column: str) -> None:
    if column in FIGURES and column.endswith("_ms"):
        return  # percentiles are documented as a family
    assert f"`{column}`" in RESULTS


def test_nothing_of_this_machine_or_a_registry_is_committed() -> None:
    words = re.compile(r"files\.pythonhosted\.org|/work/main|/work/shared|registry\.npmjs\.org|deb\.debian\.org")
    here = Path(__file__).name
    found = [
        str(path.relative_to(ROOT))
        for folder in ("app", "harness", "playbooks", "inventory", "tests", "docs", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".gz", ".png") and path.name != here
        and words.search(path.read_text(encoding="utf-8", errors="replace"))
    ]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("lock", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_package_is_pinned_with_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    entries = [e for e in re.sub(r"\\\n", " ", text).splitlines() if e.strip() and not e.lstrip().startswith("#")]
    assert len(entries) >= 5
    pinned = re.compile(r"[a-zA-Z0-9._\[\]-]+==[^ ;]+( ;[^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [entry[:80] for entry in entries if not pinned.fullmatch(entry)] == []


def test_packages_are_installed_by_their_hashes_alone() -> None:
    for file, least in (("run", 2), ("harness/provision/bundle.py", 1)):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert text.count("--require-hashes") >= least, file


SAFETY = (ROOT / "docs/safety.md").read_text(encoding="utf-8")


def test_every_promise_of_safety_names_tests_that_exist() -> None:
    rows = [line.split(" | ") for line in SAFETY.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) >= 15
    for *_, attacks in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", attacks)
        assert named, attacks
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"
