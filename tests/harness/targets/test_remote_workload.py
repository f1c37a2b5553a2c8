"""A workload as a process: its result, and the error of one without a result."""

from __future__ import annotations

import sys

import pytest

from harness.errors import RigError
from harness.rig.connection import LocalConnection
from harness.targets.remote_workload import run_module

HOST = LocalConnection()
DOUBLE = "import json, sys; job = json.loads(sys.stdin.readline()); print('note'); "


def python(code: str) -> list[str]:
    return [sys.executable, "-c", DOUBLE + code]


def test_the_last_line_has_the_result_of_the_job() -> None:
    command = python("print(json.dumps({'result': {'n': 2 * job['n']}}))")
    assert run_module(HOST, command, {"n": 4}) == {"n": 8}


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        ("print(json.dumps({'message': 'no table', 'hint': 'make one'}))", "no table", "make one"),
        ("sys.exit('first\\nlast')", "last", "usual"),
        ("pass", "no output", "usual"),
    ],
)
def test_an_error_names_the_host_and_the_reason(code: str, reason: str, hint: str) -> None:
    with pytest.raises(RigError) as error:
        run_module(HOST, python(code), {}, hint="usual")
    assert error.value.message.startswith("controller: ")
    assert error.value.message.endswith(f": {reason}")
    assert error.value.hint == hint
