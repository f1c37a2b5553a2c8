"""Providers, the sources of hosts: podman (system containers), vm (QEMU) and static (existing SSH machines).

A new provider is one module with the members of `Provider` and one line in PROVIDERS; beside them it needs an
inventory file, its playbooks, and a row in docs/rig.md. Code outside this package never compares a provider's name:
it asks the provider.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import RigError
from harness.provision.providers import podman, static, vm
from harness.provision.providers.base import Provider
from harness.rig.state import RigState

PROVIDERS: Mapping[str, Provider] = {"podman": podman, "vm": vm, "static": static}

DEFAULT = "podman"
"""Provider of a new rig if the user names neither a provider nor an inventory."""

INVENTORY_DEFAULT = "static"
"""Provider of an inventory that names none: an ordinary Ansible inventory lists existing machines."""


def provider_of(rig: RigState) -> Provider:
    """Returns the provider of an existing rig. Raises RigError if this version does not know it."""
    if rig.provider not in PROVIDERS:
        raise RigError(
            f"rig {rig.name}: unknown provider '{rig.provider}'", hint=f"known providers: {', '.join(PROVIDERS)}"
        )
    return PROVIDERS[rig.provider]
