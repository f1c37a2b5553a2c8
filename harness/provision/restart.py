"""Restarts the services of a rig, so that the next run is another session: PostgreSQL, the service, HAProxy."""

from __future__ import annotations

import time
from functools import partial

from harness.errors import RigError
from harness.model import Role
from harness.provision.services import ask_services
from harness.rig.rig import Rig
from harness.rig.ssh import SshConnection

UNITS: tuple[tuple[Role, str], ...] = (
    ("db", "postgresql@*-main.service"),
    ("app", "pgcrucible-app.target"),
    ("lb", "haproxy.service"),
)
"""In the order of restarts: the service connects to PostgreSQL, HAProxy asks the service."""
RESTART_S = 120.0
"""Longest restart of one kind of service: a host capped at a tenth of a core starts ten times as slowly."""
POLL_S = 0.5
CLOCK_S = 0.05


def restart_services(rig: Rig) -> None:
    """Restarts each service and waits until it works and is younger than before. Raises RigError."""
    for role, units in UNITS:
        hosts = rig.role(role)
        before = _started(rig, role)
        # --no-block: a host that is capped is given its time below, where the wait has a deadline
        rig.each(hosts, partial(_restart, units=units))
        deadline = time.monotonic() + RESTART_S
        while not _are_younger(_started(rig, role), before):
            if time.monotonic() > deadline:
                names = ", ".join(host.name for host in hosts)
                raise RigError(
                    f"{names}: {units} did not restart within {RESTART_S:g} s", hint=f"./run status --rig {rig.name}"
                )
            time.sleep(POLL_S)


def _restart(host: SshConnection, units: str) -> None:
    host.run(["systemctl", "restart", "--no-block", units])


def _are_younger(now: dict[str, float], before: dict[str, float]) -> bool:
    """Returns whether all services work, each started later than before; one moment read twice differs a little."""
    return bool(now) and all(since > before.get(name, 0.0) + CLOCK_S for name, since in now.items())


def _started(rig: Rig, role: Role) -> dict[str, float]:
    """Returns when each service of the role started, in seconds since 1970; empty while one does not work."""
    services = {
        f"{host} {service.name}": service
        for host, of_host in ask_services(rig, rig.role(role)).items()
        for service in of_host
    }
    if not all(service.ok and service.since is not None for service in services.values()):
        return {}
    return {name: service.since or 0.0 for name, service in services.items()}
