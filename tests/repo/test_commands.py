"""What users can type is documented and valid: tasks, options, examples, commands of the documents."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys

import pytest
from invoke import ParseError, Parser
from invoke.parser import ParserContext

import tasks
from docs import generate
from harness.__main__ import CommandLine, repeated
from harness.cli.task_groups import GROUPS, examples_of
from harness.plan.options import BenchRequest
from harness.scenarios import SCENARIOS
from tests.support.documents import COMMANDS, COMMANDS_PAGE, ROOT, TASKS


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
