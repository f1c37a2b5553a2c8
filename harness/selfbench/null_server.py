"""A server that returns the same counter to every request: `python -m harness.selfbench.null_server`.

It replaces a service that costs nothing, so the load generator is what is measured. With `--slow-ms` it delays
responses by known times and records how long each really took: the reference for a client's percentiles. It prints its
port, and at the end of its input one JSON object of histogram slots.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from typing import cast

from harness.load.agent import new_event_loop
from harness.load.clock import now_us
from harness.load.results import histogram

_BODY = b'{"success": true, "value": 1, "container": "null"}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
FAST_MS = 2.0
SLOW_SHARE = 0.015
"""With 1.5 % slow responses the p99 is clearly one of them, not at the edge between slow and fast."""


class _Delays:
    """Delays responses; checks every millisecond which are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop, slow_ms: float) -> None:
        self._loop = loop
        self._random = random.Random(1)
        self._slow_us = round(slow_ms * 1000)
        self._due: dict[int, list[tuple[int, asyncio.WriteTransport]]] = {}
        self._next_ms = now_us() // 1000
        self.actual: histogram.Counts = {}
        self._tick()

    def hold(self, transport: asyncio.WriteTransport) -> None:
        received_us = now_us()
        wait = self._slow_us if self._random.random() < SLOW_SHARE else round(FAST_MS * 1000)
        self._due.setdefault((received_us + wait) // 1000, []).append((received_us, transport))

    def _tick(self) -> None:
        while self._next_ms <= now_us() // 1000:
            for received_us, transport in self._due.pop(self._next_ms, ()):
                if not transport.is_closing():
                    transport.write(ANSWER)
                    slot = histogram.slot(now_us() - received_us)
                    self.actual[slot] = self.actual.get(slot, 0) + 1
            self._next_ms += 1
        self._loop.call_later(0.001, self._tick)


class _Connection(asyncio.Protocol):
    """Answers each request when its head and its whole body have arrived."""

    def __init__(self, delays: _Delays | None) -> None:
        self._delays = delays
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while (end := data.find(b"\r\n\r\n") + 4) > 3:
            at = data.lower().find(b"content-length:", 0, end)
            length = end if at < 0 else end + int(data[at + 15 : data.find(b"\r\n", at)])
            if len(data) < length:
                break
            data = data[length:]
            if self._delays:
                self._delays.hold(self._transport)
            else:
                self._transport.write(ANSWER)
        self._rest = data


async def _serve(slow_ms: float | None) -> None:
    loop = asyncio.get_running_loop()
    delays = _Delays(loop, slow_ms) if slow_ms else None
    server = await loop.create_server(lambda: _Connection(delays), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    print(json.dumps(delays.actual if delays else {}))


def main() -> None:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slow-ms", type=float, help="delay of the slow responses; the others take 2 ms")
    arguments = parser.parse_args()
    loop = new_event_loop()
    try:
        loop.run_until_complete(_serve(arguments.slow_ms))
    finally:
        loop.close()


if __name__ == "__main__":
    main()
