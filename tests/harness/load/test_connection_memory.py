"""The memory that responses take: cached ones, reference cycles, responses without an end."""

from __future__ import annotations

import asyncio
import gc
import resource
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.load import connection, response_parser
from harness.load.connection import HttpConnection

from .conftest import (
    BODY,
    Request,
    Serve,
    chunked,
    http,
    job_dict,
    run_job,
    until_close,
)


def test_only_a_few_short_responses_are_cached_whole() -> None:
    calls: list[object] = []

    def answered(connection: HttpConnection, done_us: int, status: int, body: bytes, is_json: bool) -> bytes:
        calls.append(body)
        return body

    owner = SimpleNamespace(
        answered=answered, repeated=lambda connection, done_us, outcome: calls.append(("again", outcome))
    )
    connection = HttpConnection(owner)  # type: ignore[arg-type]
    connection.connection_made(SimpleNamespace(write=None))  # type: ignore[arg-type]
    bodies = [b"%04d" % number for number in range(1000)] + [b"x" * 10_000]
    for body in [bodies[0], *bodies, *bodies]:  # httptools reads the first, and only its head is remembered
        connection.busy = True
        connection.data_received(http(raw=body))
        assert not connection.busy
    assert calls[1:1002] == bodies
    repeated = [entry for entry in calls[1002:] if isinstance(entry, tuple)]
    assert repeated == [("again", body) for body in bodies[: len(repeated)]]
    assert 0 < len(repeated) == len(connection.known_answers) <= 64
    assert calls[1002 + len(repeated) :] == bodies[len(repeated) :]


@pytest.fixture
def parsers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[object]]]:
    """Weak references to all parsers; the garbage collector is off, as in the measured window."""
    references: list[weakref.ref[object]] = []

    class Parser(connection.ResponseParser):
        def __init__(self) -> None:
            super().__init__()
            references.append(weakref.ref(self))

    monkeypatch.setattr(connection, "ResponseParser", Parser)
    monkeypatch.setattr(connection, "_heads", {})
    gc.disable()
    yield references
    gc.enable()


ENDS: dict[str, tuple[list[bytes], Callable[[HttpConnection], None]]] = {
    "chunked": ([chunked(BODY[:9], BODY[9:])], lambda _: None),
    "in pieces": ([chunked(BODY[:9], BODY[9:])[:90], chunked(BODY[:9], BODY[9:])[90:]], lambda _: None),
    "a new head": ([http(raw=BODY, headers="X-Id: 1\r\n")], lambda _: None),
    "truncated": ([http(raw=BODY)[:-5]], lambda connection: connection.connection_lost(None)),
    "until close": ([until_close(BODY)], lambda connection: connection.connection_lost(None)),
    "given up": ([http(raw=BODY)[:-5]], lambda connection: connection.fail("timeout", 0)),
    "garbage": ([b"\x00\x01\x02\x03"], lambda _: None),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_response_leaves_no_reference_cycle(parsers: list[weakref.ref[object]], name: str) -> None:
    calls: list[str] = []
    owner = SimpleNamespace(answered=lambda *_: calls.append("answered"), broken=lambda *_: calls.append("broken"))
    connection = HttpConnection(owner)  # type: ignore[arg-type]
    connection.connection_made(SimpleNamespace(write=None, abort=lambda: None))  # type: ignore[arg-type]
    connection.busy = True
    parts, end = ENDS[name]
    for part in parts:
        connection.data_received(part)
    end(connection)
    assert len(calls) == 1
    assert [parser() for parser in parsers] == [None]


ENDLESS = {
    "body": (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" " * 65536),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nxx\r\n" * 8192),
    "head": (b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n" * 8192),
    "interim responses": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2048),
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_an_endless_response_is_unknown_before_it_fills_the_memory(
    serve: Serve, tmp_path: Path, name: str
) -> None:
    first, then = ENDLESS[name]

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(first)
        while True:
            writer.write(then)
            await writer.drain()

    server = await serve(handler)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = await run_job(job_dict(server.port, tmp_path, requests=8, clients=4, timeout_s=20.0))
    assert set(zip(done.samples.outcome, done.samples.error, strict=True)) == {("unknown", "too large")}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB; the server is in it too
    assert response_parser.held_bytes == 0


async def test_all_responses_of_a_process_are_bounded_together(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_parser, "MAX_HELD_BYTES", 1_000_000)

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(until_close(b" " * 300_000))
        await writer.drain()
        await asyncio.sleep(30)
        return False

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=5, clients=5, timeout_s=2.0))
    assert set(done.samples.error) == {"too large", "timeout"}
    assert response_parser.held_bytes == 0
