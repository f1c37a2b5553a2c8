"""Which inventory and how many app hosts a provision uses; its preview uses the same."""

from __future__ import annotations

from pathlib import Path

from harness.errors import RigError, UsageError
from harness.provision import providers
from harness.provision.inventory import read_inventory
from harness.provision.inventory_model import Inventory
from harness.provision.providers import PROVIDERS
from harness.rig import state
from harness.rig.state import RigState


def wanted_rig(
    name: str, before: RigState | None, inventory: Path | None, provider: str | None, hosts: int | None
) -> tuple[Inventory, int | None]:
    """Returns the inventory and the number of app hosts (None: the inventory's); by default those of the rig.

    Raises UsageError for options that the rig contradicts, RigError for a rig of another checkout.
    """
    source = _read_source(before, inventory, provider)
    if owner := PROVIDERS[source.provider].foreign_owner(name):
        raise foreign_rig(name, owner)
    if hosts is None and inventory is None and before is not None:
        hosts = sum(host.role == "app" for host in before.hosts)
    return source, hosts


def foreign_rig(name: str, owner: str) -> RigError:
    """Returns the error for a rig whose hosts belong to another checkout."""
    return RigError(
        f"rig '{name}' belongs to the checkout in {owner}",
        hint=f"choose another --rig; or destroy it there; or here, if you own both: ./run destroy --rig {name} "
        "--take-over",
    )


def _read_source(before: RigState | None, inventory: Path | None, provider: str | None) -> Inventory:
    """Returns the inventory asked for, else the one that the rig remembers, else the provider's own."""
    if inventory is None:
        if provider is None and before is not None:
            inventory = Path(before.inventory)
        else:
            chosen = PROVIDERS.get(provider or providers.DEFAULT)
            if chosen is None or not chosen.INVENTORY:
                raise UsageError(
                    f"--provider {provider}: this provider has no default inventory",
                    hint=f"give --inventory FILE, or --provider {providers.DEFAULT}",
                )
            inventory = state.ROOT / chosen.INVENTORY
    source = read_inventory(inventory, state.ROLES_DIR)
    if provider is not None and provider != source.provider:
        raise UsageError(f"{inventory}: its provider is {source.provider}, not {provider}")
    if before is not None and before.provider != source.provider:
        raise UsageError(
            f"rig {before.name} was created by provider {before.provider}; {inventory} has provider {source.provider}",
            hint=f"./run destroy --rig {before.name}, or choose another --rig",
        )
    return source
