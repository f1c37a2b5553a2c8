"""Opens the target of a bench: a rig, or an external service by its URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from harness.errors import RigError
from harness.provision.bundle import checkout_hash
from harness.provision.providers import provider_of
from harness.rig import state
from harness.rig.rig import Rig, open_rig
from harness.rig.state import RigState, authority_file
from harness.targets.base import Target
from harness.targets.rig_target import RigTarget
from harness.targets.url import locate
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
    """Yields the target and its address as text; locks the rig, unless `read_only`.

    Raises UsageError for an address that is neither ours nor declared as `owned`; RigError where nothing answers, or
    another process changes or measures the rig.
    """
    if base_url is None:
        with _lock(rig, read_only=read_only), open_rig(rig) as opened:
            _must_be_current(rig, opened.state)
            if not read_only:
                _remove_leftovers(opened)
            with RigTarget(opened) as target:
                place = target.endpoint()
                yield target, f"rig '{rig}' ({opened.state.provider}), {place.host}:{place.port}"
        return
    stored = state.load(rig)
    hosts_of_rig = stored.hosts if stored else ()
    own = {host.address for host in hosts_of_rig}
    addresses = {address for host in hosts_of_rig for address in (host.address, host.ssh_address)}
    address = locate(base_url)
    places = {address.ip, *address.others}
    if stored and stored.variables.get("tls") and places & addresses:
        address = replace(address, ca=str(authority_file(rig)))
    with (
        _lock(rig, read_only=read_only or not places & own),
        UrlTarget(address, dsn, hosts=hosts, known=_rig_addresses(), owned=owned) as service,
    ):
        yield service, str(service.address)


def _remove_leftovers(rig: Rig) -> None:
    """Removes what a killed bench left on the load hosts; the rig is locked, so no other bench uses it."""
    find = ["find", "/tmp", "-maxdepth", "1", "-type", "d", "-name", "pgcrucible-*"]  # noqa: S108
    rig.each(rig.role("load"), lambda host: host.run([*find, "-exec", "rm", "-rf", "--", "{}", "+"], check=False))


def _rig_addresses() -> set[str]:
    """Returns the addresses at which this machine reaches hosts of its provisioned rigs.

    Virtual machines have a network that this machine is not in: packets to their addresses would leave it.
    """
    addresses: set[str] = set()
    for name in state.names():
        with contextlib.suppress(RigError):  # the state of another rig may be damaged
            stored = state.load(name)
            if stored and stored.ready:
                addresses |= {host.ssh_address for host in stored.hosts}
                if provider_of(stored).NETWORK_IS_LOCAL:
                    addresses |= {host.address for host in stored.hosts}
    return addresses


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
