"""The contract of a fault. One module per family holds a dict of them; harness/faults/__init__.py joins the dicts.

A fault works over SSH, so it is the same on containers, virtual machines and own machines. Its state before the
injection is read first and written to `.rigs/<name>/faults.json`; from there `./run heal` undoes it, whatever happened
to the process that injected it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.fault_record import PlannedFault
from harness.model import Host
from harness.provision.providers import provider_of
from harness.rig.rig import Rig

Before = Mapping[str, str]
"""What a fault has to know of the time before it, to be seen and healed: process ids, addresses. JSON."""


class Fault(Protocol):
    """One way in which a part of the rig can fail. All functions raise RigError where a host does not answer."""

    deadline_s: float
    """Longest injection, longest time from then until it is seen, and from the heal until that is seen."""

    def unavailable(self, rig: Rig) -> str:
        """Returns why it cannot be injected on this rig, as a sentence; empty if it can."""
        ...

    def hosts(self, rig: Rig, planned: PlannedFault) -> Sequence[Host]:
        """Returns the hosts that it hits."""
        ...

    def before(self, rig: Rig, planned: PlannedFault) -> Before:
        """Reads the state that `seen`, `heal` and `healed` compare with or restore; changes nothing."""
        ...

    def inject(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Injects it. Returns as soon as the commands are done, or earlier where they take as long as the fault."""
        ...

    def seen(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns what shows that it happened, or an empty string as long as nothing does. Polled."""
        ...

    def heal(self, rig: Rig, planned: PlannedFault, before: Before) -> str | None:
        """Undoes it. Idempotent; does nothing where it never took effect or healed by itself.

        Returns what it had to do where the rig should have recovered by itself, as from a crash, empty if that was
        nothing; None for a fault that only the heal ends.
        """
        ...

    def healed(self, rig: Rig, planned: PlannedFault, before: Before) -> str:
        """Returns what shows that nothing of it is left, or an empty string as long as that does not. Polled."""
        ...

    def restarted(self, rig: Rig, planned: PlannedFault, before: Before) -> Mapping[str, str]:
        """Returns the hosts with a process that should have outlived the fault and did not, each with a sentence.

        Asked once the fault is healed. Empty for a fault that ends processes, or of which that is not required.
        """
        del rig, planned, before
        return {}

    def tidy(self, rig: Rig, planned: PlannedFault, before: Before) -> None:
        """Removes, once the load has ended, what is left and could not be removed without disturbing the tier.

        Idempotent. Most faults leave nothing.
        """
        del rig, planned, before


def not_permitted(rig: Rig) -> str:
    """Returns why no fault may be injected: existing machines need `faults_allowed: true` in their inventory."""
    if provider_of(rig.state).MAKES_HOSTS or rig.state.faults_allowed:
        return ""
    return f"the inventory of rig '{rig.name}' does not allow faults (faults_allowed: true)"


def nth(hosts: Sequence[Host], planned: PlannedFault) -> Host:
    """Returns the host that a fault of one host hits."""
    return hosts[planned.host % len(hosts)]
