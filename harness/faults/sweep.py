"""Finds and undoes what faults left on a host, without a record of them. Idempotent.

What is found: our chains of the firewall and our transient units (both have names of their own), processes of the
rig's units that are stopped, units that have failed or ended, and drained servers of HAProxy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import RigError
from harness.faults import app, balancer, postgres_server
from harness.faults.unit_processes import read_processes, signal_units, start_if_down
from harness.model import Host, Role
from harness.rig.rig import Rig

CHAINS = "PGCRUCIBLE"
"""Start of the names of the firewall chains of faults."""
HELPERS = "pgcrucible-fault-"
"""Start of the names of the transient units of faults, such as a holder of connections or a proxy."""
UNITS: Mapping[Role, Sequence[str]] = {"app": app.UNITS, "db": postgres_server.UNITS, "lb": (balancer.UNIT,)}
SWEEP_S = 30.0
_SWEEP = """
for tool in iptables ip6tables; do
  command -v $tool > /dev/null || continue
  for table in filter mangle; do
    rules=$($tool -w 5 -t $table -S 2> /dev/null) || continue
    chains=$(echo "$rules" | awk -v ours="$1" '$1 == "-N" && index($2, ours) == 1 {print $2}')
    [ -n "$chains" ] || continue
    echo "$rules" | grep -e "^-A .*-j $1" | grep -v -e "^-A $1" | sed 's/^-A/-D/' | while read -r rule; do
      echo "$rule" | xargs $tool -w 5 -t $table || exit 1
    done
    for chain in $chains; do $tool -w 5 -t $table -F $chain; done
    for chain in $chains; do
      $tool -w 5 -t $table -X $chain && echo "removed the firewall chain $chain ($tool, table $table)"
    done
  done
done
for unit in $(systemctl list-units --all --plain --no-legend "$2*" | grep -o "$2[^ ]*" | sort -u); do
  systemctl kill --signal=KILL "$unit" 2> /dev/null
  systemctl stop "$unit" 2> /dev/null
  systemctl reset-failed "$unit" 2> /dev/null
  echo "ended $unit"
done
exit 0
"""
"""Arguments: CHAINS and HELPERS. Prints a line for each thing undone."""


def sweep(rig: Rig, host: Host) -> list[str]:
    """Returns what was undone on the host, one sentence each. Raises RigError."""
    command = ["sh", "-c", _SWEEP, "sh", CHAINS, HELPERS]
    done = rig.at(host).run(command, timeout_s=SWEEP_S)
    if done.stderr.strip():
        raise RigError(f"{host.name}: {done.stderr.strip().splitlines()[-1]}")
    undone = [f"{host.name}: {line}" for line in done.stdout.splitlines()]
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
