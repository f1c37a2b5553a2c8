"""Opens the connections of a stripe, many at a time but within the listen backlog of common servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable

from harness.errors import RigError
from harness.load.connection import HttpConnection
from harness.load.job import Job

_AT_A_TIME = 100
"""Below the listen backlog of common servers (128); a dropped SYN costs a second."""


class Connector:
    """Connects to the job's target; resolves its name at most once."""

    def __init__(self, job: Job, make_connection: Callable[[], HttpConnection]) -> None:
        self._target = job.target
        self._job = job
        self._make_connection = make_connection
        self._address = job.target.address
        self._tls: ssl.SSLContext | None = None

    async def open(self, count: int) -> list[HttpConnection]:
        """Returns `count` connections; raises `RigError` if one cannot be opened or the CA file cannot be read."""
        if self._target.tls:
            self._tls = self._tls or self._tls_context()
        semaphore = asyncio.Semaphore(_AT_A_TIME)

        async def open_one() -> HttpConnection:
            async with semaphore:
                return await self.connect()

        results = await asyncio.gather(*(open_one() for _ in range(count)), return_exceptions=True)
        connections = [result for result in results if isinstance(result, HttpConnection)]
        for error in results:
            if isinstance(error, BaseException):
                for connection in connections:
                    connection.close()
                raise RigError(
                    f"{self._job.load_host}: cannot connect to {self._target.host}:{self._target.port}: "
                    f"{reason(error)} ({len(connections)} of {count} connections were opened)"
                ) from error
        return connections

    def _tls_context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._target.ca or None)
        except OSError as error:
            raise RigError(f"{self._job.load_host}: cannot read {self._target.ca}: {reason(error)}") from error

    async def connect(self) -> HttpConnection:
        """Returns a new connection; raises OSError, also for a timeout.

        Of several addresses of a name, such as ::1 and 127.0.0.1 of `localhost`, it keeps the first that accepts.
        """
        if self._address:
            return await self._connect(self._address)
        found = await asyncio.get_running_loop().getaddrinfo(
            self._target.host, self._target.port, type=socket.SOCK_STREAM
        )
        *others, last = dict.fromkeys(str(entry[4][0]) for entry in found)
        for address in others:
            with contextlib.suppress(ConnectionError, TimeoutError):
                return self._keep(address, await self._connect(address))
        return self._keep(last, await self._connect(last))

    def _keep(self, address: str, connection: HttpConnection) -> HttpConnection:
        self._address = address
        return connection

    async def _connect(self, address: str) -> HttpConnection:
        connecting = asyncio.get_running_loop().create_connection(
            self._make_connection,
            address,
            self._target.port,
            ssl=self._tls,
            server_hostname=self._target.host if self._tls else None,
        )
        try:
            _, connection = await asyncio.wait_for(connecting, self._job.timeout_s)
        except asyncio.TimeoutError:  # noqa: UP041 - no OSError before Python 3.11
            raise TimeoutError("timed out") from None
        return connection


def reason(error: BaseException) -> str:
    """The cause in words: `Connection refused` instead of `[Errno 111] Connect call failed ('…', 80)`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    number = getattr(error, "errno", None)
    has_errno = isinstance(number, int) and not isinstance(error, socket.gaierror)
    return os.strerror(number) if has_errno and number else str(error) or type(error).__name__
