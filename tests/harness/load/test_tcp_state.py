"""The end of a connection, asked for in each round of the event loop until the owner is told of it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from harness.load.tcp_state import has_ended


class Client(asyncio.Protocol):
    """Knows whether it was told of the end."""

    is_told = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_told = True


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("ends", ["closed by the peer", "reset by the peer", "aborted here"])
async def test_the_end_is_known_until_the_owner_is_told_of_it(ends: str, tls: bool, authorities: Any) -> None:
    """TLS tells the owner a round after the socket is gone: a load agent died of a HAProxy that was killed."""
    peers = asyncio.Queue[asyncio.StreamWriter]()
    server_tls = authorities[0].context() if tls else None
    client_tls = ssl.create_default_context(cafile=authorities[0].file) if tls else None
    server = await asyncio.start_server(lambda _, writer: peers.put_nowait(writer), "127.0.0.1", 0, ssl=server_tls)
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(
        Client, *server.sockets[0].getsockname()[:2], ssl=client_tls, server_hostname="localhost" if tls else None
    )
    peer = await peers.get()
    try:
        assert not has_ended(transport)
        match ends:
            case "closed by the peer":
                peer.close()
            case "reset by the peer":
                peer.transport.abort()
            case _:
                transport.abort()
        seen = []
        async with asyncio.timeout(20):
            while not client.is_told:
                seen.append(has_ended(transport))
                await asyncio.sleep(0)
        seen.append(has_ended(transport))
        assert sorted(seen) == seen, "an end is final"
        assert seen[-1]
    finally:
        transport.abort()
        peer.transport.abort()
        server.close()
