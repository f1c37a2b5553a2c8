"""What the repository holds: text, and no download that somebody left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def binaries(folder: Path) -> list[str]:
    """The files under version control, or about to be, that hold a NUL byte."""
    command = ["git", "-C", str(folder), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, check=True).stdout.decode().split("\0")
    files = [name for name in names if name and (folder / name).is_file()]
    return [name for name in files if b"\0" in (folder / name).read_bytes()]


def test_the_repository_holds_no_binary_file() -> None:
    assert binaries(ROOT) == []


def test_a_download_that_was_left_behind_is_found(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "tool-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04\x00")
    (tmp_path / "README.md").write_text("A page.\n", encoding="utf-8")
    assert binaries(tmp_path) == ["tool-1.0-py3-none-any.whl"]
