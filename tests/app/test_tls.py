"""The service and a database with TLS: it verifies the server or refuses the connection.

The server of the tests is built without TLS, so a proxy speaks it for the server, as PgBouncer would.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from .conftest import Service, Start

SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
Speak = Callable[[ssl.SSLContext], dict[str, str]]


class Proxy(socketserver.ThreadingTCPServer):
    """A proxy that requires TLS from its clients and forwards to a server without TLS."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self.context, self.behind, self.over = context, ("127.0.0.1", port), False
        super().__init__(("127.0.0.1", 0), Conversation)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def end(self) -> None:
        """Stops it; no socket and no thread remains."""
        self.over = True
        self.shutdown()
        self._thread.join()
        self.server_close()


class Conversation(socketserver.BaseRequestHandler):
    server: Proxy

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client does not like us, or has gone
            if self.request.recv(8, socket.MSG_WAITALL) == SSL_REQUEST:
                self.request.sendall(b"S")
                client = self.server.context.wrap_socket(self.request, server_side=True)
                with client, socket.create_connection(self.server.behind) as behind:
                    self.carry(client, behind)

    def carry(self, client: ssl.SSLSocket, behind: socket.socket) -> None:
        other = {client: behind, behind: client}
        while not self.server.over:
            for end in [client] if client.pending() else select.select(other, (), (), 0.05)[0]:
                data = end.recv(65536)
                if not data:
                    return
                other[end].sendall(data)


@pytest.fixture
def speak(database: Any) -> Iterator[Speak]:
    """`speak(context)`: the service's environment to reach the database through a proxy."""
    proxies = []

    def start(context: ssl.SSLContext) -> dict[str, str]:
        proxies.append(Proxy(context, int(database.environ["POSTGRES_PORT"])))
        return {**database.environ, "POSTGRES_PORT": str(proxies[-1].server_address[1])}

    yield start
    for proxy in proxies:
        proxy.end()


def verify(authority: Any) -> dict[str, str]:
    return {"POSTGRES_SSLMODE": "verify-full", "POSTGRES_SSLROOTCERT": str(authority.file)}


async def count(service: Service, strategy: str, number: int = 40) -> None:
    answers = await asyncio.gather(*(service.increment("hot", strategy) for _ in range(number)))
    assert [answer.status for answer in answers] == [200] * number


async def test_verified_connections_are_kept_and_replaced(
    start: Start, speak: Speak, database: Any, authorities: Any
) -> None:
    service = await start(speak(authorities[0].context()), **verify(authorities[0]), POOL_SIZE=2)
    ours = "FROM pg_stat_activity WHERE datname = current_database() AND usename = 'appuser'"
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as admin:
        await count(service, "upsert")
        first = await (await admin.execute(f"SELECT pid {ours} ORDER BY pid")).fetchall()
        await count(service, "for-update")
        await count(service, "coalesce")
        assert await (await admin.execute(f"SELECT pid {ours} ORDER BY pid")).fetchall() == first
        assert len(first) == 2
        await admin.execute(f"SELECT pg_terminate_backend(pid, 5000) {ours}")
        await count(service, "upsert")
    assert await service.value("hot") == 160


@pytest.mark.parametrize(("authority", "name"), [(1, "localhost"), (0, "elsewhere")])
async def test_a_server_that_cannot_be_verified_is_refused(
    start: Start, speak: Speak, authorities: Any, authority: int, name: str
) -> None:
    service = await start(speak(authorities[authority].context(name)), **verify(authorities[0]))
    assert (await service.get("/health")).status == 503
    refused = await service.increment("hot")
    assert (refused.status, refused.body["code"], refused.body["outcome"]) == (503, "TLS_REFUSED", "aborted")


async def test_a_server_without_tls_is_refused(start: Start, database: Any, authorities: Any) -> None:
    service = await start(database.environ, **verify(authorities[0]))
    refused = await service.increment("hot")
    assert (refused.status, refused.body["code"], refused.body["outcome"]) == (503, "TLS_REFUSED", "aborted")
