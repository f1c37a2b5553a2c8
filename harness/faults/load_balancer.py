"""Faults of the load balancer: HAProxy reloads, or is killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.fault_record import PlannedFault
from harness.faults import balancer
from harness.faults.base import Before, Fault
from harness.faults.unit_processes import (
    ANSWER_S,
    ended,
    kept,
    read_processes,
    replaced,
    signal_units,
    start_if_down,
)
from harness.model import Host
from harness.rig.rig import Rig

UNITS = (balancer.UNIT,)
_WORKERS, _OUT = "workers", "out of service"


class LbReload(Fault):
    """HAProxy reloads: new workers take over, and those of before end with their last connection."""

    deadline_s = 60.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """Returns the load balancer."""
        return rig.role("lb")[:1]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns HAProxy's processes, and the servers in maintenance: a new HAProxy does not know of those."""
        found = read_processes(rig, self._host(rig), UNITS)
        workers = [one.identity for one in found.processes if one.identity not in found.mains.values()]
        out = [server.name for server in balancer.servers(rig) if server.maintenance]
        return {**kept(found), _WORKERS: " ".join(workers), _OUT: " ".join(out)}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        rig.at(self._host(rig)).run(["systemctl", "reload", balancer.UNIT], timeout_s=ANSWER_S)
        _take_out(rig, before)

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the worker that answers, once it is none of those of before."""
        pid, earlier = balancer.process(rig), [identity.split("@")[0] for identity in before[_WORKERS].split()]
        return "" if pid in earlier else f"HAProxy: worker {', '.join(earlier)} became {pid}"

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Starts HAProxy where systemd does not, and takes out of service what was."""
        helped = start_if_down(rig, self._host(rig), UNITS)
        _take_out(rig, before)
        return helped

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns which process answers, once none of before is left and the same servers are out of service."""
        workers = {f"worker {one}": one for one in before[_WORKERS].split()}
        now = read_processes(rig, self._host(rig), UNITS)
        pid = balancer.process(rig)
        unchanged = pid in {one.split("@")[0] for one in workers.values()}  # it was never injected
        if not (unchanged or ended(workers, now)) or _in_service(rig, before):
            return ""
        return f"HAProxy: worker {pid} answers, alone" if not unchanged else f"HAProxy: worker {pid} still answers"

    def _host(self, rig: Rig) -> Host:
        return rig.role("lb")[0]


class LbKill(LbReload):
    """kill -9 of HAProxy's master process; systemd ends its workers and starts HAProxy again."""

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        signal_units(rig, self._host(rig), UNITS, "KILL", whom="main")

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the new master process."""
        masters = {balancer.UNIT: before[balancer.UNIT]}
        return replaced(masters, read_processes(rig, self._host(rig), UNITS))


def _in_service(rig: Rig, before: Before) -> Sequence[str]:
    """Returns the servers that were in maintenance before and are not now."""
    out = before[_OUT].split()
    return [server.name for server in balancer.servers(rig) if server.name in out and not server.maintenance]


def _take_out(rig: Rig, before: Before) -> None:
    if before[_OUT] and (names := _in_service(rig, before)):
        balancer.command(rig, "; ".join(f"set server app/{name} state maint" for name in names))


FAULTS: Mapping[str, Fault] = {"lb-reload": LbReload(), "lb-kill": LbKill()}
