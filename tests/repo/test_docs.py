"""What users can type, set or read is documented: tasks, options, scenarios, endpoints, settings, columns."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
import unicodedata
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from invoke import ParseError, Parser
from invoke.parser import ParserContext

import tasks
from app.backends.postgres import PostgresBackend
from app.settings import Settings
from docs import generate
from harness.__main__ import CommandLine, repeated
from harness.analysis.figures import FIGURES
from harness.cli.task_groups import GROUPS, examples_of
from harness.errors import INTERNAL, INTERRUPTED, CrucibleError
from harness.model import STRATEGIES
from harness.plan.fault_schedule import CONTROLS, KINDS
from harness.plan.options import BenchRequest
from harness.provision.providers import PROVIDERS
from harness.scenarios import SCENARIOS
from harness.store.csv_rows import TELEMETRY_COLUMNS, TIMELINE_COLUMNS, TRIAL_COLUMNS
from harness.store.manifest import Manifest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS_PAGE = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
METHOD = (ROOT / "docs/method.md").read_text(encoding="utf-8")
SCENARIOS_PAGE = (ROOT / "docs/scenarios.md").read_text(encoding="utf-8")
FAULTS_PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs/results.md").read_text(encoding="utf-8")
OPENAPI = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text(encoding="utf-8"))
ROLES = sorted(path.name for path in (ROOT / "playbooks/roles").iterdir() if path.is_dir())


TASKS = sorted(tasks.namespace.task_names)
CODE_BLOCK = re.compile(r"^    (\./run [^#\n]+)", re.MULTILINE)
INLINE = re.compile(r"`(\./run [^`]+)`")
PAGES = (
    "README.md", "README.ja.md", "AGENTS.md", "CONTRIBUTING.md", "docs/own-machines.md", "docs/architecture.md",
    "docs/commands.md", "docs/faults.md", "docs/method.md", "docs/rig.md", "docs/scenarios.md", "docs/results.md",
    "docs/troubleshooting.md", "docs/observability/README.md",
)  # fmt: skip
TEXT = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in PAGES)
WRITTEN = (*CODE_BLOCK.findall(TEXT), *INLINE.findall(TEXT))
COMMANDS = sorted({re.sub(r" [|>] .*", "", command).strip() for command in WRITTEN if "TASK" not in command})
"""Every command of these pages: from code blocks without their comments, and from running text."""


def parse(command: str) -> list[ParserContext]:
    """The tasks of a command line with their options, as Invoke parses it. Raises ParseError."""
    spec = importlib.util.spec_from_file_location("tasks_to_parse", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)  # a copy: Invoke empties a task's help lines when it reads them
    spec.loader.exec_module(module)
    words = repeated([word for word in shlex.split(command)[1:] if word != "--list"])
    return list(Parser(contexts=module.namespace.to_contexts()).parse_argv(words))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_in_the_documents_is_valid(command: str) -> None:
    for context in parse(command):
        given = {name: argument.value for name, argument in context.args.items() if argument.got_value}
        if context.name == "bench":
            texts = {name.replace("-", "_"): value for name, value in given.items()}
            BenchRequest.parse(texts, known_scenarios=SCENARIOS)


def test_commands_are_found_in_the_documents_and_a_wrong_one_is_noticed() -> None:
    assert {"./run quickstart", "./run bench --resume RUN", "./run report --run results/example"} <= set(COMMANDS)
    for wrong in ("./run benhc", "./run bench --nope", "./run compare ONE"):
        with pytest.raises(ParseError):
            parse(wrong)


@pytest.mark.parametrize("task", TASKS)
def test_help_of_every_task_runs_and_lists_its_options(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"])
    with contextlib.chdir(ROOT):
        program.run(["./run", task, "--help"], exit=False)
    text = capsys.readouterr().out
    assert text.startswith(f"Usage: ./run [--core-opts] {task} ")
    assert {option for option in options(task) if not re.search(rf" --?{option}\b", text)} == set()


def test_completion_lists_the_options_of_bench() -> None:
    """In a process, as a shell runs it."""
    command = [sys.executable, "-m", "harness", "--complete", "--", "./run bench --"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert {f"--{option}" for option in options("bench")} <= set(done.stdout.split())


def test_the_list_has_every_task_once_in_its_group() -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == TASKS


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_examples_that_are_valid(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"])
    with contextlib.chdir(ROOT):
        program.run(["./run", task, "--help"], exit=False)
    shown = capsys.readouterr().out.partition("Examples:\n")[2]
    assert examples_of(task)
    for example in examples_of(task):
        assert f"  {example}\n" in shown
        command = re.sub(r'^eval "\$\((.*)\)"$|[|>].*', r"\1", example)
        assert [context.name for context in parse(command)][-1] == task


def options(task: str) -> list[str]:
    """The options of a task as typed, without the dashes; its positional arguments too."""
    parameters = inspect.signature(tasks.namespace[task].body).parameters
    return [name.replace("_", "-") for name in parameters if name != "_"]


@pytest.mark.parametrize("task", TASKS)
def test_every_option_of_every_task_is_documented(task: str) -> None:
    section = re.search(rf"^### {task}\b.*?(?=^###|^<!--)", COMMANDS_PAGE, re.MULTILINE | re.DOTALL)
    assert section
    for name, parameter in inspect.signature(tasks.namespace[task].body).parameters.items():
        if name != "_":
            option = name.upper() if parameter.default is inspect.Parameter.empty else f"--{name.replace('_', '-')}"
            assert f"| `{option}" in section[0]


@pytest.mark.parametrize("task", TASKS)
def test_every_option_has_a_help_line_and_every_task_a_sentence(task: str) -> None:
    assert sorted(tasks.namespace[task].help) == sorted(options(task))
    assert (tasks.namespace[task].__doc__ or "").strip().endswith(".")


@pytest.mark.parametrize("name", generate.DOCUMENTS)
def test_tables_made_from_the_code_are_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert generate.rendered(text) == text, "run ./run docs"


def test_a_stale_table_is_noticed() -> None:
    assert generate.rendered(COMMANDS_PAGE.replace("| `--rig NAME` |", "| `--rigg NAME` |")) == COMMANDS_PAGE
    written = "".join((ROOT / name).read_text(encoding="utf-8") for name in generate.DOCUMENTS)
    assert {name for name in generate.TABLES if f"<!-- {name}: written by" not in written} == set()


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


SAFETY = (ROOT / "docs/safety.md").read_text(encoding="utf-8")


def test_every_promise_of_safety_names_tests_that_exist() -> None:
    rows = [line.split(" | ") for line in SAFETY.splitlines() if line.startswith("| ") and "::" in line]
    assert len(rows) >= 15
    for *_, attacks in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", attacks)
        assert named, attacks
        for file, name in named:
            assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{name}"
