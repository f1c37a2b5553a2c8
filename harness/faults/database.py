"""Faults of the PostgreSQL server: sessions ended, server restarted, killed, stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults.app import answers
from harness.faults.base import Before, Fault
from harness.faults.postgres_server import UNITS, host_of, log_size, logged_since, sql
from harness.faults.unit_processes import (
    ANSWER_S,
    all_stopped,
    continue_stopped,
    ended,
    kept,
    read_processes,
    replaced,
    signal_units,
    start_if_down,
)
from harness.model import Host
from harness.rig.rig import Rig

LOG = "log"
"""Key of the size of the server's log, beside the units."""
_RESTARTED = r"LOG:  (received fast shutdown request|starting PostgreSQL)"
_SESSIONS = "SELECT pid, backend_start FROM pg_stat_activity WHERE usename = :'role'"
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :'role'"
_RECOVERED = r"LOG:  database system was (not properly shut down|interrupted)"


class DatabaseFault(Fault):
    """A fault of the server. It is healed when the server answers a query."""

    deadline_s = 60.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """Returns the database host."""
        return [host_of(rig)]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns the postmaster and the size of the log."""
        return {**kept(read_processes(rig, host_of(rig), UNITS)), LOG: log_size(rig)}

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Starts a server that systemd does not start."""
        return start_if_down(rig, host_of(rig), UNITS)

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns since when the server that answers runs; none that systemd is about to stop."""
        if any(unit.active != "active" for unit in read_processes(rig, host_of(rig), UNITS).units):
            return ""
        return f"PostgreSQL answers, started {sql(rig, 'SELECT pg_postmaster_start_time()')}"


class DbRestart(DatabaseFault):
    """PostgreSQL restarts in order: it ends its sessions and writes a checkpoint."""

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Does not wait for the restart: the server is back before the heal, or is not."""
        units = list(_units(before))
        rig.at(host_of(rig)).run(["systemctl", "restart", "--no-block", "--", *units], timeout_s=ANSWER_S)

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the new postmaster, once the log has the shutdown."""
        change = replaced(_units(before), read_processes(rig, host_of(rig), UNITS))
        return change if change and logged_since(rig, before[LOG], _RESTARTED) else ""


class DbCrash(DatabaseFault):
    """kill -9 of the postmaster and all its processes; systemd starts it, and it recovers from its log."""

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        signal_units(rig, host_of(rig), tuple(_units(before)), "KILL")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns which postmaster has ended."""
        return ended(_units(before), read_processes(rig, host_of(rig), UNITS))

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns since when another server answers, and that it recovered."""
        answer = super().healed(rig, planned, before)
        if not answer or not ended(_units(before), read_processes(rig, host_of(rig), UNITS)):
            return answer
        return f"{answer}; {logged_since(rig, before[LOG], _RECOVERED) or 'no recovery is logged'}"


class DbPause(DatabaseFault):
    """The postmaster and all its processes are stopped with SIGSTOP."""

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        signal_units(rig, host_of(rig), tuple(_units(before)), "STOP")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the postmaster in state T, once all its processes are."""
        now = read_processes(rig, host_of(rig), UNITS)
        if any(process.state not in ("T", "Z") for process in now.processes):
            return ""
        stopped = all_stopped(_units(before), now)
        return stopped and f"{stopped}, with {len(now.processes) - 1} processes of it"

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Continues the processes that are stopped."""
        continue_stopped(rig, host_of(rig), UNITS)
        return None

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that the server answers and no process is stopped."""
        stopped = read_processes(rig, host_of(rig), UNITS).stopped
        return "" if stopped else super().healed(rig, planned, before)


class DbBackendKill(DatabaseFault):
    """pg_terminate_backend on all sessions of the service's role."""

    deadline_s = 30.0

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns the sessions: process id -> when it began."""
        rows = sql(rig, _SESSIONS, role=_role(rig))
        sessions = dict(row.split("|", 1) for row in rows.splitlines())
        if not sessions:
            raise RigError(f"{host_of(rig).name}: the service has no session that could be ended")
        return sessions

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        sql(rig, _END, role=_role(rig))

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns how many sessions there were, once none of them is left."""
        rows = sql(rig, _SESSIONS, role=_role(rig)).splitlines()
        if set(rows) & {f"{pid}|{began}" for pid, began in before.items()}:
            return ""
        return f"{len(before)} sessions of the service have ended: {', '.join(list(before)[:5])} …"

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Does nothing: the service opens new sessions."""
        return None

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that every worker reaches the database."""
        return answers(rig, rig.role("app"), "/health")


def _units(before: Before) -> Before:
    return {name: identity for name, identity in before.items() if name != LOG}


def _role(rig: Rig) -> str:
    return str(rig.variables["postgres_app_user"])


FAULTS: Mapping[str, Fault] = {
    "db-backend-kill": DbBackendKill(),
    "db-restart": DbRestart(),
    "db-crash": DbCrash(),
    "db-pause": DbPause(),
}
