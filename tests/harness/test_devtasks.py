"""`./run audit`: what it says of packages that are known to be vulnerable, and where nobody can be asked."""

from __future__ import annotations

import subprocess

import pytest

from harness import devtasks
from harness.errors import CriterionFailed


def test_without_the_database_of_advisories_it_says_that_nothing_was_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    devtasks.run_audit()
    said = capsys.readouterr().out
    assert said.startswith("not audited, because the database of advisories cannot be reached")
    assert "no known vulnerability" not in said


def test_a_known_vulnerability_fails_it_and_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = "Found 1 known vulnerability in 1 package\nName Version ID\naiohttp 3.0 PYSEC-2024-1\n"
    monkeypatch.setattr(
        devtasks.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, found, "")
    )
    with pytest.raises(CriterionFailed, match=r"requirements\.lock"):
        devtasks.run_audit()
    assert "PYSEC-2024-1" in capsys.readouterr().out
