"""Reads what HAProxy, the service and PostgreSQL logged while faults were injected."""

from __future__ import annotations

import json
import time

from harness.errors import RigError
from harness.fault_record import LogLine
from harness.faults.sweep import UNITS
from harness.host_scripts import source
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection
from harness.text import printable

MOST_LINES = 2000
"""Per host."""
MOST_TEXT = 2000
ANSWER_S = 60.0


def fault_logs(rig: Rig, began_s: float, since_s: float) -> tuple[LogLine, ...]:
    """Returns the lines logged since an instant, in their order. Both in seconds since 1970, by this machine's clock.

    The instants of the lines count from `began_s`, the start of the run. At most MOST_LINES per host, errors first.
    Clocks of hosts are compared with this machine's by the time of one command. A host that does not answer has one
    line that tells why.
    """
    hosts = [host for host in rig.hosts if host.role in UNITS]
    lines = rig.each(hosts, lambda host: _read(host, began_s, since_s))
    return tuple(sorted((line for of_host in lines.values() for line in of_host), key=lambda line: line.at_us))


def _read(host: SshConnection, began_s: float, since_s: float) -> list[LogLine]:
    role, asked_s = host.host.role, time.time()
    job = {
        "units": list(UNITS[role]),
        "postgres": role == "db",
        "since_s": asked_s - since_s,
        "most": MOST_LINES,
    }
    command = ["python3", "-I", "-S", "-", json.dumps(job)]
    try:
        text = host.run(command, stdin=source("fault_logs"), timeout_s=ANSWER_S).stdout
        now, *rows = map(json.loads, text.splitlines())
        shift_us = round((asked_s - began_s) * 1e6) - int(now)
        return [
            LogLine(at_us=int(at_us) + shift_us, host=host.name, unit=str(unit), text=printable(text, MOST_TEXT))
            for at_us, unit, text in rows
        ]
    except (RigError, ValueError, TypeError) as error:
        reason = error.message if isinstance(error, RigError) else f"{type(error).__name__}: {error}"
        at_us = round((asked_s - began_s) * 1e6)
        return [LogLine(at_us=at_us, host=host.name, unit="pgcrucible", text=f"the log was not read: {reason}")]
