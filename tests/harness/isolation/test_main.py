"""The module as it is started on a host: one job line in, JSON lines out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.checks.isolation import findings_deadlocks, findings_isolation
from harness.errors import UsageError
from harness.isolation.__main__ import parse

ROOT = Path(__file__).parents[3]


def run_agent(job: Any) -> tuple[int, list[dict[str, Any]], str]:
    process = subprocess.run(
        [sys.executable, "-m", "harness.isolation"],
        input=json.dumps(job) + "\n", capture_output=True, text=True, timeout=60, cwd=ROOT, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    return process.returncode, lines, process.stdout + process.stderr


def test_isolation_on_postgresql(dsn: str) -> None:
    job = {"what": "isolation", "dsn": dsn, "schema": "isolation", "levels": ["SERIALIZABLE"], "cases": ["G0", "G2"]}
    code, lines, text = run_agent(job)
    assert (code, [line["event"] for line in lines]) == (0, ["progress", "progress", "result"])
    assert lines[1] == {"event": "progress", "done": 2, "of": 2, "text": "G2 at SERIALIZABLE: abort 40001"}
    assert [f.verdict for f in findings_isolation(lines[-1]["result"])] == ["pass", "pass"]
    assert "only-for-tests" not in text


def test_isolation_on_sqlite(tmp_path: Path) -> None:
    code, lines, _ = run_agent({"what": "isolation", "sqlite": {"path": str(tmp_path / "a.db"), "profile": "naive"}})
    assert code == 0
    assert lines[-1]["result"]["backend"] == "sqlite-naive"
    assert [f.verdict for f in findings_isolation(lines[-1]["result"])] == ["pass", "pass", "pass"]
    assert not list(tmp_path.iterdir())


def test_deadlocks(dsn: str) -> None:
    code, lines, _ = run_agent({"what": "deadlocks", "dsn": dsn, "schema": "isolation", "pairs": [2]})
    assert code == 0
    assert {f.verdict for f in findings_deadlocks(lines[-1]["result"], log_count=2)} == {"pass"}


def test_an_error_is_reported_as_a_line_and_an_exit_code(dsn: str) -> None:
    code, lines, text = run_agent({"what": "isolation", "dsn": dsn, "schema": "nowhere"})
    assert (code, lines[-1]["exit_code"]) == (3, 3)
    assert "Traceback" not in text
    assert "only-for-tests" not in text


def test_a_terminated_agent_leaves_no_table(dsn: str, query) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.isolation"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    job = {"what": "isolation", "dsn": dsn, "schema": "isolation", "cases": ["G0"] * 2000}
    assert process.stdin
    assert process.stdout
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    process.stdout.readline()  # the first case has run
    process.send_signal(signal.SIGTERM)
    rest, errors = process.communicate(timeout=30)
    assert (process.returncode, json.loads(rest.splitlines()[-1])["message"]) == (130, "interrupted")
    assert not errors
    assert len(rest.splitlines()) < 8000  # it stopped early
    assert query("SELECT count(*) FROM pg_tables WHERE schemaname = 'isolation'") == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"what": "chaos"}, "unknown job"),
        ({"cases": ["G9"]}, "unknown cases: G9"),
        ({"cases": []}, "unknown cases"),
        ({"levels": ["CHAOS"]}, "unknown levels"),
        ({"pairs": [0]}, "pairs"),
        ({"pairs": [41]}, "pairs"),
        ({"pairs": "many"}, "the job on stdin is invalid"),
        ({"dsn": None, "extra": 1}, "unknown keys in the job: extra"),
        ({"what": "deadlocks", "sqlite": {"path": "a", "profile": "naive"}}, "unknown job"),
        ({"sqlite": {}}, "the job on stdin is invalid"),
    ],
)
def test_an_invalid_job_is_rejected(change: dict[str, Any], message: str) -> None:
    job = {"what": "isolation", "dsn": "host=nowhere", "schema": "isolation", **change}
    with pytest.raises(UsageError, match=message):
        parse(json.dumps(job))


DEEP = f'{{"what": "isolation", "dsn": "x", "schema": "s", "cases": {"[" * 200_000}{"]" * 200_000}}}'
INFINITE = '{"what": "deadlocks", "dsn": "x", "schema": "s", "pairs": [1e999]}'


@pytest.mark.parametrize(
    "line",
    ["", "{", "[]", "3", '{"what": "isolation"}', "[" * 200_000, '{"a":' * 200_000, DEEP, INFINITE],
    ids=lambda line: line[:20],
)
def test_a_line_that_is_not_a_job_is_rejected(line: str) -> None:
    with pytest.raises(UsageError):
        parse(line)


def test_the_repr_of_a_job_hides_the_dsn() -> None:
    assert "hush" not in repr(parse('{"what": "isolation", "dsn": "password=hush", "schema": "s"}'))
