"""Every wait has a deadline: what can be seen in the source."""

from __future__ import annotations

import ast

import pytest

from tests.conftest import ROOT

EXEMPT = ("harness/cli/dev.py", "harness/cli/hosts.py", "harness/selfbench/", "harness/host_scripts/")
"""What a user watches and ends with Ctrl-C; what runs on hosts, where the controller bounds the whole command."""
FILES = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "harness").rglob("*.py"))]


def unbounded(source: str) -> list[str]:
    """Returns the calls of subprocess.run without `timeout`, as line and text."""
    return [
        f"{node.lineno}: {ast.unparse(node)[:60]}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("subprocess.run", "subprocess.check_output", "subprocess.check_call")
        and not any(keyword.arg in ("timeout", None) for keyword in node.keywords)
    ]


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(EXEMPT)])
def test_every_command_of_the_controller_has_a_deadline(file: str) -> None:
    assert unbounded((ROOT / file).read_text(encoding="utf-8")) == []


def test_a_command_without_a_deadline_is_found() -> None:
    assert unbounded("import subprocess\nsubprocess.run(['pip'], check=True)\n") == [
        "2: subprocess.run(['pip'], check=True)"
    ]
