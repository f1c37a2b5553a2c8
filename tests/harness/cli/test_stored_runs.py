"""The tasks ls and rm: what they show of stored runs, and what they refuse to remove."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.cli import stored_runs
from harness.errors import RigError, UsageError
from harness.rig import state
from harness.rig.state import ROOT
from harness.store.run_reader import load_run
from harness.store.run_writer import RunWriter
from tests.support.stored_runs import CODE, RIG, recorded, row


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results with a finished example, an aborted run, a damaged one and a folder that is none."""
    root = tmp_path / "results"
    monkeypatch.setattr(stored_runs, "RESULTS", root)
    writer = recorded(root, row())
    writer.manifest.started = "2026-03-01T00:00:00Z"
    writer.save("aborted")
    writer.path.rename(root / "older")
    (root / "latest").unlink()
    (root / "latest").symlink_to("older")
    shutil.copytree(ROOT / "results/example", root / "example")
    (root / "broken").mkdir()
    (root / "broken/run.yml").write_text("format: 1\nrun_id: \x1b[2J\n")
    (root / "notes").mkdir()
    return root


def test_runs_are_listed_newest_first_and_damaged_ones_are_named(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored_runs.run_ls(as_json=False)
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "verdict", "trials", "size", "what"]
    by_name = {line.split()[0]: line for line in lines}
    order = sorted(("example", "older"), key=lambda name: load_run(root / name).manifest.started, reverse=True)
    assert list(by_name) == [*order, "notes", "broken"]
    assert by_name["example"].split()[1:3] == ["pass", str(len(load_run(root / "example").rows))]
    assert by_name["example"].endswith("concurrent-writes, isolation, deadlocks, 4 hosts, rig local")
    assert by_name["older"].split()[1:3] == ["aborted", "1"]
    assert by_name["broken"].split()[1] == "damaged"
    assert "run.yml" in by_name["broken"]
    assert by_name["notes"].split()[1] == "damaged"
    assert "\x1b" not in "".join(lines)


def test_the_list_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored_runs.run_ls(as_json=True)
    runs = {run["run_id"]: run for run in json.loads(capsys.readouterr().out)}
    size = sum(path.stat().st_size for path in (root / "example").rglob("*") if path.is_file())
    assert (runs["example"]["verdict"], runs["example"]["bytes"]) == ("pass", size)


def test_no_runs_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stored_runs, "RESULTS", tmp_path / "nowhere")
    stored_runs.run_ls(as_json=False)
    assert "no run in " in capsys.readouterr().out
    stored_runs.run_ls(as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_a_run_is_removed_and_latest_names_the_newest_that_is_left(root: Path) -> None:
    stored_runs.run_rm("older", yes=True)
    assert not (root / "older").exists()
    assert (root / "latest").resolve() == root / "example"
    stored_runs.run_rm("broken", yes=True)
    assert not (root / "broken").exists()
    stored_runs.run_rm("latest", yes=True)
    assert not (root / "example").exists()
    assert not (root / "latest").is_symlink()
    assert (root / "notes").is_dir()


def test_what_is_no_run_is_refused_with_the_nearest_name(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run at 'exampel'") as wrong:
        stored_runs.run_rm("exampel", yes=True)
    assert wrong.value.hint == "did you mean 'example'?"
    for which in ("notes", str(tmp_path), "/", "."):
        with pytest.raises(UsageError, match="no run at"):
            stored_runs.run_rm(which, yes=True)
    elsewhere = tmp_path / "project"
    elsewhere.mkdir()
    (elsewhere / "run.yml").write_text("steps: []\n")
    with pytest.raises(UsageError, match=r"is not removed: it is not below .* cannot be read as a run"):
        stored_runs.run_rm(str(elsewhere), yes=True)
    assert (elsewhere / "run.yml").exists()
    assert (root / "example").exists()


def test_a_link_is_never_followed_out_of_a_run(root: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (root / "older/samples").rmdir()
    (root / "older/samples").symlink_to(precious)
    stored_runs.run_rm("older", yes=True)
    assert (precious / "file").exists()


@pytest.mark.parametrize(("answer", "removed"), [("y", True), ("yes", True), ("n", False), ("", False)])
def test_a_terminal_is_asked(root: Path, monkeypatch: pytest.MonkeyPatch, answer: str, removed: bool) -> None:
    questions: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: (questions.append(question), answer)[1])
    if removed:
        stored_runs.run_rm("example", yes=False)
    else:
        with pytest.raises(UsageError, match="not removed"):
            stored_runs.run_rm("example", yes=False)
    assert questions[0].startswith("remove run example (pass, ")
    assert (root / "example").exists() is not removed


def test_without_a_terminal_only_yes_removes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(UsageError, match="there is no terminal to ask on"):
        stored_runs.run_rm("example", yes=False)
    assert (root / "example").exists()


def test_a_run_that_is_measured_stays(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    rig = RIG.model_copy(update={"name": "t-rm-measured"})
    writer = RunWriter.start(root, code=CODE, rig=rig, options={})
    with state.locked(rig.name), pytest.raises(RigError, match="may still be measured"):
        stored_runs.run_rm(str(writer.path), yes=True)
    assert writer.path.exists()
    stored_runs.run_rm(str(writer.path), yes=True)
    assert not writer.path.exists()
