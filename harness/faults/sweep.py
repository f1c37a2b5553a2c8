"""Finds and undoes what faults left on a host, without a record of them. Idempotent.

It finds firewall chains and proxies by their names, a write-ahead log on a filesystem of a fault, stopped processes of
the rig's units, units that have failed or ended, sessions that hold connections, and servers that HAProxy drains. Of a
negative control it finds another revision of the service than the provisioned one, and HAProxy's retries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.faults import (
    app,
    balancer,
    connections,
    disk,
    packet_rules,
    postgres_server,
    proxy_replay,
    service_revision,
    slow_path,
)
from harness.faults.unit_processes import read_processes, signal_units, start_if_down
from harness.model import Host, Role
from harness.rig.rig import Rig

UNITS: Mapping[Role, Sequence[str]] = {"app": app.UNITS, "db": postgres_server.UNITS, "lb": (balancer.UNIT,)}


def sweep(rig: Rig, host: Host) -> list[str]:
    """Returns what was undone on the host, one sentence each. Raises RigError."""
    connection = rig.at(host)
    undone = [
        f"{host.name}: removed {name}" for name in (*slow_path.stop(connection), *packet_rules.remove(connection))
    ]
    if host.role == "db" and disk.tidy(rig):
        undone.append(f"{host.name}: brought the write-ahead log back to its own disk")
    if units := UNITS.get(host.role):
        stopped = sorted({process.unit for process in read_processes(rig, host, units).stopped})
        if stopped:
            signal_units(rig, host, stopped, "CONT")
            undone.append(f"{host.name}: continued {', '.join(stopped)}, which was stopped")
        if host.role == "app" and (revision := service_revision.remove(rig, host)):
            undone.append(f"{host.name}: the service is the provisioned one again, not {revision}")
        started = start_if_down(rig, host, units)
        undone += filter(None, [started])
        if host.role == "db" and not started and (sessions := connections.end_holder(rig)):
            undone.append(f"{host.name}: ended {sessions} sessions that held connections")
    if host == rig.role("lb")[0] and proxy_replay.ProxyReplay(rig).restore():
        undone.append(f"{host.name}: HAProxy no longer sends failed requests again")
    if host == rig.role("lb")[0] and (drained := [one.name for one in balancer.servers(rig) if one.drains]):
        balancer.command(rig, "; ".join(f"set server app/{name} state ready" for name in drained))
        undone.append(f"{host.name}: HAProxy sends requests to {', '.join(drained)} again, which it drained")
    return undone
