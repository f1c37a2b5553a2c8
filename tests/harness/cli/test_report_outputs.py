"""`report` with --format, --svg, --junit and --open: what is written where, and errors in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import webbrowser
from pathlib import Path

import pytest

from harness.cli.report_outputs import Outputs, run_outputs
from harness.errors import RigError, UsageError
from harness.report.outputs.browser import opened
from harness.rig.state import ROOT
from harness.store.run_reader import load_run
from tests.harness.cli.test_console import shell


@pytest.fixture
def example(tmp_path: Path) -> Path:
    run = Path(shutil.copytree(ROOT / "results/example", tmp_path / "example"))
    (run / "report.html").unlink()
    return run


def ended(line: str) -> tuple[int, str, str]:
    done: subprocess.CompletedProcess[bytes] = shell(line, DISPLAY="", WAYLAND_DISPLAY="", BROWSER="")
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_document_is_alone_on_standard_output_and_leaves_the_run_alone(example: Path, tmp_path: Path) -> None:
    before = sorted(example.rglob("*"))
    svg, junit = tmp_path / "a/b", tmp_path / "j.xml"
    code, out, err = ended(f"$HARNESS report --run {example} --format json --svg {svg} --junit {junit}")
    assert (code, json.loads(out)["run"]["id"]) == (0, load_run(example).run_id)
    assert err == f"junit: {junit}\nsvg: {len(list(svg.iterdir()))} pictures in {svg}\n"
    assert junit.read_text().startswith("<?xml")
    code, out, err = ended(f"$HARNESS report --run {example} --format md")
    assert (code, out[:3], err) == (0, "## ", "")
    assert sorted(example.rglob("*")) == before


def test_the_summary_is_printed_and_the_page_written_with_the_other_files(example: Path, tmp_path: Path) -> None:
    code, out, err = ended(f"$HARNESS report --run {example} --junit {tmp_path / 'j.xml'} --open")
    assert (code, err) == (0, "")
    assert "success criteria" in out
    assert out.endswith(f"junit: {tmp_path / 'j.xml'}\nno display here: open {example / 'report.html'} in a browser\n")
    assert (example / "report.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format html", "--format: there is no 'html'"),
        ("--format md --json", "--format does not go with --json"),
        ("--junit x.xml --compare x", "--junit does not go with --compare"),
        ("--svg {run}/run.yml", "--svg {run}/run.yml: File exists"),
        ("--svg {run}/run.yml/x", "--svg {run}/run.yml/x: Not a directory"),
        ("--junit {run}/nowhere/j.xml", "--junit {run}/nowhere/j.xml: its folder does not exist"),
        ("--junit {run}", "--junit {run}: it exists and is no file"),
        ("--junit /dev/null", "--junit /dev/null: it exists and is no file"),
    ],
)
def test_a_wrong_option_is_one_line(example: Path, options: str, message: str) -> None:
    code, out, err = ended(f"$HARNESS report --run {example} {options.format(run=example)}")
    first, *hints = err.splitlines()
    assert (code, out, first) == (2, "", f"error: {message.format(run=example)}")
    assert [hint[:6] for hint in hints] == ["hint: "]


def test_a_file_that_cannot_be_written_is_an_error_of_the_machine(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, _: str) -> None:
        raise RigError(f"{path}: No space left on device", hint="free disk space; finished trials are kept")

    monkeypatch.setattr("harness.cli.report_outputs.write_atomically", fails)
    with pytest.raises(RigError, match="No space left") as error:
        run_outputs(str(example), Outputs(format="md", svg=str(tmp_path)))
    assert "trials" not in error.value.hint


def test_nothing_wanted_excludes_nothing() -> None:
    assert not Outputs()
    Outputs().require_alone("--json")
    with pytest.raises(UsageError):
        Outputs(open=True).require_alone("--json")


@pytest.mark.parametrize(
    ("environ", "starts", "line"),
    [
        ({"DISPLAY": ":0"}, True, "opened: /x/report.html"),
        ({"DISPLAY": ":0"}, False, "no browser could be started: open /x/report.html in one"),
        ({"BROWSER": "lynx"}, True, "opened: /x/report.html"),
        ({"DISPLAY": ""}, True, "no display here: open /x/report.html in a browser"),
    ],
)
def test_opening(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], line: str, *, starts: bool) -> None:
    asked: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: asked.append(url) or starts)
    assert opened(Path("/x/report.html"), environ) == line
    assert asked == ([] if "no display" in line else ["file:///x/report.html"])
