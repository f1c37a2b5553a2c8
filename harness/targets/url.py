"""The address of an external service, and whether load may be sent to it.

The name is looked up once. If it has several addresses, all need the permission, and the first one that answers is
kept: the announcement, the load and all requests are for that one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from harness.errors import RigError, UsageError
from harness.load.request_builder import authority

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
CONTRACT = "docs/openapi.yaml describes the responses that a service must give"
HINT = "give --base-url http://HOST:PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A service's address: `host` as the user gave it, `ip` as it was looked up, `others` if it has more addresses.

    IP addresses are in their `normal` form.

    `ca`: with `tls`, the file of the certificate authority to verify against; empty means the system's.
    """

    host: str
    port: int
    tls: bool
    ip: str
    ca: str = ""
    others: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        """The URL that the user gave, without a path."""
        return f"http{'s' if self.tls else ''}://{authority(self.host, self.port)}"

    def __str__(self) -> str:
        return self.url if self.ip == self.host else f"{self.url} ({self.ip})"


def locate(base_url: str) -> Address:
    """Parses a URL and looks its host up. Raises UsageError for an invalid URL, RigError for an unknown name.

    Credentials are refused and not printed: in a command they show in the process list and the shell's history.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise UsageError("--base-url: not a URL with a valid host and port", hint=HINT) from None
    host = normal(parts.hostname or "")
    if parts.username is not None or parts.password is not None or "@" in base_url:
        raise UsageError("--base-url: credentials in the URL are not supported", hint=HINT)
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or port == 0:
        raise UsageError(f"--base-url {base_url!r}: not http or https with a host name or address", hint=HINT)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(
            f"--base-url {base_url!r}: a path is not supported: the endpoints are /api/… and /health",
            hint=f"{HINT}; a proxy can remove the path",
        )
    tls = parts.scheme == "https"
    port = port or (443 if tls else 80)
    first, *others = look_up(host, port)
    return Address(host=host, port=port, tls=tls, ip=first, others=tuple(others))


def look_up(host: str, port: int) -> list[str]:
    """Returns the IP addresses of a name, without repetitions, in the resolver's order. Raises RigError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(normal(str(entry[4][0])) for entry in found))
    except OSError as error:
        raise RigError(f"{host}: {error.strerror or error}", hint="is the name spelt right?") from None


def normal(address: str) -> str:
    """Returns the one form in which an IP address is compared: an IPv4 address that is mapped into IPv6 as IPv4.

    `::ffff:198.18.0.3` is 198.18.0.3 (RFC 4291, 2.5.5.2), `::0:1` is ::1. A name is returned as it is.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)


def is_ours(ip: str, rig_addresses: Collection[str]) -> bool:
    """Returns whether an address is loopback or of a rig's host, both in their `normal` form.

    The range for benchmarks (RFC 2544) is not enough: resolvers of proxies give its addresses to public names.
    """
    try:
        address = ipaddress.ip_address(normal(ip))
    except ValueError:
        return False
    return address.is_loopback or str(address).partition("%")[0] in rig_addresses


def permit(what: str, ip: str, rig_addresses: Collection[str], *, owned: bool) -> None:
    """Raises UsageError unless `ip` is ours or the user declared the service as `owned`."""
    if not owned and not is_ours(ip, rig_addresses):
        raise UsageError(
            f"{what} ({ip}) is neither loopback nor a host of a provisioned rig",
            hint="load tests can take a service down; if this one is yours, add --yes-this-is-mine",
        )
