"""The database host for faults: SQL as the superuser, the server's processes and its log."""

from __future__ import annotations

from harness.faults.unit_processes import ANSWER_S
from harness.model import Host
from harness.rig.rig import Rig

UNITS = ("postgresql@*-main.service",)
_LOG = """
set -eu
set -- $(pg_lsclusters --no-header | grep -E '^[0-9]+ +main ' | tail -n 1) "$@"
shift 6
log=$1; shift
"""


def host_of(rig: Rig) -> Host:
    """Returns the database host."""
    return rig.role("db")[0]


def sql(rig: Rig, text: str, **values: str) -> str:
    """Returns the rows of a query as the superuser, one per line, fields separated by `|`. Raises RigError.

    `values`: texts that the query has as `:'name'`.
    """
    port = str(rig.variables["postgres_port"])
    command = ["runuser", "-u", "postgres", "--", "env", "PGCONNECT_TIMEOUT=5", "psql", "-X", "-q", "-A", "-t"]
    command += ["-v", "ON_ERROR_STOP=1", "-p", port, "-d", "postgres", "-f", "-"]
    command += [part for name, value in values.items() for part in ("-v", f"{name}={value}")]
    return rig.at(host_of(rig)).run(command, stdin=f"{text}\n", timeout_s=ANSWER_S).stdout.strip()


def log_size(rig: Rig) -> str:
    """Returns the size of the server's log in bytes. Raises RigError."""
    command = ["sh", "-c", f'{_LOG} stat -c %s "$log"', "sh"]
    return rig.at(host_of(rig)).run(command, timeout_s=ANSWER_S).stdout.strip()


def logged_since(rig: Rig, size: str, pattern: str) -> str:
    """Returns the first line after `size` bytes of the log that matches (grep -E), or an empty string."""
    script = f'{_LOG} tail -c "+$(($1 + 1))" "$log" | grep -E -m 1 -e "$2" || true'
    return rig.at(host_of(rig)).run(["sh", "-c", script, "sh", size, pattern], timeout_s=ANSWER_S).stdout.strip()
