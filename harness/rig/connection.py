"""Connections to hosts: the protocol, and this machine as a host. harness/rig/ssh.py has hosts over SSH."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.errors import RigError
from harness.rig.state import ROOT

END_S = 30.0
"""Longest wait for a local process that has closed its output or was killed."""
SEND_S = 15.0
"""Longest wait for a local process that reads no input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Output and exit code of a finished command."""

    stdout: str
    stderr: str
    code: int


class RemoteProcess(Protocol):
    """A running command: lines in, lines out. `close` closes its standard input, `end` kills it."""

    def send(self, line: str) -> None: ...
    def lines(self) -> Iterator[str]: ...
    def close(self) -> None: ...
    def error_output(self) -> str: ...
    def has_ended(self) -> bool: ...
    def end(self) -> None: ...


def folder_prefix(rig: str) -> str:
    """Returns the start of the names of the agents' folders under /tmp; no other rig's, and no other folder, has it."""
    return f"pgcrucible-load+{rig}+"


class HostConnection(Protocol):
    """Runs programs on a host, and fetches files from it."""

    @property
    def name(self) -> str:
        """The host's name."""

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        """Runs `command` to its end. Raises RigError on timeout, a lost connection or (`check`) a non-zero exit."""

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        """Starts `command` and returns it as a process whose output can be read line by line."""

    def fetch(self, folder: str, names: Collection[str], into: Path) -> None:
        """Copies the named files, as far as they exist, from a folder of the host. Raises RigError."""


class _LocalStream:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._stderr = ""
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)

    def send(self, line: str) -> None:
        """Sends a line. Raises TimeoutError if the process reads nothing: its pipe is full."""
        assert self._process.stdin is not None
        pipe, rest, deadline = self._process.stdin.fileno(), f"{line}\n".encode(), time.monotonic() + SEND_S
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        while rest:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"the process read no input for {SEND_S:g} s")
            with contextlib.suppress(BlockingIOError):
                rest = rest[os.write(pipe, rest) :]

    def lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with self._process.stdout, self._process.stderr:
            for line in self._process.stdout:
                yield line.rstrip("\n")
            self._stderr = self._process.stderr.read()[-4000:]
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:  # it closed its output and goes on
            self._process.kill()

    def close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def error_output(self) -> str:
        return self._stderr

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)


_PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""
_LIBC = ctypes.CDLL(None)


def _end_with_parent(parent: int) -> None:
    """Makes Linux kill this process when the thread that started it ends; runs between fork and exec."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the call
            os._exit(1)


class LocalConnection:
    """This machine as a host: sends the load for a service that is measured by URL, without a rig."""

    name = "controller"

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        """See HostConnection. The command ends with the harness, also where that is killed (SIGKILL)."""
        parent = os.getpid()
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                preexec_fn=lambda: _end_with_parent(parent),  # one system call of a library that is loaded
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RigError(f"{self.name}: {error}") from error
        if check and done.returncode != 0:
            raise RigError(f"{self.name}: `{command[0]}` exited with {done.returncode}", output=done.stderr)
        return Result(stdout=done.stdout, stderr=done.stderr, code=done.returncode)

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        """See HostConnection."""
        return _LocalStream(
            subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C goes to the controller only, which then closes the stream
            )
        )

    def fetch(self, folder: str, names: Collection[str], into: Path) -> None:
        """See HostConnection."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{folder}/{name}", into / name)
