"""Opens the target of a bench: a rig, or an external service by its URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from harness.errors import RigError
from harness.faults import FAULTS
from harness.faults.heal import require_healed
from harness.provision.bundle import checkout_hash
from harness.provision.providers import provider_of
from harness.rig import state
from harness.rig.connection import folder_prefix
from harness.rig.leftovers import remove_leftovers
from harness.rig.rig import Rig, open_rig
from harness.rig.state import RigState, authority_file
from harness.targets.base import Target
from harness.targets.rig_target import RigTarget
from harness.targets.url import locate, normal
from harness.targets.url_target import UrlTarget


@contextlib.contextmanager
def open_target(
    rig: str,
    *,
    base_url: str | None = None,
    dsn: str = "",
    hosts: int | None = None,
    owned: bool = False,
    read_only: bool = False,
) -> Iterator[tuple[Target, str]]:
    """Yields the target and its address as text; unless `read_only`, locks the rig, or the rigs at the URL's address.

    Faults that an earlier bench left open are healed first. Raises UsageError for an address that is neither ours nor
    declared as `owned`; RigError where nothing answers, or another process changes or measures the rig.
    """
    if base_url is None:
        with _lock(rig, read_only=read_only), open_rig(rig) as opened:
            _must_be_current(rig, opened.state)
            if not read_only:
                require_healed(opened, FAULTS)
                _remove_leftovers(opened)
            with RigTarget(opened) as target:
                place = target.endpoint()
                yield target, f"rig '{rig}' ({opened.state.provider}), {place.host}:{place.port}"
        return
    if not read_only:
        remove_leftovers()
    address = locate(base_url)
    places = {address.host, address.ip, *address.others}
    rigs = [stored for stored in state.readable() if places & _addresses(stored)]
    authorities = [authority_file(stored.name) for stored in rigs if stored.ready and stored.variables.get("tls")]
    if authorities:
        address = replace(address, ca=str(authorities[0]))
    known = {place for stored in state.readable() if stored.ready for place in _addresses(stored)}
    with contextlib.ExitStack() as stack:
        for stored in rigs:
            stack.enter_context(_lock(stored.name, read_only=read_only))
        service = stack.enter_context(UrlTarget(address, dsn, hosts=hosts, known=known, owned=owned))
        yield service, str(service.address)


def _remove_leftovers(rig: Rig) -> None:
    """Removes what a killed bench of the rig left on the load hosts; the rig is locked, so no other bench uses it.

    A load host may be this machine, where a bench by URL runs, or the load host of another rig as well.
    """
    find = ["find", "/tmp", "-maxdepth", "1", "-type", "d", "-name", f"{folder_prefix(rig.name)}*"]  # noqa: S108
    rig.each(rig.role("load"), lambda host: host.run([*find, "-exec", "rm", "-rf", "--", "{}", "+"], check=False))


def _addresses(rig: RigState) -> set[str]:
    """Returns the addresses at which this machine reaches the rig's hosts, without loopback ports forwarded to sshd.

    Virtual machines have a network that this machine is not in: packets to their addresses would leave it.
    """
    addresses = {host.ssh_address for host in rig.hosts} - {"127.0.0.1"}
    with contextlib.suppress(RigError):  # another version's provider
        if provider_of(rig).NETWORK_IS_LOCAL:
            addresses |= {host.address for host in rig.hosts}
    return {normal(address) for address in addresses}


def _lock(rig: str, *, read_only: bool) -> contextlib.AbstractContextManager[None]:
    """Locks the rig: another bench would add load, and provisioning would change the system under test."""
    return contextlib.nullcontext() if read_only else state.locked(rig)


def _must_be_current(name: str, stored: RigState) -> None:
    """Raises RigError where the hosts do not run the code of this checkout."""
    if stored.code_hash != checkout_hash():
        raise RigError(
            f"rig '{name}' runs code {stored.code_hash or 'unknown'}, this checkout is {checkout_hash()}",
            hint="update it with ./run provision",
        )
