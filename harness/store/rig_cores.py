"""Whether the hosts of a stored rig share no processors. Pure."""

from __future__ import annotations

from harness.provision.providers import PROVIDERS
from harness.store.manifest import RigRecord


def created_hosts(rig: RigRecord) -> bool:
    """Whether pgcrucible created the hosts; true for a provider that this version does not know."""
    return rig.provider not in PROVIDERS or PROVIDERS[rig.provider].MAKES_HOSTS


def shares_cores(rig: RigRecord) -> bool:
    """Whether hosts share the cores of one machine.

    All hosts that pgcrucible creates do; others do if one kernel runs several of them. Virtual machines of another
    hypervisor cannot be distinguished from machines.
    """
    kernels = [host.boot_id for host in rig.hosts if host.boot_id]
    return created_hosts(rig) or len(set(kernels)) < len(kernels)


def has_own_cores(rig: RigRecord) -> bool:
    """Whether each app host is known to have its own kernel, and so its own cores; CPU caps only make them fewer."""
    apps = [host for host in rig.hosts if host.role == "app"]
    return bool(apps) and all(host.boot_id for host in apps) and not shares_cores(rig)
