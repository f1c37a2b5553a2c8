"""Removes a stored run: the folder, and `latest` where it pointed to the run."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from harness.errors import CrucibleError, UsageError
from harness.store.files import disk_errors, update_symlink
from harness.store.run_reader import load_run
from harness.text import printable


def size_of(path: Path) -> int:
    """Returns the bytes of all files below a run's folder; links are not followed."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):  # a bench may write meanwhile
                total += (Path(folder) / name).lstat().st_size
    return total


def require_run(path: Path, root: Path) -> None:
    """Raises UsageError unless `path` is a run: readable anywhere, or, if damaged, a folder directly below `root`."""
    if path.parent == root.resolve() and path.is_dir():
        return
    try:
        load_run(path)
    except CrucibleError as error:
        raise UsageError(
            f"{printable(path)} is not removed: it is not below {printable(root)}/ and cannot be read as a run: "
            + error.message,
            hint="remove it yourself, if it is what you mean",
        ) from None


def remove_run(path: Path, root: Path) -> None:
    """Removes the run at `path`; `root`/latest then names the newest run that is left, or is gone. Raises RigError."""
    latest = root / "latest"
    was_latest = latest.is_symlink() and latest.resolve() == path.resolve()
    with disk_errors(path):
        shutil.rmtree(path)
    if not was_latest:
        return
    left = sorted(entry.parent.name for entry in root.glob("*/run.yml") if not entry.parent.is_symlink())
    if left:
        update_symlink(latest, left[-1])
    else:
        with disk_errors(latest):
            latest.unlink()
