"""Faults of a whole host: switched off and on again."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults.app import answers
from harness.faults.base import Before, Fault, nth
from harness.faults.unit_processes import ANSWER_S
from harness.model import Host
from harness.provision.providers import provider_of
from harness.rig.rig import Rig

CONNECT_S = 1.0
"""A host that does not accept SSH within this time is down."""
_LIMIT = """
for folder in /sys/fs/cgroup /sys/fs/cgroup/cpu; do
  [ ! -r $folder/cpu.max ] || cat $folder/cpu.max
  [ ! -r $folder/cpu.cfs_quota_us ] || echo "$(cat $folder/cpu.cfs_quota_us) $(cat $folder/cpu.cfs_period_us)"
done
"""
"""Prints the CPU limit of a container: quota and period."""
_LIMITED = "cpus"


class HostDown(Fault):
    """The provider ends an app host at once, as a power failure does, and starts it again."""

    deadline_s = 120.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        if provider_of(rig.state).MAKES_HOSTS:
            return ""
        return f"the hosts of rig '{rig.name}' are existing machines, which are neither stopped nor started"

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """See Fault."""
        return [nth(rig.role("app"), planned)]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns the host's CPU limit, which a restart would change to the inventory's."""
        return {_LIMITED: _limit(rig, self.hosts(rig, planned)[0])}

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        host = self.hosts(rig, planned)[0]
        provider_of(rig.state).stop_host(rig.name, host)
        rig.at(host).close()

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns why the host accepts no SSH."""
        host = self.hosts(rig, planned)[0]
        try:
            with socket.create_connection((host.ssh_address, host.ssh_port), timeout=CONNECT_S):
                return ""
        except OSError as error:
            return f"{host.name}: SSH: {error.strerror or error}"

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Starts the host with the CPU limit that it had."""
        host, cores = self.hosts(rig, planned)[0], before.get(_LIMITED, "")
        rig.at(host).close()
        provider_of(rig.state).start_host(rig.name, host, float(cores) if cores else None)
        return None

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that the host accepts SSH and its service answers. Raises RigError where its CPU limit changed."""
        host = self.hosts(rig, planned)[0]
        now = _limit(rig, host)
        limit = before.get(_LIMITED, now)
        if bool(now) != bool(limit) or (now and not math.isclose(float(now), float(limit), rel_tol=0.01)):
            raise RigError(f"{host.name}: its CPU limit is {_cores(now)}, before the fault: {_cores(limit)}")
        service = answers(rig, [host])
        return service and f"{host.name} accepts SSH; {service}"


def _limit(rig: Rig, host: Host) -> str:
    """Returns the host's CPU limit in cores; empty where it has none."""
    quota = rig.at(host).run(["sh", "-c", _LIMIT], timeout_s=ANSWER_S).stdout.split()[:2]
    limited = len(quota) == 2 and quota[0] not in ("max", "-1")
    return str(int(quota[0]) / int(quota[1])) if limited else ""


def _cores(limit: str) -> str:
    return f"{float(limit):g} cores" if limit else "none"


FAULTS: Mapping[str, Fault] = {"host-down": HostDown()}
