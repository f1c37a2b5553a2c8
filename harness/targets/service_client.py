"""Sends single requests to a service: before the load, to see what the service is, and after it, to read counters.

The requests are built and the responses read by the code of the load agent, so that a service cannot answer the two
differently. Each request has a deadline for the whole response, and each response is bounded.
"""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import Any, Self

from harness.errors import RigError
from harness.load.request_builder import request_bytes
from harness.load.response_parser import ResponseParser
from harness.targets.url import Address
from harness.text import printable

TIMEOUT_S = 10.0
"""For one request: connecting, sending, and the last byte of the response."""
READS = 3
"""A GET is sent at most as often: a service may close a connection whenever it is idle."""
PAUSE_S = 0.2
PROBE_S = 3.0
"""For one address of several."""
HINT = "is the service up?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete response."""

    status: int
    body: bytes
    is_json: bool

    @property
    def data(self) -> Any:
        """The body, parsed where it is JSON, else as text."""
        text = self.body.decode(errors="replace")
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    @property
    def fields(self) -> dict[str, object]:
        """The body's JSON object; empty if it is something else."""
        return self.data if isinstance(self.data, dict) else {}

    def __str__(self) -> str:
        text = self.body[:200].decode(errors="replace")
        return f"{self.status} {printable(' '.join(text.split()))}"


class ServiceClient:
    """One connection to a service, opened when a request needs it and again when the service has closed it.

    Use as a context manager.
    """

    def __init__(self, address: Address, *, timeout_s: float = TIMEOUT_S) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def get(self, path: str, *, limit_s: float = TIMEOUT_S) -> Response:
        """Sends a GET, again over a new connection if the connection ends before the response. Raises RigError.

        `limit_s`: a shorter time for this request.
        """
        limit_s = min(limit_s, self._timeout_s)
        deadline = monotonic() + limit_s
        for attempt in range(1, READS + 1):
            try:
                return self._exchange("GET", path, None, deadline)
            except (ConnectionError, ssl.SSLEOFError) as error:
                self.close()
                if attempt == READS:
                    raise self._failure("GET", path, error, limit_s) from None
                sleep(PAUSE_S * (attempt - 1))
            except OSError as error:
                self.close()
                raise self._failure("GET", path, error, limit_s) from None
        raise AssertionError

    def post(self, path: str, body: Any) -> Response:
        """Sends a POST once, over a new connection. Raises RigError."""
        self.close()
        try:
            return self._exchange("POST", path, json.dumps(body).encode(), monotonic() + self._timeout_s)
        except OSError as error:
            self.close()
            raise self._failure("POST", path, error, self._timeout_s) from None

    def _failure(self, method: str, path: str, error: OSError, limit_s: float) -> RigError:
        reason = printable(error.strerror or error) or type(error).__name__
        if isinstance(error, TimeoutError):
            reason = f"no complete response within {limit_s:g} s"
        return RigError(f"{self._address}: {method} {path}: {reason}", hint=HINT)

    def _exchange(self, method: str, path: str, body: bytes | None, deadline: float) -> Response:
        connection = self._socket or self._connect(deadline)
        self._socket = connection
        place = self._address
        request = request_bytes(method, path, host=place.host, port=place.port, body=body)
        connection.settimeout(_remaining(deadline))
        connection.sendall(request)
        parser = ResponseParser()
        try:
            while not parser.complete:
                connection.settimeout(_remaining(deadline))
                data = connection.recv(65536)
                if not data:
                    if parser.until_close:
                        break
                    raise ConnectionResetError("the connection was closed before the response was complete")
                parser.feed(data)
                if parser.error:
                    reason = "is too large" if parser.error == "too large" else "is not HTTP/1.1"
                    self.close()
                    raise RigError(f"{place}: {method} {path}: the response {reason}")
        finally:
            parser.end()
        if not parser.reusable:
            self.close()
        return Response(status=parser.status, body=bytes(parser.body), is_json=parser.is_json)

    def _connect(self, deadline: float) -> socket.socket:
        place = self._address
        try:
            plain = socket.create_connection((place.ip, place.port), _remaining(deadline))
        except OSError as error:
            raise self._unreachable(error) from None
        if not place.tls:
            return plain
        try:
            return ssl.create_default_context(cafile=place.ca or None).wrap_socket(plain, server_hostname=place.host)
        except OSError as error:
            with suppress(OSError):
                plain.close()
            raise self._unreachable(error) from None

    def _unreachable(self, error: OSError) -> RigError:
        return RigError(f"{self._address} cannot be reached: {printable(error.strerror or error)}", hint=HINT)


def _remaining(deadline: float) -> float:
    """Raises TimeoutError once the deadline has passed."""
    remaining = deadline - monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def answering(address: Address) -> Address:
    """Returns the address with the first IP at which GET /health is 200, else the first that accepts a request.

    `localhost` is often ::1 and 127.0.0.1, and the service listens on one of them.
    """
    best = address
    for ip in (address.ip, *address.others) if address.others else ():
        candidate = replace(address, ip=ip, others=())
        try:
            with ServiceClient(candidate, timeout_s=PROBE_S) as client:
                status = client.get("/health").status
        except RigError:
            continue
        if status == 200:
            return candidate
        best = candidate if best is address else best
    return best
