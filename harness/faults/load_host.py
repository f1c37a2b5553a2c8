"""Faults of the load hosts: a load agent is killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import RigError
from harness.fault_record import PlannedFault
from harness.faults.base import Before, Fault, nth
from harness.faults.unit_processes import ANSWER_S
from harness.model import Host
from harness.rig.rig import Rig

MODULE = "harness.load.agent"
_GROUPS = """
ss -H -t -n -p state established dst "$1" dport = ":$2" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u |
while read -r pid; do
  group=$(ps -o pgid= -p "$pid" | tr -d ' ')
  [ -n "$group" ] || continue
  ps -o args= -p "$group" | grep -q -F "$3" && echo "$group $(cut -d' ' -f22 "/proc/$group/stat")"
done | sort -u
"""
"""Arguments: address and port of the load balancer, module of the agent. Prints the process groups whose leader is an
agent and which hold a connection to the load balancer, and when the leader was started: the agents of this trial."""
_ALIVE = """
for group in $1; do
  [ "$(ps -o pid= -g "$group" | wc -l)" -eq 0 ] || echo "$group"
done
"""


class LoadHostKill(Fault):
    """kill -9 of the load agent on a load host, with the processes that it started. Nothing starts it again."""

    deadline_s = 15.0

    def unavailable(self, rig: Rig) -> str:
        """See Fault."""
        if len(rig.role("load")) < 2:
            return "it needs two load hosts: without its only one a trial has no results"
        return ""

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """See Fault."""
        return [nth(rig.role("load"), planned)]

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Returns the agents' process groups that are connected to this rig's load balancer: group -> start."""
        host = self.hosts(rig, planned)[0]
        address, port = rig.role("lb")[0].address, str(rig.variables["haproxy_port"])
        command = ["sh", "-c", _GROUPS, "sh", address, port, MODULE]
        groups = dict(line.split() for line in rig.at(host).run(command, timeout_s=ANSWER_S).stdout.splitlines())
        if not groups:
            raise RigError(f"{host.name}: no load agent is connected to {address}:{port}")
        return groups

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """See Fault."""
        rig.at(self.hosts(rig, planned)[0]).run(
            ["kill", "-KILL", "--", *(f"-{group}" for group in before)], timeout_s=ANSWER_S
        )

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns the process groups, once they have no process."""
        command = ["sh", "-c", _ALIVE, "sh", " ".join(before)]
        alive = rig.at(self.hosts(rig, planned)[0]).run(command, timeout_s=ANSWER_S).stdout.split()
        return "" if alive else f"load agent: process group {', '.join(before)} has ended"

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Does nothing: the next trial starts another agent."""
        return None

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns that the host starts commands: the next trial can start an agent."""
        host = self.hosts(rig, planned)[0]
        rig.at(host).run(["true"], timeout_s=ANSWER_S)
        return f"{host.name} accepts the next load agent"


FAULTS: Mapping[str, Fault] = {"load-host-kill": LoadHostKill()}
