"""HAProxy's runtime socket for faults: its servers, its process, and its commands (management guide, 9.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import RigError
from harness.faults.unit_processes import ANSWER_S
from harness.rig.rig import Rig

SOCKET = "/run/haproxy/admin.sock"
UNIT = "haproxy.service"
_RUNNING = 2
_MAINTENANCE, _DRAINS = 0x01 | 0x02 | 0x04 | 0x20, 0x08 | 0x10


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of the backend `app`: a worker of an app host."""

    name: str
    up: bool
    """Whether its health checks pass, or are off."""
    maintenance: bool
    drains: bool

    @property
    def host(self) -> str:
        """Its app host: `app-2` for the worker `app-2.1`."""
        return self.name.split(".")[0]

    @property
    def serves(self) -> bool:
        """Whether it gets new requests."""
        return self.up and not self.maintenance and not self.drains


def command(rig: Rig, commands: str) -> str:
    """Sends commands, separated by `;`, to the first load balancer; returns its answer. Raises RigError."""
    host = rig.role("lb")[0]
    socat = ["socat", "-t5", "stdio", SOCKET]
    return rig.at(host).run(socat, stdin=f"{commands}\n", timeout_s=ANSWER_S).stdout


def servers(rig: Rig) -> Sequence[Server]:
    """Returns the servers of the backend `app`. Raises RigError where HAProxy does not answer."""
    found = []
    for line in command(rig, "show servers state app").splitlines():
        fields = line.split()
        if len(fields) > 6 and not line.startswith("#"):
            operation, administration = int(fields[5]), int(fields[6])
            found.append(
                Server(
                    name=fields[3],
                    up=operation == _RUNNING,
                    maintenance=bool(administration & _MAINTENANCE),
                    drains=bool(administration & _DRAINS),
                )
            )
    if not found:
        raise RigError(f"{rig.role('lb')[0].name}: HAProxy has no server in its backend app", hint="./run status")
    return found


def sessions(rig: Rig) -> Mapping[str, int]:
    """Returns the current requests of each server of the backend `app`."""
    lines = command(rig, "show stat").lstrip("# ").splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=False)) for line in lines[1:]]
    return {row["svname"]: int(row["scur"] or 0) for row in rows if row.get("pxname") == "app" and row["type"] == "2"}


def process(rig: Rig) -> str:
    """Returns the process id of the HAProxy process that answers."""
    facts = dict(line.partition(": ")[::2] for line in command(rig, "show info").splitlines())
    if not facts.get("Pid"):
        raise RigError(f"{rig.role('lb')[0].name}: HAProxy does not answer", hint="./run status")
    return facts["Pid"]
