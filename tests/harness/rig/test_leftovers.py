"""Folders of load agents: only those of processes that have ended are removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.rig import leftovers
from harness.rig.connection import folder_prefix
from harness.rig.leftovers import remove_leftovers, url_prefix
from harness.rig.state import ROOT


def test_only_the_folders_of_benches_that_have_ended_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "TMP", tmp_path)
    script = "from harness.rig.leftovers import url_prefix; print(url_prefix(), end='')"
    dead = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    parts = url_prefix().removeprefix(folder_prefix("")).rstrip("+").split(".")
    elsewhere = f"{folder_prefix('')}{parts[0]}.1.{int(parts[2]) + 1}+"
    reused = f"{folder_prefix('')}{parts[0]}.{int(parts[1]) - 1}.{parts[2]}+"
    names = [f"{dead.stdout}a", f"{reused}a", f"{url_prefix()}a", f"{elsewhere}a", f"{folder_prefix('')}a"]
    for name in (*names, f"{folder_prefix('local')}a", "other"):
        (tmp_path / name / "main-0").mkdir(parents=True)
    (tmp_path / f"{dead.stdout}link").symlink_to(tmp_path / "other")
    remove_leftovers()
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names[2:], f"{folder_prefix('local')}a", "other", f"{dead.stdout}link"}
    assert (tmp_path / "other/main-0").is_dir()
    assert os.getpid() == int(parts[0])
