"""Finds and undoes what faults left on a host, without a record of them. Idempotent.

What is found: our chains of the firewall and our transient units (both have names of their own), a write-ahead log on a
filesystem of ours, processes of the rig's units that are stopped, units that have failed or ended, and servers that
HAProxy drains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.faults import app, balancer, disk, packet_rules, postgres_server, slow_path
from harness.faults.unit_processes import read_processes, signal_units, start_if_down
from harness.model import Host, Role
from harness.rig.rig import Rig

HELPERS = "pgcrucible-fault-"
"""Start of the names of transient units of faults, such as a holder of connections."""
UNITS: Mapping[Role, Sequence[str]] = {"app": app.UNITS, "db": postgres_server.UNITS, "lb": (balancer.UNIT,)}
SWEEP_S = 30.0
_SWEEP = """
for unit in $(systemctl list-units --all --plain --no-legend "$1*" | grep -o "$1[^ ]*" | sort -u); do
  systemctl kill --signal=KILL "$unit" 2> /dev/null
  systemctl stop "$unit" 2> /dev/null
  systemctl reset-failed "$unit" 2> /dev/null
  echo "ended $unit"
done
exit 0
"""
"""Argument: HELPERS. Prints a line for each thing undone."""


def sweep(rig: Rig, host: Host) -> list[str]:
    """Returns what was undone on the host, one sentence each. Raises RigError."""
    connection = rig.at(host)
    undone = [
        f"{host.name}: removed {name}" for name in (*slow_path.stop(connection), *packet_rules.remove(connection))
    ]
    ended = connection.run(["sh", "-c", _SWEEP, "sh", HELPERS], timeout_s=SWEEP_S).stdout
    undone += [f"{host.name}: {line}" for line in ended.splitlines()]
    if host.role == "db" and disk.tidy(rig):
        undone.append(f"{host.name}: brought the write-ahead log back to its own disk")
    if units := UNITS.get(host.role):
        stopped = sorted({process.unit for process in read_processes(rig, host, units).stopped})
        if stopped:
            signal_units(rig, host, stopped, "CONT")
            undone.append(f"{host.name}: continued {', '.join(stopped)}, which was stopped")
        undone += filter(None, [start_if_down(rig, host, units)])
    if host == rig.role("lb")[0] and (drained := [one.name for one in balancer.servers(rig) if one.drains]):
        balancer.command(rig, "; ".join(f"set server app/{name} state ready" for name in drained))
        undone.append(f"{host.name}: HAProxy sends requests to {', '.join(drained)} again, which it drained")
    return undone
