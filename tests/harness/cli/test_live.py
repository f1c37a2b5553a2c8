"""Changing lines on a real pseudo-terminal, and plain lines elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from harness.cli.live import elapsed
from harness.rig.state import ROOT
from tests.support.terminal import on_terminal

PROGRAM = """
import sys, time
from harness.cli.console import progress, protect_standard_files
from harness.cli.live import live_lines
protect_standard_files()
with progress(quiet="--quiet" in sys.argv, as_json="--json" in sys.argv), live_lines("rig paper") as echo:
    echo("3 hosts: db-1, app-1, load-1")
    for number in range(1, 4):
        echo(f"task {number} of about 3: roles: Ensure that a line which is rather long is cut at the terminal's edge")
        time.sleep(0.4)
    echo("bundle: packages for Python 3.11")
print("the result")
"""
COMMAND = [sys.executable, "-c", PROGRAM]
CURSOR = re.compile(r"\x1b\[\d*[AK]|\x1b\[\?25l")
COLOUR = re.compile(r"\x1b\[[\d;]+m")


def plain(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)


@pytest.mark.parametrize("columns", [40, 120])
def test_a_terminal_has_changing_lines_that_fit_it(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, text = on_terminal(COMMAND, columns, {})
    assert code == 0
    assert CURSOR.search(text)
    lines = [re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", line) for line in re.split(r"\r?\n|\r|\x1b\[1A", text)]
    assert max(map(len, lines)) <= columns
    assert "3 hosts: db-1, app-1, load-1" in lines
    assert any(re.match(r"rig paper  0:0\d", line) for line in lines)
    assert any(line.startswith("task 3 of about 3: roles: Ensure") for line in lines)
    assert "the result" in lines


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"CI": "true"}], ids=str)
def test_a_terminal_that_nobody_watches_gets_plain_lines(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, text = on_terminal(COMMAND, 80, env)
    assert code == 0
    assert "\x1b" not in text
    assert re.search(r"0:0\d  task 2 of about 3", text)


def test_no_color_has_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, text = on_terminal(COMMAND, 80, {"NO_COLOR": "1"})
    assert CURSOR.search(text)
    assert not COLOUR.search(text)


def test_a_pipe_gets_one_line_after_the_other_and_json_has_standard_output_for_itself() -> None:
    done = plain()
    lines = [line.partition("  ")[2] for line in done.stdout.splitlines()[:-1]]
    assert lines[0] == "3 hosts: db-1, app-1, load-1"
    assert [line.split(":")[0] for line in lines[1:4]] == [f"task {n} of about 3" for n in (1, 2, 3)]
    assert (done.stderr, "\x1b" in done.stdout) == ("", False)
    done = plain("--json")
    assert done.stdout == "the result\n"
    assert "task 2 of about 3" in done.stderr


def test_quiet_prints_the_result_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    done = plain("--quiet")
    assert (done.stdout, done.stderr) == ("the result\n", "")
    monkeypatch.chdir(ROOT)
    assert on_terminal([*COMMAND, "--quiet"], 80, {})[1] == "the result\r\n"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.9, "1:05"), (3723, "1:02:03"), (-1, "0:00")])
def test_elapsed_time(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text
