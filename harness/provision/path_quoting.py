"""Paths as other programs read them: each parses some characters, and each is quoted in its own way.

A path that one of them cannot be given at all is refused before anything is created.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from harness.errors import RigError

MAX_FOLDER_BYTES = 60
"""Of a folder below which ssh keeps a socket: the names of the play, of Ansible and of ssh take 45 bytes."""
_REFUSED = {
    ":": "podman separates the parts of a volume, and Ansible folders, with it",
    "${": "ssh replaces it with an environment variable",
    "{{": "Ansible replaces it with a variable",
    "{%": "Ansible evaluates it",
    "{#": "Ansible takes it for a comment",
}
"""Text that no quoting protects -> the reason."""


def check_path(path: Path) -> None:
    """Raises RigError if a program that works on a rig cannot be given this path."""
    text = str(path)
    reason = next((f"{part!r}: {why}" for part, why in _REFUSED.items() if part in text), "")
    if not text.isprintable():
        reason = "a character that is not printable, or not UTF-8"
    elif os.path.expandvars(text) != text:
        reason = reason or "'$': Ansible replaces it with an environment variable"
    if reason:
        raise RigError(f"the path {text!r} has {reason}", hint="move pgcrucible to another folder")


def ssh_option(name: str, path: Path) -> str:
    """Returns `-o NAME=PATH` for `ansible_ssh_common_args`, which Ansible and Mitogen split as a shell does."""
    return f"-o {shlex.quote(ssh_setting(name, path))}"


def ssh_setting(name: str, path: Path) -> str:
    """Returns NAME=PATH as one argument after `-o`.

    ssh_config(5) splits a value at blanks outside double quotes, inside which a backslash escapes, and expands `%`.
    """
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'{name}="{text}"'


def ssh_path(value: str) -> str:
    """Returns the first path of an ssh option's value: without quotes, and with `%%` as `%`."""
    try:
        words = shlex.split(value)
    except ValueError:  # a quote that is not closed
        return value
    return words[0].replace("%%", "%") if words else ""


def fits_control_path(folder: Path) -> bool:
    """Whether the socket of a shared ssh connection can be below a rig's folder.

    Ansible does not quote its path, and the path of a Unix socket has at most 107 bytes (unix(7)).
    """
    return not any(char in str(folder) for char in '%"\\$') and len(os.fsencode(folder)) <= MAX_FOLDER_BYTES


def qemu_value(path: Path) -> str:
    """Returns a path as the value in a list of QEMU options, where a comma is written twice."""
    return str(path).replace(",", ",,")
