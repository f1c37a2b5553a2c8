"""Opens the connections of a stripe, many at a time but not more than servers let wait."""

from __future__ import annotations

import asyncio
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
    """Connects to the job's target; the name is looked up once at most."""

    def __init__(self, job: Job, make_link: Callable[[], HttpConnection]) -> None:
        self._target = job.target
        self._job = job
        self._make_link = make_link
        self._address = job.target.address
        self._tls: ssl.SSLContext | None = None

    async def open(self, count: int) -> list[HttpConnection]:
        """`count` connections; raises `RigError` when one of them cannot be opened, or the authority not read."""
        if self._target.tls:
            self._tls = self._tls or self._trust()
        gate = asyncio.Semaphore(_AT_A_TIME)

        async def one() -> HttpConnection:
            async with gate:
                return await self.connect()

        results = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
        links = [result for result in results if isinstance(result, HttpConnection)]
        for error in results:
            if isinstance(error, BaseException):
                for link in links:
                    link.close()
                raise RigError(
                    f"{self._job.load_host}: cannot connect to {self._target.host}:{self._target.port}: "
                    f"{reason(error)} ({len(links)} of {count} connections were opened)"
                ) from error
        return links

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self._target.ca or None)
        except OSError as error:
            raise RigError(f"{self._job.load_host}: cannot read {self._target.ca}: {reason(error)}") from error

    async def connect(self) -> HttpConnection:
        """A new connection; OSError (of which a time-out is one) when there is none to be had."""
        loop = asyncio.get_running_loop()
        if not self._address:
            found = await loop.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_STREAM)
            self._address = str(found[0][4][0])
        connecting = loop.create_connection(
            self._make_link,
            self._address,
            self._target.port,
            ssl=self._tls,
            server_hostname=self._target.host if self._tls else None,
        )
        try:
            _, link = await asyncio.wait_for(connecting, self._job.timeout_s)
        except asyncio.TimeoutError:  # noqa: UP041 - no OSError before Python 3.11
            raise TimeoutError("timed out") from None
        return link


def reason(error: BaseException) -> str:
    """`Connection refused` rather than `[Errno 111] Connect call failed ('…', 80)`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    number = getattr(error, "errno", None)
    named = isinstance(number, int) and not isinstance(error, socket.gaierror)
    return os.strerror(number) if named and number else str(error) or type(error).__name__
