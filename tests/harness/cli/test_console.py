"""Output that cannot be written or encoded never ends a task, and exit code 1 is that of a failed criterion only."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.cli import console
from harness.rig.state import ROOT

COMMAND = [sys.executable, "-m", "harness"]
CRASH = """
import sys, tasks
from harness import __main__ as program
from harness.cli import runs
def crash(*_, **__):
    {statement}
runs.run_scenarios = crash
sys.argv = ["./run", "scenarios"]
program.main()
"""


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose page has few charts, because dozens of processes write it: the charts of telemetry are left out."""
    run = Path(shutil.copytree(ROOT / "results/example", tmp_path_factory.mktemp("runs") / "example"))
    (run / "telemetry.csv").unlink()
    return run


def shell(line: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of bash in which $HARNESS is the program."""
    return subprocess.run(
        ["/bin/bash", "-c", line],
        cwd=ROOT, env={**os.environ, "HARNESS": " ".join(COMMAND), **env},
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("task", ["report", "report --json", "check", "check --recheck"])
def test_a_reader_that_ends_early_changes_no_exit_code(example: Path, task: str) -> None:
    run = str(example) if task == "check --recheck" else f"--run {example}"
    for _ in range(2):
        done = shell(f"$HARNESS {task} {run} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}")
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("task", ["--list", "bench --help", "scenarios", "--version"])
def test_help_and_lists_may_be_cut_too(task: str) -> None:
    done = shell(f"$HARNESS {task} | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_the_output_is_one_line_and_no_failed_criterion(example: Path) -> None:
    done = shell(f"$HARNESS report --run {example} >/dev/full")
    assert done.returncode == 3
    assert done.stderr.startswith(b"error: standard output could not be written: No space left on device\nhint: ")
    assert shell(f"$HARNESS report --run {example} 2>/dev/full").returncode == 0
    assert shell(f"$HARNESS report --run {example}/nowhere 2>/dev/full").returncode == 2


@pytest.mark.parametrize(
    "closed", [" ".join(c) for n in (1, 2, 3) for c in itertools.combinations(("<&-", ">&-", "2>&-"), n)]
)
def test_closed_standard_files_change_no_exit_code_and_no_page(example: Path, closed: str) -> None:
    page = example / "report.html"
    page.unlink(missing_ok=True)
    done = shell(f"$HARNESS report --run {example} {closed}")
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert page.read_text().rstrip().endswith("</html>")


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONUTF8": "0", "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}, {"LANG": "C", "LC_ALL": ""},
        {"PYTHONIOENCODING": "cp437"}, {"COLUMNS": "0"}, {"COLUMNS": "1", "LINES": "0"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("task", ["report", "check"])
def test_a_terminal_without_unicode_shows_the_result(example: Path, task: str, env: dict[str, str]) -> None:
    done = shell(f"$HARNESS {task} --run {example}", **env)
    assert (done.returncode, done.stderr) == (0, b"")
    if task == "report":
        text = done.stdout.decode("latin-1")
        assert "PASS: " in text
        assert "? 1,000 concurrent writes" not in text, "a question mark is the mark of an unknown criterion"


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("raise OSError(5, 'Input/output error', '/somewhere')", 3),
        ("raise MemoryError", 3),
        ("raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'bad \\x1b[2J')", 70),
        ("return crash()", 70),
        ("raise ZeroDivisionError", 70),
        ("raise type('PanicException', (BaseException,), {})('panicked')", 70),
        ("raise KeyboardInterrupt", 130),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_unexpected_error_is_one_line_and_its_traceback_is_stored(tmp_path: Path, statement: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH.format(statement=statement)],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    if code != 130:
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
        (stored,) = tmp_path.glob("pgcrucible-traceback-*.txt")
        assert str(stored) in done.stderr
        assert "Traceback" in stored.read_text()


def test_ctrl_c_outside_of_a_task_exits_with_130() -> None:
    code = CRASH.format(statement="pass") + "\n"
    code = code.replace("program.main()", "program.CommandLine.parse_tasks = interrupt\nprogram.main()")
    done = subprocess.run(
        [sys.executable, "-c", "def interrupt(_):\n    raise KeyboardInterrupt\n" + code],
        cwd=ROOT, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 130


def test_messages_show_no_control_character_of_a_file(example: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(example, tmp_path / "\x1b[31mred"))
    evidence = run / "evidence/001.json"
    for task, text in (("check", evidence.read_text().replace('"', '\x1b[2J"', 1)), ("report", "")):
        evidence.write_text(text or evidence.read_text())
        done = shell(f"$HARNESS {task} --run '{run}'")
        assert b"\x1b" not in done.stdout + done.stderr
        assert done.returncode in (0, 2)


def test_check_of_a_damaged_file_is_a_usage_error_and_no_failed_criterion(example: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(example, tmp_path / "damaged"))
    (run / "evidence/001.json").write_text("{")
    done = shell(f"$HARNESS check --run {run}")
    assert done.returncode == 2
    assert b"the evidence file is damaged" in done.stderr


def test_check_that_cannot_open_a_file_is_no_failed_criterion(example: Path) -> None:
    done = shell(f"ulimit -n 12; $HARNESS check --run {example}")
    assert done.returncode == 3, done.stdout
    assert b"could not be judged" in done.stderr


def test_check_sees_a_wrong_run_whatever_the_environment_says(example: Path, tmp_path: Path) -> None:
    """With PYTHONOPTIMIZE no assertion fails."""
    run = Path(shutil.copytree(example, tmp_path / "wrong"))
    samples = next((run / "samples").glob("001-main.csv"))
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join([*lines, lines[-1]]))
    done = shell(
        f"$HARNESS check --run {run}", PYTHONOPTIMIZE="2", PYTHONWARNINGS="ignore", PYTEST_ADDOPTS="-k nothing"
    )
    assert done.returncode == 1, done.stdout


@pytest.mark.parametrize("task", ["report --run {run} --json", "compare {run} {run} --json", "scenarios --json"])
def test_json_output_is_strict(example: Path, tmp_path: Path, task: str) -> None:
    run = Path(shutil.copytree(example, tmp_path / "infinite"))
    manifest = run / "run.yml"
    manifest.write_text(manifest.read_text().replace("\nsettings:\n", "\nsettings:\n  odd: 1.0e+999\n", 1))
    done = shell(f"$HARNESS {task.format(run=run)}")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout, parse_constant=pytest.fail)


def test_lines_in_the_background_are_printed_in_order_and_before_what_follows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with console.background_lines():
        for number in range(1000):
            console.say(str(number))
    console.say("last")
    assert capsys.readouterr().out.split() == [*map(str, range(1000)), "last"]


def test_lines_that_cannot_be_written_are_dropped_at_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "DRAIN_S", 0.2)
    monkeypatch.setattr(console, "_is_writable", lambda: time.sleep(0.01))
    before = set(threading.enumerate())
    with console.background_lines():
        console.say("never printed")
    assert set(threading.enumerate()) <= before
    assert capsys.readouterr().out == ""
