"""A folder of results that cannot be written or read: one line, a hint, exit code 3 or 2, and nothing is left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import bench
from harness.errors import RigError, UsageError
from harness.rig import state
from harness.store.run_reader import find_run
from harness.store.run_writer import RunWriter
from tests.support.stored_runs import CODE, RIG


def broken_link(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nowhere")
    return folder / "link"


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


def latest_is_a_folder(folder: Path) -> Path:
    (folder / "results/latest").mkdir(parents=True)
    return folder / "results"


WAYS: dict[str, Callable[[Path], Path]] = {
    "a file": file,
    "below a file": lambda folder: file(folder) / "results",
    "a broken link": broken_link,
    "below a broken link": lambda folder: broken_link(folder) / "results",
    "a loop of links": loop,
    "a name too long": lambda folder: folder / ("x" * 300),
    "a path too long": lambda folder: folder / ("x/" * 3000),
    "read-only": lambda _: Path("/proc/results"),
    "read-only itself": lambda _: Path("/sys/kernel"),
    "a device": lambda _: Path("/dev/null"),
    "latest is a folder": latest_is_a_folder,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_folder_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path: Path, way: str) -> None:
    root = WAYS[way](tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RigError) as caught:
        RunWriter.start(root, code=CODE, rig=RIG, options={})
    assert "\n" not in caught.value.message
    assert "PGCRUCIBLE_RESULTS" in caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"latest is a folder"}))
def test_a_folder_that_cannot_be_read_has_no_run(tmp_path: Path, way: str) -> None:
    root = WAYS[way](tmp_path)
    for which in (None, "20250101-000000", "x" * 5000, "a\0b"):
        with pytest.raises(UsageError) as caught:
            find_run(which, root)
        assert caught.value.message.isprintable()


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(RigError, match="No space left on device") as caught:
        RunWriter.start(tmp_path / "results", code=CODE, rig=RIG, options={})
    assert "free disk space" in caught.value.hint
    assert list((tmp_path / "results").iterdir()) == []


def test_a_missing_parent_is_made(tmp_path: Path) -> None:
    assert RunWriter.start(tmp_path / "a/b/c", code=CODE, rig=RIG, options={}).path.is_dir()


def harness(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs the program as `run` does for a user who is in `cwd`."""
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        cwd=state.ROOT, env={**os.environ, "PGCRUCIBLE_CWD": str(cwd), **env},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user with a folder of results, and files that Python would import from the current folder."""
    run = RunWriter.start(tmp_path / "mine", code=CODE, rig=RIG, options={}).path
    run.rename(tmp_path / "mine/one")
    for name in ("json.py", "harness.py", "ansible.py", "tasks.py"):
        (tmp_path / name).write_text("raise SystemExit('imported from the folder of the user')")
    return tmp_path


def test_paths_are_relative_to_the_folder_of_the_user(folder: Path) -> None:
    for arguments, env in (
        (("--run", "mine/one"), {}),
        (("--run", "one"), {"PGCRUCIBLE_RESULTS": "mine"}),
        (("--run", "./mine/../mine/one/"), {}),
    ):
        done = harness("report", *arguments, cwd=folder, **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert "report: mine/one/report.html" in done.stdout, "the path can be pasted where the user is"
    assert harness("check", "--run", "mine/one", cwd=folder).returncode == 2
    assert harness("report", "--run", "example", cwd=folder).returncode == 0, "an id is looked up in the results"
    inventory = folder / "my.yml"
    inventory.write_text("all: {children: {nonsense: {}}}\n")
    done = harness("provision", "--rig", "no-such-rig-here", "--inventory", "my.yml", cwd=folder)
    assert done.returncode == 2
    assert str(inventory) in done.stderr
    done = harness("selfbench", "load", "--json", "nowhere/x", cwd=folder)
    assert f"{folder}/nowhere" in done.stderr


def test_a_folder_of_the_user_that_is_gone_is_one_line(tmp_path: Path) -> None:
    done = harness("status", cwd=tmp_path / "gone")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


GIT = {"ok": "echo abc", "refuses": "echo 'fatal: detected dubious ownership' >&2; exit 128", "hangs": "sleep 60"}


@pytest.mark.parametrize("way", ["missing", "not executable", *GIT])
def test_without_an_answer_of_git_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way != "missing":
        (tmp_path / "git").write_text(f"#!/bin/sh\n{GIT.get(way, '')}\n")
        (tmp_path / "git").chmod(0o644 if way == "not executable" else 0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if way in GIT else str(tmp_path))
    monkeypatch.setattr(bench, "GIT_S", 0.5)
    record = bench.code_record(7)
    assert (record.commit, record.dirty) == ("unknown", False)


def test_the_commit_of_a_repository_around_the_checkout_is_not_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr(state, "ROOT", tmp_path / "unpacked")
    assert bench.code_record(7).commit == "unknown"
    monkeypatch.setattr(state, "ROOT", tmp_path)
    assert len(bench.code_record(7).commit) == 40
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert len(bench.code_record(7).commit) == 40, "in a git hook"
