"""What users can set or read is documented: scenarios, faults, endpoints, settings, columns, exit codes, messages."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

import tasks
from app.backends.postgres import PostgresBackend
from app.settings import Settings
from harness.analysis.figures import FIGURES
from harness.errors import INTERNAL, INTERRUPTED, CrucibleError
from harness.model import STRATEGIES
from harness.plan.fault_schedule import CONTROLS, KINDS
from harness.provision.providers import PROVIDERS
from harness.scenarios import SCENARIOS
from harness.store.csv_rows import TELEMETRY_COLUMNS, TIMELINE_COLUMNS, TRIAL_COLUMNS
from harness.store.manifest import Manifest
from tests.support.documents import (
    FAULTS_PAGE,
    METHOD,
    OPENAPI,
    PAGES,
    README,
    RESULTS,
    ROOT,
    SAFETY,
    SCENARIOS_PAGE,
    SETTINGS,
    TROUBLESHOOTING,
)

ROLES = sorted(path.name for path in (ROOT / "playbooks/roles").iterdir() if path.is_dir())


WIDE = ("docs/commands.md", "docs/results.md", "docs/settings.md")
"""Pages with rows of tables that come from the code, or that describe columns, in one line each."""


@pytest.mark.parametrize("name", [name for name in (*PAGES, "CHANGELOG.md") if name not in WIDE])
def test_lines_have_at_most_120_columns(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if columns(line) > 120 and not line.startswith(("| `", "    ./run "))] == []


def columns(line: str) -> int:
    """The columns of a line on a terminal: two for a wide character."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in line)


def test_a_wide_character_takes_two_columns() -> None:
    assert columns("測定 1") == 6


@pytest.mark.parametrize("name", [*PAGES, "docs/safety.md", "docs/settings.md"])
def test_every_file_that_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:app|docs|harness|playbooks|tests)/[\w./-]+\.(?:md|py|sql|yaml|yml))\b", text)
    assert {path for path in paths if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("name", [*PAGES, "docs/safety.md", "docs/settings.md"])
def test_every_link_of_a_document_leads_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert {link for link in links(text) if not leads_somewhere(ROOT / name, link)} == set()


def links(text: str) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether the file of a link exists, and has the heading that the link names."""
    path, _, anchor = link.partition("#")
    file = page.parent / path if path else page
    if not anchor or not file.is_file():
        return file.exists()
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_link_to_nowhere_is_noticed() -> None:
    assert links("[a](b.md#c) [d](https://example.org)") == ["b.md#c"]
    assert leads_somewhere(ROOT / "README.md", "docs/results.md#in-python")
    assert not leads_somewhere(ROOT / "README.md", "docs/results.md#in-cobol")
    assert not leads_somewhere(ROOT / "README.md", "docs/nothing.md")


def test_strategies_are_the_same_in_service_harness_and_documents() -> None:
    row = re.search(r"^\| Strategy \|.*$", METHOD, re.MULTILINE)
    body = OPENAPI["paths"]["/api/increment"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    contract = [name for name in body["properties"]["strategy"]["enum"] if name is not None]
    assert row
    assert re.findall(r"`([a-z-]+)`", row[0]) == list(STRATEGIES)
    assert sorted(contract) == sorted(PostgresBackend.strategies) == sorted(STRATEGIES)


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_provider_is_documented_and_in_the_help(name: str) -> None:
    assert f"| `{name}`" in (ROOT / "docs/rig.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| Provider \|.*`{name}`", METHOD, re.MULTILINE)
    assert name in tasks.namespace["provision"].help["provider"]


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_in_the_readme_with_its_question(name: str) -> None:
    assert f"| `{name}` | {SCENARIOS[name].question} |" in README


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_has_its_method_and_what_is_not_claimed(name: str) -> None:
    section = re.search(rf"^## {name}$.*?(?=^## )", SCENARIOS_PAGE, re.MULTILINE | re.DOTALL)
    assert section
    assert f"<!-- scenario {name}: written by" in section[0]
    assert "**Method.** " in section[0]
    assert "**Not claimed.** " in section[0]
    assert f"`{name}`" in (ROOT / "README.ja.md").read_text(encoding="utf-8")


def test_every_fault_and_control_is_documented_with_how_it_is_seen_and_healed() -> None:
    rows = {name: re.findall(rf"^\| `{name}`(?: and its kin)? \|.*$", FAULTS_PAGE, re.MULTILINE) for name in KINDS}
    kin = {"partition-db-one-way", "partition-db-reject"}
    assert {name for name, found in rows.items() if len(found) != 2 - (name in kin)} == set()
    for name, control in CONTROLS.items():
        row = re.search(rf"^\| `{name}` \|.*\| {control.check} \|$", FAULTS_PAGE, re.MULTILINE)
        assert row
        assert f"--control {name}" in FAULTS_PAGE


def test_every_exit_code_is_explained() -> None:
    codes = {kind.exit_code for kind in (CrucibleError, *CrucibleError.__subclasses__())} | {INTERNAL, INTERRUPTED}
    for code in sorted(codes):
        assert len(re.findall(rf"^\| {code} \|", TROUBLESHOOTING, re.MULTILINE)) == 2, "its meaning, and what to do"


def not_in_the_code(message: str) -> list[str]:
    """The parts of a quoted message that no source file has; `…` stands for a value."""
    return [part for part in map(str.strip, message.split("…")) if part and part not in SOURCE]


SOURCE = "\n".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "run", *sorted((ROOT / "harness").rglob("*.py")))
)


def test_every_message_of_the_troubleshooting_page_is_in_the_code() -> None:
    quoted = re.findall(r"^\| `([^`]+)` \|", TROUBLESHOOTING, re.MULTILINE)
    assert len(quoted) > 25
    assert {message: missing for message in quoted if (missing := not_in_the_code(message))} == {}


def test_a_message_that_no_code_has_is_noticed() -> None:
    assert not_in_the_code("runs code … this chequout is") == ["this chequout is"]


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
    files = [
        str(path.relative_to(ROOT))
        for folder in ("app", "harness", "playbooks", "inventory", "tests", "docs", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".gz", ".png") and path.name != here
        and words.search(path.read_text(encoding="utf-8", errors="replace"))
    ]  # fmt: skip
    assert files == []


def test_every_promise_of_safety_names_tests_that_exist() -> None:
    rows = [line.split(" | ") for line in SAFETY.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) >= 15
    for *_, attacks in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", attacks)
        assert named, attacks
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"
