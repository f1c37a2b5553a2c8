"""Forwards TCP connections late: run on an app host as a separate unit. Standard library only.

Arguments: port to listen on (loopback), address and port to forward to, and the milliseconds by which each direction
is delayed. Bytes keep their order. The end of one side reaches the other after the same delay.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

BLOCK = 65536
WAITING = 256
"""Blocks that may wait for their time; a faster sender is slowed down by TCP."""


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Copies until the reader ends, each block `delay_s` after it arrived."""
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING)
    loop = asyncio.get_running_loop()

    async def write() -> None:
        while True:
            due_s, block = await waiting.get()
            await asyncio.sleep(due_s - loop.time())
            if not block:
                writer.write_eof()
                return
            writer.write(block)
            await writer.drain()

    async def read() -> None:
        block = b"-"
        while block:
            try:
                block = await reader.read(BLOCK)
            except OSError:  # reset by the peer
                block = b""
            await waiting.put((loop.time() + delay_s, block))

    with contextlib.suppress(OSError):
        await asyncio.gather(read(), write())


async def serve(port: int, address: str, target_port: int, delay_s: float) -> None:
    """Accepts connections until the process ends."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(address, target_port)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(forward(reader, back, delay_s), forward(there, writer, delay_s))
        finally:
            writer.close()
            back.close()

    server = await asyncio.start_server(accept, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    port, address, target_port, delay_ms = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(int(port), address, int(target_port), float(delay_ms) / 1000))
