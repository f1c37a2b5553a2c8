"""Ends the processes of a play, also if the harness itself was killed.

Ansible's workers leave its process group, so a play's processes are found by an environment variable that they inherit:
the play's private folder. Programs that have to outlive the play (containers, virtual machines) are started without it.

As a program (`python play_processes.py FOLDER`) this module watches a play: it holds the rig's lock and the reading end
of a pipe. If the pipe closes without a line, the harness has died: the watcher ends the play and removes its folder, in
which passwords are. Only then is the lock free. Standard library only, because it is started in each play.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PGCRUCIBLE_PLAY"
PREFIX = "play-"
GRACE_S = 5.0
"""From SIGTERM to SIGKILL."""
KILL_S = 10.0
"""Longest wait for killed processes: one in a system call that does not end stays."""
POLL_S = 0.1
STABLE = 3
"""Number of polls without a process that show the end: between fork and exec a process is not recognized."""


def processes(folder: Path, variable: str = VARIABLE) -> list[int]:
    """Returns the ids of all processes that inherited `variable` with that folder, except this one."""
    wanted = f"{variable}={folder}".encode(errors="surrogateescape")
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    pids.append(int(entry.name))
    return pids


def end(folder: Path, *, stable: int = STABLE, variable: str = VARIABLE) -> None:
    """Ends all processes that inherited `variable` with that folder: SIGTERM, and SIGKILL after GRACE_S."""
    began, quiet = time.monotonic(), 0
    signalled: set[int] = set()
    while quiet < stable and time.monotonic() - began < GRACE_S + KILL_S:
        pids = processes(folder, variable)
        if time.monotonic() - began >= GRACE_S:
            _signal(pids, signal.SIGKILL)
        else:
            _signal([pid for pid in pids if pid not in signalled], signal.SIGTERM)
            signalled.update(pids)
        quiet = 0 if pids else quiet + 1
        if quiet < stable:
            time.sleep(POLL_S)


def _signal(pids: Collection[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def remove_leftovers(rig_folder: Path) -> None:
    """Ends and removes plays whose harness and watcher were both killed; the caller holds the rig's lock."""
    for folder in rig_folder.glob(f"{PREFIX}*"):
        end(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def watcher(folder: Path, locks: tuple[int, ...]) -> Iterator[None]:
    """Has a watcher end the play if this process is killed; `locks` are the descriptors that it holds until then."""
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=locks, start_new_session=True
    ) as process:
        assert process.stdin is not None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                process.stdin.write(b"done\n")
                process.stdin.close()


def main() -> None:
    """Watches one play."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when its harness has
    folder = Path(sys.argv[1])
    if sys.stdin.buffer.readline() != b"done\n":
        end(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
