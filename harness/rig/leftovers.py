"""Folders of load agents under /tmp of this machine: whose they are, and those of benches by URL that were killed.

A rig's folders are removed under the rig's lock. A bench by URL has no lock, so its folders name its process.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from harness.rig.connection import folder_prefix

TMP = Path("/tmp")  # noqa: S108  # the agents make their folders there (0700)
_NAME = re.compile(re.escape(folder_prefix("")) + r"(\d+)\.(\d+)\.(\d+)\+")


def url_prefix() -> str:
    """Returns the start of the names of this process's folders: its id, start time and namespace of processes."""
    return f"{folder_prefix('')}{os.getpid()}.{_started(os.getpid())}.{_namespace()}+"


def remove_leftovers() -> None:
    """Removes the folders of processes that have ended. Those of other users and containers are left alone."""
    for folder in TMP.glob(f"{folder_prefix('')}*"):
        named = _NAME.match(folder.name)
        if not named or folder.is_symlink() or folder.stat().st_uid != os.geteuid():
            continue
        pid, started, namespace = map(int, named.groups())
        if namespace == _namespace() and _started(pid) != started:
            shutil.rmtree(folder, ignore_errors=True)


def _started(pid: int) -> int:
    """Returns when a process started, in clock ticks since the boot; 0 if there is none (proc(5), stat, field 22)."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino
