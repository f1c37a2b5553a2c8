"""The command line of every task: an empty value is refused before the task begins."""

from __future__ import annotations

import contextlib
import inspect
from pathlib import Path

import pytest

import tasks
from harness.__main__ import CommandLine, repeated

ROOT = Path(__file__).parents[2]
TEXTS = [
    (task, parameter)
    for task in sorted(tasks.namespace.task_names)
    for parameter in list(inspect.signature(tasks.namespace[task].body).parameters.values())[1:]
    if not isinstance(parameter.default, bool)
]
"""Every option of a task that takes a value, and every positional argument."""


def test_the_options_are_those_of_the_tasks() -> None:
    names = {(task, parameter.name) for task, parameter in TEXTS}
    assert {("check", "recheck"), ("compare", "a"), ("status", "rig"), ("bench", "base_url")} <= names


@pytest.mark.parametrize(("task", "parameter"), TEXTS, ids=[f"{task} {one.name}" for task, one in TEXTS])
@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_value_is_refused(
    task: str, parameter: inspect.Parameter, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unset variable in a script must not select the newest run, the default rig or a plain report."""
    option = f"-{parameter.name}" if len(parameter.name) == 1 else f"--{parameter.name.replace('_', '-')}"
    needed = [one for other, one in TEXTS if other == task and one.default is inspect.Parameter.empty]
    words = ["./run", task, *(text if one == parameter else "given" for one in needed)]
    words += [] if parameter in needed else [option, text]
    program = CommandLine(name="pgcrucible", binary="./run", binary_names=["./run"])
    with contextlib.chdir(ROOT), pytest.raises(SystemExit) as end:
        program.run(words)
    assert end.value.code == 2
    assert f"error: {option} is empty\nhint: is a variable unset?" in capsys.readouterr().err


@pytest.mark.parametrize(("line", "read"), [
    ("./run report --compare A B C --json", "./run report --compare A --compare B --compare C --json"),
    ("./run report --compare A --compare B", "./run report --compare A --compare B"),
    ("./run report --compare=A B", "./run report --compare=A --compare B"),
    ("./run report --run R --compare A", "./run report --run R --compare A"),
    ("./run compare A B", "./run compare A B"),
    ("./run ssh app-1 -- report --compare A B", "./run ssh app-1 -- report --compare A B"),
])  # fmt: skip
def test_an_option_with_several_values_is_read_as_one_that_is_repeated(line: str, read: str) -> None:
    assert repeated(line.split()) == read.split()
