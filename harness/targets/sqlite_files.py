"""SQLite files that the app hosts of a rig share: whether they can, and a file's content."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

from harness.host_scripts import source
from harness.host_scripts.shared_directory import Probe, why_not
from harness.model import Host
from harness.rig.connection import HostConnection
from harness.rig.rig import Rig


class SqliteContent(TypedDict):
    """What sqlite_file.py prints: the tables and the integrity check, or after `empty` the steps that failed."""

    counters: dict[str, int]
    ledger: dict[str, tuple[str, int]]
    integrity: NotRequired[list[str]]
    not_done: NotRequired[list[str]]


def why_no_sqlite(rig: Rig, directory: str) -> str:
    """Returns why the app hosts cannot share a SQLite file in the directory (which may be empty), or an empty text."""
    if not directory:
        return "needs a directory that all app hosts share for the SQLite file (app_sqlite_directory)"
    script, token, apps = source("shared_directory"), secrets.token_hex(8), rig.role("app")

    def probe(action: str, hosts: Sequence[Host]) -> dict[str, Probe]:
        command = [*_as_service(rig), "python3", "-", directory, token, action]
        return rig.each(hosts, lambda h: json.loads(h.run(command, stdin=script).stdout))

    first = probe("leave", apps[:1])
    try:
        return why_not(directory, first | probe("look", apps[1:]))
    finally:
        probe("remove", apps[:1])


def run_script(rig: Rig, path: str, action: Literal["read", "empty"]) -> SqliteContent:
    """Reads or empties a file on the first app host (harness/host_scripts/sqlite_file.py)."""
    command = [*_as_service(rig), "python3", "-", path, action]
    done = rig.at(rig.role("app")[0]).run(command, stdin=source("sqlite_file"))
    content: SqliteContent = json.loads(done.stdout)
    return content


def remove(host: HostConnection, path: str) -> None:
    """Removes a SQLite file and its journals. No connection may have it open: removing it then corrupts it."""
    host.run(["rm", "-f", *(path + end for end in ("", "-journal", "-wal", "-shm"))])


def _as_service(rig: Rig) -> list[str]:
    """Returns the start of a command that runs as the service's system user."""
    return ["runuser", "-u", str(rig.variables["common_user"]), "--"]
