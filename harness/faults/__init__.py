"""How a rig fails on purpose, and how that is undone.

`FAULTS` has an entry for each name of harness/plan/fault_schedule.py. To add one: a module or an entry of a family's
dict here, and a line there.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.faults import app, connections, database, disk, host, load_balancer, load_host, network
from harness.faults.base import Fault, not_permitted
from harness.plan.fault_schedule import KINDS
from harness.rig.rig import Rig

FAULTS: Mapping[str, Fault] = {
    **app.FAULTS,
    **database.FAULTS,
    **disk.DISK,
    **network.NETWORK,
    **connections.FAULTS,
    **host.FAULTS,
    **load_balancer.FAULTS,
    **load_host.FAULTS,
}


def unavailable(rig: Rig) -> dict[str, str]:
    """Returns for each fault why it cannot be injected on this rig, empty if it can, in the order of the plan."""
    refusal = not_permitted(rig)
    return {name: refusal or FAULTS[name].unavailable(rig) for name in KINDS if name in FAULTS}
