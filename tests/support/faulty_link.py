"""A TCP proxy in front of a server, with faults: silent (no byte passes), refusing, or reset at the next byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FaultyLink:
    """`port` is where it listens; `attempts` counts the connections that were opened to it."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.attempts = 0
        self.refusing = False
        self.reset_next = False
        """Resets the connection of the next bytes of a client instead of passing them on."""

    def silence(self) -> None:
        """Passes no more bytes, as a partition does. The kernel still acknowledges what a client sends."""
        self._passing.clear()

    def heal(self) -> None:
        """Passes all bytes, the held back ones first."""
        self._passing.set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client."""
        self.attempts += 1
        self._writers.add(writer)
        if self.refusing:
            reset(writer)
            return
        await self._passing.wait()
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            reset(writer)
            return
        self._writers.add(server_writer)
        backwards = asyncio.create_task(self._pass(server_reader, writer, from_client=False))
        self._tasks.add(backwards)
        await self._pass(reader, server_writer, from_client=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool) -> None:
        try:
            while data := await reader.read(65536):
                await self._passing.wait()
                if from_client and self.reset_next:
                    self.reset_next = False
                    break
                writer.write(data)
        except OSError:
            pass
        reset(writer)

    def close(self) -> None:
        """Ends everything."""
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes the connection so that the peer gets a reset."""
    opened = writer.transport.get_extra_info("socket")
    if opened is not None and not writer.transport.is_closing():
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def faulty_link(target: int) -> AsyncIterator[FaultyLink]:
    """Runs a link to the TCP port `target` of this machine."""
    link = FaultyLink(target)
    server = await asyncio.start_server(link.accept, "127.0.0.1", 0)
    link.port = server.sockets[0].getsockname()[1]
    try:
        yield link
    finally:
        link.close()
        server.close()
