"""The connection of pgAdmin to a rig's database: a tunnel of ssh, and the service of libpq that names it.

It goes through ssh, as the harness's does: that works with every provider, and the database accepts the harness's role
from its own loopback only. A loop starts ssh again when its host comes back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from harness.model import Host
from harness.provision.pgadmin import files
from harness.provision.pgadmin.process import tail
from harness.provision.ssh_command import ssh_command
from harness.rig import database_connection
from harness.rig.rig import Rig

LOOP = 'log=$1; shift; while :; do "$@" 2>"$log"; sleep 2; done'
WAIT_S = 20.0
"""Longest wait for ssh, which gives up a host after 15 s."""
ANSWER_S, POLL_S = 5.0, 0.2


def tunnel(rig: Rig, host: Host, port: int, log: Path) -> list[str]:
    """Returns the command that forwards `port` of this loopback to the database's port on its host's loopback.

    `log` has what the newest ssh printed.
    """
    program, *rest = ssh_command(rig, host)
    forward = f"127.0.0.1:{port}:127.0.0.1:{rig.variables['postgres_port']}"
    settings = ("BatchMode=yes", "ExitOnForwardFailure=yes", "ControlMaster=no", "ControlPath=none")
    options = ["-N", "-T", "-L", forward, *(word for setting in settings for word in ("-o", setting))]
    return ["sh", "-c", LOOP, "sh", str(log), program, *options, *rest]


def options(rig: Rig, host: Host, port: int) -> dict[str, object]:
    """Returns libpq's options for a connection through the tunnel; with TLS the server's name is verified."""
    through = {"host": host.name if rig.authority else "127.0.0.1", "hostaddr": "127.0.0.1", "port": port}
    return {**rig.connection_options(str(rig.authority or "")), **through}


def read_service(file: Path) -> dict[str, str] | None:
    """Returns the options in a service file that `files.service` made, or None if it is missing or damaged."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()[1:]
        return dict(line.split("=", 1) for line in lines)
    except (OSError, ValueError):
        return None


def problem(options: Mapping[str, object], log: Path) -> str:
    """Returns why the database cannot be reached the way pgAdmin does, or an empty string; waits for the tunnel."""
    own = {**database_connection.options(ANSWER_S), **options, "connect_timeout": files.CONNECT_S}
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            psycopg.connect(**own).close()
        except psycopg.OperationalError as error:
            text, printed = " ".join(str(error).split()), tail(log).splitlines()
            if "closed the connection unexpectedly" in text:
                return "ssh reaches the host, but PostgreSQL does not listen on its port there"
            if "refused" not in text or printed or time.monotonic() > deadline:
                return printed[-1] if printed else text
            time.sleep(POLL_S)
        else:
            return ""
