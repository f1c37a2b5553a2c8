"""The place of the SQLite files that all app hosts share: whether there is one, and a file there that is new."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from harness.host_scripts import source
from harness.host_scripts.shared_directory import why_not
from harness.model import Host
from harness.rig.connection import HostConnection
from harness.rig.rig import Rig


def as_service(rig: Rig) -> list[str]:
    """Begins a command that runs as the service's own user."""
    return ["runuser", "-u", str(rig.variables.get("common_user", "pgcrucible")), "--"]


def why_no_sqlite(rig: Rig, directory: str) -> str:
    """Why the app hosts cannot share a SQLite file in the directory (empty: there is none); empty where they can."""
    if not directory:
        return "needs a directory that all app hosts share for the SQLite file (app_sqlite_directory)"
    text, token, apps = source("shared_directory"), secrets.token_hex(8), rig.role("app")

    def ask(wish: str, hosts: Sequence[Host]) -> dict[str, Any]:
        command = [*as_service(rig), "python3", "-", directory, token, wish]
        return rig.each(hosts, lambda h: json.loads(h.run(command, stdin=text).stdout))

    seen = ask("leave", apps[:1])
    try:
        return why_not(directory, seen | ask("look", apps[1:]))
    finally:
        ask("remove", apps[:1])


def remove(host: HostConnection, path: str) -> None:
    """Removes a SQLite file that nobody has open, with its journals: removed beneath a connection, they corrupt."""
    host.run(["rm", "-f", *(path + end for end in ("", "-journal", "-wal", "-shm"))])
