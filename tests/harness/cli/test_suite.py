"""The parts of the tests: each test file is in one of them, and a part that fails fails the whole."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.cli import suite
from harness.cli.suite import parts, run_parts
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
        (FAILS, ["-k", "one"], ([], ["1 passed", "1 deselected"])),
        (FAILS, ["-k", "none"], (["a", "b"], ["2 deselected"])),
    ],
)
def test_a_part_that_fails_is_named_and_the_counts_are_added(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second: str, options: list[str], ends: tuple[list[str], list[str]]
) -> None:
    failed, counts = ends
    lines: list[str] = []
    monkeypatch.setattr(suite, "say", lines.append)
    assert sorted(run_parts(written(tmp_path, a=PASSES, b=second), options, cwd=tmp_path)) == failed
    assert [count for count in counts if count not in lines[-1]] == []
    assert ("assert False" in "".join(lines)) == (failed == ["b"] and second == FAILS)
