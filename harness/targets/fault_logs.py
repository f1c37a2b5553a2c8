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
ANSWER_S, CLOCK_S = 60.0, 15.0


def fault_logs(rig: Rig, began_s: float, since_s: float) -> tuple[LogLine, ...]:
    """Returns the lines logged since an instant, in their order. Both in seconds since 1970, by this machine's clock.

    The instants of the lines count from `began_s`, the start of the run. At most MOST_LINES per host, errors first.
    The clock of each host is compared with this machine's; the error is half the time of one command. A host that does
    not answer has one line that tells why.
    """
    hosts = [host for host in rig.hosts if host.role in UNITS]
    lines = rig.each(hosts, lambda host: _read(host, began_s, since_s))
    return tuple(sorted((line for of_host in lines.values() for line in of_host), key=lambda line: line.at_us))


def _read(host: SshConnection, began_s: float, since_s: float) -> list[LogLine]:
    role = host.host.role
    try:
        ahead_s = _ahead_s(host)
        job = {
            "units": list(UNITS[role]), "postgres": role == "db", "since_s": since_s + ahead_s, "most": MOST_LINES,
        }  # fmt: skip
        command = ["python3", "-I", "-S", "-", json.dumps(job)]
        printed = host.run(command, stdin=source("fault_logs"), timeout_s=ANSWER_S).stdout
        shift_us = round((began_s + ahead_s) * 1e6)
        return [
            LogLine(at_us=int(at_us) - shift_us, host=host.name, unit=str(unit), text=printable(text, MOST_TEXT))
            for at_us, unit, text in map(json.loads, printed.splitlines())
        ]
    except (RigError, ValueError, TypeError) as error:
        reason = error.message if isinstance(error, RigError) else f"{type(error).__name__}: {error}"
        at_us = round((time.time() - began_s) * 1e6)
        return [LogLine(at_us=at_us, host=host.name, unit="pgcrucible", text=f"the log was not read: {reason}")]


def _ahead_s(host: SshConnection) -> float:
    """Returns by how much the host's clock is ahead of this machine's."""
    before_s = time.time()
    text = host.run(["date", "+%s.%N"], timeout_s=CLOCK_S).stdout
    return float(text) - (before_s + time.time()) / 2
