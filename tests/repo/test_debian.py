"""Programs of the tests: what is missing is found, and installed by apt."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import debian


def test_what_is_missing_is_installed_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("apt-get", f'echo "$@" >> {tmp_path}/arguments'), ("sudo", 'shift; exec "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.missing(rigs=False) == {"chromium", "zsh", "fish"}
    assert debian.missing(rigs=True) > {"chromium", "zsh", "fish", "podman"}
    debian.install(["zsh"])
    debian.install([])
    assert (tmp_path / "arguments").read_text() == "update -q\ninstall -q -y --no-install-recommends zsh\n"
