"""What a bench runs against, opened for its length: a rig's tier, or a service known by its URL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from harness.errors import RigError
from harness.provision.bundle import checkout_hash
from harness.rig import state
from harness.rig.rig import open_rig
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
    """The target and where it is, in words; a rig is locked meanwhile, unless it is only looked at.

    Raises UsageError for an address that is neither ours nor, by `owned`, the user's; RigError where nothing answers,
    or where another process changes or measures the rig.
    """
    if base_url is None:
        with _alone(rig, read_only=read_only), open_rig(rig) as known:
            _must_be_current(rig, known.state)
            with RigTarget(known) as tier:
                place = tier.endpoint()
                yield tier, f"rig '{rig}' ({known.state.provider}), {place.host}:{place.port}"
        return
    listed = state.load(rig)
    own = {host.address for host in (listed.hosts if listed else ())}
    addresses = {name for host in (listed.hosts if listed else ()) for name in (host.address, host.ssh_address)}
    address = locate(base_url)
    if listed and listed.variables.get("tls") and address.ip in addresses:
        address = replace(address, ca=str(authority_file(rig)))
    with (
        _alone(rig, read_only=read_only or address.ip not in own),
        UrlTarget(address, dsn, hosts=hosts, known=addresses, owned=owned) as service,
    ):
        yield service, str(service.address)


def _alone(rig: str, *, read_only: bool) -> contextlib.AbstractContextManager[None]:
    """The rig's lock: a second bench would be measured with the first; a provision would change what it measures."""
    return contextlib.nullcontext() if read_only else state.locked(rig)


def _must_be_current(name: str, known: RigState) -> None:
    """Raises RigError where the hosts run other code than this checkout: what they measure would not be this."""
    if known.code_hash != checkout_hash():
        raise RigError(
            f"rig '{name}' runs code {known.code_hash or 'unknown'}, this checkout is {checkout_hash()}",
            hint="./run provision brings it up to date",
        )
