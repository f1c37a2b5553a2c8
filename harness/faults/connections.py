"""Faults of the server's connections: another client holds all that the service may have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults.app import answers, mains
from harness.faults.base import Before, Fault, nth
from harness.faults.postgres_server import host_of, sql
from harness.host_scripts import source
from harness.model import Host
from harness.rig.connection import RemoteProcess
from harness.rig.rig import Rig

HOLDER = "pgcrucible-fault"
"""The application name of the holder's sessions."""
_SESSIONS = "sessions"
"""Key of the number of sessions, beside the processes."""
_COUNT = """
SELECT count(*) FILTER (WHERE application_name = :'holder'), count(*) FILTER (WHERE usename = :'role')
FROM pg_stat_activity
"""
_END_HOLDER = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :'holder'"


class ConnectionsGone(Fault):
    """Sessions of the superuser take all connections but the reserved ones; the service's own sessions are ended.

    The harness keeps its open sessions, and the superuser can log in. The holder (host_scripts/connection_holder.py)
    ends with its SSH channel, and so with the process that injects.
    """

    deadline_s = 30.0

    def __init__(self) -> None:
        self._holders: dict[str, RemoteProcess] = {}

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """Returns the database host."""
        return [host_of(rig)]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns how many sessions the service has, and its processes."""
        return {_SESSIONS: str(_count(rig)[1]), **mains(rig)}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Starts the holder and waits until it has all connections."""
        path = f"/var/run/postgresql/.s.PGSQL.{rig.variables['postgres_port']}"
        command = ["runuser", "-u", "postgres", "--", "python3", "-I", "-S", "-u", "-c", source("connection_holder")]
        holder = rig.at(host_of(rig)).stream([*command, path, _role(rig), HOLDER])
        self._holders[rig.name] = holder
        if not next(iter(holder.lines()), ""):
            raise RigError(f"{host_of(rig).name}: the holder ended: {holder.error_output().strip()[-200:]}")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns what the holder has, once the service has no session and no worker of it reaches the database."""
        held, others = _count(rig)
        app = nth(rig.role("app"), planned)
        if not held or others or answers(rig, [app], "/health"):
            return ""
        return f"another client has {held} connections, the service none; {app.name}: GET /health fails"

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Ends the holder and its sessions."""
        if holder := self._holders.pop(rig.name, None):
            holder.close()
            holder.end()
        end_holder(rig)
        return None

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that every worker reaches the database, once no session of the holder is left."""
        return "" if _count(rig)[0] else answers(rig, rig.role("app"), "/health")

    def restarted(self, rig: Rig, planned: PlannedFault, before: Before) -> Mapping[str, str]:
        """Returns the app hosts whose service was started again: it has to recover without."""
        now, hosts = mains(rig), dict[str, list[str]]()
        for key, identity in before.items():
            if key != _SESSIONS and identity and now.get(key) != identity:
                host, unit = key.split(" ", 1)
                hosts.setdefault(host, []).append(unit)
        return {host: f"{host}: {', '.join(units)} restarted" for host, units in hosts.items()}


def end_holder(rig: Rig) -> int:
    """Ends all sessions of a holder; returns how many there were."""
    return len(sql(rig, _END_HOLDER, holder=HOLDER).splitlines())


def _count(rig: Rig) -> tuple[int, int]:
    """Returns how many sessions the holder and the service have."""
    held, others = sql(rig, _COUNT, role=_role(rig), holder=HOLDER).split("|")
    return int(held), int(others)


def _role(rig: Rig) -> str:
    return str(rig.variables["postgres_app_user"])


FAULTS: Mapping[str, Fault] = {"connections-gone": ConnectionsGone()}
