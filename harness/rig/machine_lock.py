"""Locks of this machine: each name is held by one process at a time, whatever its checkout, user or folder.

A lock is a listening socket in Linux's abstract namespace (unix(7)). It needs no file and no access rights, and the
kernel releases it when the last process that holds its descriptor has ended.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from harness.errors import RigError

MAX_ADDRESS = 108
"""Longest address in bytes: the size of sun_path (unix(7))."""
POLL_S = 0.1
START_S = 1.0
"""A lock that was released counts as held for so long at most: a child that another thread is starting has the
descriptor until it executes its program."""
_held: dict[str, socket.socket] = {}


def acquire(name: str) -> socket.socket | None:
    """Returns the lock of that name, or None if it is held; closing the socket releases it. Raises RigError."""
    lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        lock.bind(_address(name))
        lock.listen()  # a process that connects can then read the holder's process id from the kernel
    except OSError as error:
        lock.close()
        if error.errno != errno.EADDRINUSE:
            raise RigError(f"{name}: cannot be locked: {error.strerror or error}") from error
        return None
    return lock


@contextlib.contextmanager
def held(name: str, *, timeout_s: float = 0.0) -> Iterator[None]:
    """Holds the lock `name`. Raises RigError with the holder if it is not free within the time."""
    deadline = time.monotonic() + max(timeout_s, START_S)
    while (lock := acquire(name)) is None:
        if time.monotonic() >= deadline:
            waited = f" after {timeout_s:g} s" if timeout_s else ""
            raise RigError(
                f"{name}: another process is changing or measuring it{waited}{holder(name)}",
                hint="wait until that process ends",
            )
        time.sleep(POLL_S)
    with lock:
        _held[name] = lock
        try:
            yield
        finally:
            del _held[name]


def descriptors() -> tuple[int, ...]:
    """Returns the descriptors of all locks that this process holds, for a child that has to hold them as well."""
    return tuple(lock.fileno() for lock in _held.values())


def holder(name: str) -> str:
    """Returns ` (process 123 in /folder)` for the process that took the lock, or an empty string."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(_address(name))
            record = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return ""
    pid = struct.unpack("3i", record)[0]
    try:
        return f" (process {pid} in {Path(f'/proc/{pid}/cwd').readlink()})"
    except OSError:  # a process of another user
        return f" (process {pid})"


def _address(name: str) -> bytes:
    """Returns the address of a lock; of a long name (a path, for instance) the end is replaced by its digest."""
    address = f"\0pgcrucible {name}".encode()
    if len(address) <= MAX_ADDRESS:
        return address
    digest = hashlib.sha256(address).hexdigest()[:32].encode()
    return address[: MAX_ADDRESS - len(digest)] + digest
