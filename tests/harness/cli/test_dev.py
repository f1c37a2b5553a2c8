"""The tasks for development: which programs they run, what an audit reports, what a self-benchmark installs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli import dev
from harness.errors import CriterionFailed


def test_an_audit_without_the_database_of_advisories_reports_that(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # no server listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    dev.run_audit()
    output = capsys.readouterr().out
    assert output.count("not audited, because the database of advisories is not reachable") == len(dev.LOCKS)
    assert "packages audited" not in output


AuditOutput = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def audit_output(monkeypatch: pytest.MonkeyPatch) -> AuditOutput:
    """Replaces pip-audit: it prints these packages for every lock file."""

    def replace(packages: list[dict[str, Any]]) -> None:
        text = json.dumps({"dependencies": packages, "fixes": []})
        done = partial(subprocess.CompletedProcess, returncode=int(any(p.get("vulns") for p in packages)), stdout=text)
        monkeypatch.setattr(dev.subprocess, "run", lambda command, **_: done(command, stderr=""))

    return replace


SAFE = {"name": "yarl", "version": "1.25.1", "vulns": []}
BROKEN = {"name": "aiohttp", "version": "3.0", "vulns": [{"id": "PYSEC-2024-1"}, {"id": "PYSEC-2024-2"}]}
SKIPPED = {"name": "wrapt", "skip_reason": "Dependency not found on PyPI and could not be audited: wrapt (2.5.2)"}


def test_a_known_vulnerability_fails_the_audit_and_is_printed(
    audit_output: AuditOutput, capsys: pytest.CaptureFixture[str]
) -> None:
    audit_output([SAFE, BROKEN, SKIPPED])
    with pytest.raises(CriterionFailed, match=r"requirements\.lock, requirements-host\.lock, requirements-dev\.lock"):
        dev.run_audit()
    output = capsys.readouterr().out
    assert "2 packages audited, 1 not found in the database; 1 with a known vulnerability" in output
    assert "aiohttp 3.0: PYSEC-2024-1, PYSEC-2024-2" in output


def test_skipped_packages_are_reported_as_not_audited(
    audit_output: AuditOutput, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mirror of the package index has no advisories: pip-audit then skips all packages and ends with 0."""
    audit_output([SKIPPED])
    dev.run_audit()
    output = capsys.readouterr().out
    assert output.count("not audited") == len(dev.LOCKS)
    assert "vulnerability" not in output


def test_packages_without_vulnerabilities_are_counted(
    audit_output: AuditOutput, capsys: pytest.CaptureFixture[str]
) -> None:
    audit_output([SAFE, SAFE])
    dev.run_audit()
    assert "requirements.lock: 2 packages audited; 0 with a known vulnerability" in capsys.readouterr().out


def test_a_selfbench_installs_the_missing_programs_that_it_compares_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fake apt-get records its arguments; wrk is already installed."""
    for name, script in (("apt-get", f'echo "$@" >> {tmp_path}/arguments'), ("sudo", 'shift; exec "$@"'), ("wrk", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(dev, "_PATH", str(tmp_path))
    monkeypatch.setattr(dev.importlib, "import_module", lambda _: SimpleNamespace(main=lambda _: None))
    dev.run_selfbench("load", None)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments == ["update -q", "install -q -y --no-install-recommends hey haproxy"]
    assert "installing hey, haproxy (apt-get)" in capsys.readouterr().out
    dev.run_selfbench("app", None)
    assert len((tmp_path / "arguments").read_text().splitlines()) == 2, "a selfbench does not install PostgreSQL"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the programs that a task runs; mypy is the one that fails."""
    names: list[str] = []

    def call(name: str, command: list[str], env: object = None) -> bool:
        names.append(name)
        return name != "mypy"

    monkeypatch.setattr(dev, "_call", call)
    return names


@pytest.mark.parametrize(("fix", "first"), [(False, []), (True, ["ruff check --fix", "ruff format"])])
def test_lint_runs_every_linter_and_corrects_first_if_asked(calls: list[str], fix: bool, first: list[str]) -> None:
    with pytest.raises(CriterionFailed, match=r"^lint: mypy$") as failed:
        dev.run_lint(fix=fix)
    assert calls == [*first, "ruff format --check", "ruff check", "mypy", "ansible-lint", "yamllint"]
    assert failed.value.hint == "./run lint --fix corrects most of it"


def test_docs_runs_the_generator(calls: list[str]) -> None:
    dev.run_docs()
    assert calls == ["docs"]
