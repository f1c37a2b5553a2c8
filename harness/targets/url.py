"""Where a service known by its URL is, and whether load may go there.

The name is looked up once, and what was found is where everything goes: judged, announced, loaded and asked.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness.errors import RigError, UsageError
from harness.rig.network import BENCHMARK_NET

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,253}")
TIMEOUT_S = 10.0
CONTRACT = "docs/openapi.yaml says what a service must answer"
HINT = "give --base-url http://HOST:PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A service's place: `host` as the user named it, `ip` as it was looked up.

    `ca`: with `tls`, the file of the authority to verify against; empty means the system's.
    """

    host: str
    port: int
    tls: bool
    ip: str
    ca: str = ""

    @property
    def url(self) -> str:
        """What the user gave, without a path."""
        return f"http{'s' if self.tls else ''}://{self.named}:{self.port}"

    @property
    def named(self) -> str:
        """The host as it stands in a URL and in the Host header."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def open(self) -> http.client.HTTPConnection:
        """A connection to the address found at the start. Raises RigError."""
        try:
            plain = socket.create_connection((self.ip, self.port), TIMEOUT_S)
            line = http.client.HTTPConnection(self.named, self.port)
            line.auto_open = 0  # it would look the name up anew
            line.sock = (
                ssl.create_default_context(cafile=self.ca or None).wrap_socket(plain, server_hostname=self.host)
                if self.tls
                else plain
            )
        except OSError as error:
            raise RigError(f"{self} cannot be reached: {error.strerror or error}", hint="is the service up?") from None
        return line

    def __str__(self) -> str:
        return self.url if self.ip == self.host else f"{self.url} ({self.ip})"


def locate(base_url: str) -> Address:
    """The place a URL names. Raises UsageError for one that cannot be, RigError for a name nobody knows.

    Credentials are refused and not repeated: they would stand in the process list and in the shell's history.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        raise UsageError("--base-url: not a URL with a valid host and port", hint=HINT) from None
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None or "@" in base_url:
        raise UsageError("--base-url: a URL with credentials is not taken", hint=HINT)
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(host) or port == 0:
        raise UsageError(f"--base-url {base_url!r}: not http or https with a host name or address", hint=HINT)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise UsageError(
            f"--base-url {base_url!r}: a path is not supported: the endpoints are /api/… and /health",
            hint=f"{HINT}; let a proxy take the path away",
        )
    tls = parts.scheme == "https"
    port = port or (443 if tls else 80)
    return Address(host=host, port=port, tls=tls, ip=look_up(host, port))


def look_up(host: str, port: int) -> str:
    """The first address of a name. Raises RigError."""
    try:
        return str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise RigError(f"{host}: {error.strerror or error}", hint="is the name spelt right?") from None


def is_ours(ip: str, rig_addresses: Collection[str]) -> bool:
    """Loopback, the range set aside for benchmarks, or a host of the rig's inventory."""
    try:
        found = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return mapped.is_loopback or mapped in BENCHMARK_NET or str(mapped) in rig_addresses


def permit(what: str, ip: str, rig_addresses: Collection[str], *, owned: bool) -> None:
    """Raises UsageError where `ip` is a stranger's, as far as we know, and the user has not vouched for it."""
    if not owned and not is_ours(ip, rig_addresses):
        raise UsageError(
            f"{what} ({ip}) is neither loopback, nor in {BENCHMARK_NET}, nor a host of the rig's inventory",
            hint="a bench is a load attack on whoever answers there: if it is yours, say --yes-this-is-mine",
        )


def ask(
    address: Address, method: str, path: str, body: Any = None, *, line: http.client.HTTPConnection | None = None
) -> tuple[int, Any]:
    """Status and answer (JSON where it is JSON, else text) of one request, over `line` where given. Raises RigError."""
    with contextlib.nullcontext(line) if line else contextlib.closing(address.open()) as used:
        try:
            used.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={} if body is None else {"Content-Type": "application/json"},
            )
            answer = used.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise RigError(
                f"{address}: {method} {path}: {str(error) or type(error).__name__}", hint="is the service up?"
            ) from None
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text
