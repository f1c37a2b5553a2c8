"""The parts of the tests: each test file is in one of them, and a part that fails fails the whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from harness.cli.suite import parts, pytest_of, run_together
from harness.rig.state import ROOT

PASSES, FAILS = "def test_one(): pass", "def test_two(): assert False"


@pytest.mark.parametrize("fast", [False, True])
def test_each_test_file_is_in_one_part(*, fast: bool) -> None:
    tests = ROOT / "tests"
    files = Counter(
        file
        for paths in parts(tests, fast=fast).values()
        for path in paths
        for file in (path.rglob("test_*.py") if path.is_dir() else [path])
    )
    assert set(files.values()) == {1}
    assert set(files) == {file for file in tests.rglob("test_*.py") if not fast or file.parent != tests / "rig"}


def test_each_part_has_the_option_for_the_run_under_test() -> None:
    """The folder of `./run check` has pytest settings of its own, with which that option is unknown."""
    command = pytest_of([ROOT / "tests/acceptance"], [f"--run={ROOT / 'results/example'}", "--collect-only"])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def written(folder: Path, **texts: str) -> dict[str, list[Path]]:
    for name, text in texts.items():
        (folder / f"test_{name}.py").write_text(text)
    return {name: [folder / f"test_{name}.py"] for name in texts}


@pytest.mark.parametrize(
    ("second", "options", "ends"),
    [
        (f"{PASSES}\n{PASSES.replace('one', 'more')}", [], ([], ["3 passed"])),
        (FAILS, [], (["b"], ["1 passed", "1 failed"])),
        ("import nowhere", [], (["b"], ["1 passed", "1 error"])),
        (FAILS, ["-k", "one"], ([], ["1 passed"])),
        (FAILS, ["-k", "none"], (["a", "b"], ["no test"])),
    ],
)
def test_a_part_that_fails_is_named_and_the_counts_are_added(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    second: str,
    options: list[str],
    ends: tuple[list[str], list[str]],
) -> None:
    failed, counts = ends
    files = written(tmp_path, a=PASSES, b=second)
    commands = {name: pytest_of(paths, options) for name, paths in files.items()}
    assert sorted(run_together(commands, cwd=tmp_path, env={})) == failed
    lines = capsys.readouterr().out.splitlines()
    assert [count for count in counts if count not in lines[-1]] == []
    assert (f">   {FAILS}" in lines) == (failed == ["b"] and second == FAILS)


def test_a_linter_that_fails_is_named_and_its_output_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    commands = {
        "lint": ["sh", "-c", "echo one; echo $WORD; exit 3"],
        "a": pytest_of(written(tmp_path, a=PASSES)["a"], []),
    }
    assert run_together(commands, cwd=tmp_path, env={"WORD": "wrong"}) == ["lint"]
    assert "wrong" in capsys.readouterr().out.splitlines()


def test_a_signal_ends_what_runs_once_and_starts_nothing_more(tmp_path: Path) -> None:
    """Each command takes half a second to clean up; a second Ctrl-C would cut that short."""
    slow = (
        """trap 'sleep 0.5; echo cleaned > $0.cleaned; exit 1' INT; trap 'exit 1' TERM; : > $0.runs; sleep 60 & wait"""
    )
    code = f"""
import pathlib, harness.cli.suite as suite
suite.os.cpu_count = lambda: 1  # three at a time
suite.run_together({{n: ["sh", "-c", {slow!r}, n] for n in "abcd"}}, cwd=pathlib.Path({str(tmp_path)!r}), env={{}})
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, start_new_session=True
    ) as one:
        try:
            deadline = time.monotonic() + 60
            while len(list(tmp_path.glob("*.runs"))) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.killpg(one.pid, signal.SIGINT)
            _, error = one.communicate(timeout=60)
        finally:
            one.kill()
    assert b"KeyboardInterrupt" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{n}.{what}" for n in "abc" for what in ("cleaned", "runs")
    ]
