"""What `./run selfbench` installs; what `./run audit` says of bad packages, and where nobody can be asked."""

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


def test_without_the_database_of_advisories_it_says_that_nothing_was_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    dev.run_audit()
    said = capsys.readouterr().out
    assert said.count("not audited, because the database of advisories cannot be reached") == 3
    assert "packages audited" not in said


Answer = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Has pip-audit say this of every lock file."""

    def told(packages: list[dict[str, Any]]) -> None:
        text = json.dumps({"dependencies": packages, "fixes": []})
        done = partial(subprocess.CompletedProcess, returncode=int(any(p.get("vulns") for p in packages)), stdout=text)
        monkeypatch.setattr(dev.subprocess, "run", lambda command, **_: done(command, stderr=""))

    return told


SOUND = {"name": "yarl", "version": "1.25.1", "vulns": []}
BROKEN = {"name": "aiohttp", "version": "3.0", "vulns": [{"id": "PYSEC-2024-1"}, {"id": "PYSEC-2024-2"}]}
SKIPPED = {"name": "wrapt", "skip_reason": "Dependency not found on PyPI and could not be audited: wrapt (2.5.2)"}


def test_a_known_vulnerability_fails_it_and_is_shown(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer([SOUND, BROKEN, SKIPPED])
    with pytest.raises(CriterionFailed, match=r"requirements\.lock, requirements-host\.lock, requirements-dev\.lock"):
        dev.run_audit()
    said = capsys.readouterr().out
    assert "2 packages audited, 1 that it does not know; 1 with a known vulnerability" in said
    assert "aiohttp 3.0: PYSEC-2024-1, PYSEC-2024-2" in said


def test_packages_that_were_skipped_are_not_called_sound(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    """A mirror of the package index answers, but has no advisories: pip-audit then ends with 0."""
    answer([SKIPPED])
    dev.run_audit()
    said = capsys.readouterr().out
    assert said.count("not audited") == 3
    assert "vulnerability" not in said


def test_sound_packages_are_counted(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer([SOUND, SOUND])
    dev.run_audit()
    assert "requirements.lock: 2 packages audited; 0 with a known vulnerability" in capsys.readouterr().out


def test_what_a_selfbench_is_measured_beside_is_installed_and_nothing_that_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An apt-get of our own notes what it is asked for, wrk is there already."""
    for name, script in (("apt-get", f'echo "$@" >> {tmp_path}/asked'), ("sudo", 'shift; exec "$@"'), ("wrk", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(dev, "_PATH", str(tmp_path))
    monkeypatch.setattr(dev.importlib, "import_module", lambda _: SimpleNamespace(main=lambda _: None))
    dev.run_selfbench("load", None)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked == ["update -q", "install -q -y --no-install-recommends hey haproxy"]
    assert "installing hey, haproxy (apt-get)" in capsys.readouterr().out
    dev.run_selfbench("app", None)
    assert len((tmp_path / "asked").read_text().splitlines()) == 2, "PostgreSQL is the user's own to install"


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
