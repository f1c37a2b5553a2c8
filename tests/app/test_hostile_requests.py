"""Requests that are too large, too slow, compressed or not HTTP, sent to the service as a process."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession

from .conftest import Launch

BOMBS = {name: (gzip if name == "gzip" else zlib).compress(bytes(300_000_000)) for name in ("gzip", "deflate")}
"""300 kB of each coding, which are 300 MB when decompressed."""


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]
ASK = b"GET /live HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[str, bytes], Awaitable[Pair]]]:
    """`await raw(url, sent)`: a connection on which these bytes were sent."""
    writers = []

    async def connect(url: str, sent: bytes) -> Pair:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writers.append(writer)
        writer.write(sent)
        return reader, writer

    yield connect
    for writer in writers:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "head",
    [
        {"X": "x" * 10_000},
        {f"X-{number}": "x" for number in range(200)},
        {"X" * 10_000: "x"},
    ],
    ids=["long value", "many", "long name"],
)
async def test_a_header_that_is_too_large_is_refused(database, launch: Launch, raw, head: dict[str, str]) -> None:
    _, url = await launch(**database.environ)
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    reader, _ = await raw(url, f"GET /live HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode())
    assert (await reader.readline()).split()[1] == b"400"


async def test_bytes_that_are_not_text_are_a_client_error(database, launch: Launch, raw) -> None:
    _, url = await launch(**database.environ)
    for target in (b"*", b"/live"):
        reader, _ = await raw(url, b"OPTIONS %b HTTP/1.1\r\nHost: test\r\nExpect: \x9a\r\n\r\n" % target)
        assert (await reader.readline()).split()[1] in (b"400", b"417")


async def test_an_incomplete_header_is_cut_off(database, launch: Launch, raw) -> None:
    """Slowloris: an occasional byte does not keep a connection open, not even after a complete request."""
    _, url = await launch(**database.environ, HEAD_SECONDS="0.5")
    silent = await raw(url, b"")
    stuck = await raw(url, ASK[:-2])
    second = await raw(url, ASK)
    assert b" 200 " in await second[0].readuntil(b"\r\n\r\n")
    second[1].write(ASK[:9])
    reader, dripping = await raw(url, ASK[:-2])

    async def drip() -> None:
        for _ in range(600):
            if reader.at_eof():
                return
            dripping.write(b"X: x\r\n")
            await asyncio.sleep(0.05)
        raise AssertionError("a head that never ends was waited for")

    await asyncio.wait_for(drip(), 60)
    assert await asyncio.wait_for(stuck[0].read(), 60) == b""
    assert b"HTTP" not in await asyncio.wait_for(second[0].read(), 60)
    silent[1].write(ASK)  # it never began, so it was not late
    assert (await asyncio.wait_for(silent[0].readline(), 60)).startswith(b"HTTP/1.1 200 ")


async def test_timely_headers_and_long_requests_are_not_cut_off(database, launch: Launch, raw) -> None:
    _, url = await launch(**database.environ, HEAD_SECONDS="0.5", KEEPALIVE_SECONDS="60")
    body = b'{"key": "a", "hold_ms": 1500}'
    post = b"POST /api/transaction HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await raw(url, post[:20])
    await asyncio.sleep(0.05)
    writer.write(post[20:])
    await asyncio.sleep(0.05)
    writer.write(body)
    assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).startswith(b"HTTP/1.1 200 ")


def chunks(*coded: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*coded, b""))


async def test_a_compressed_body_is_refused_and_not_decompressed(tmp_path: Path, launch: Launch, raw) -> None:
    """700 kB of gzip are 700 MB of text: eight of them would hold the service for many seconds."""
    process, url = await launch(BACKEND="sqlite-tuned", SQLITE_PATH=str(tmp_path / "file"))
    before = cpu_seconds(process.pid)
    for coding in ("gzip", "X-GZIP", "deflate", "br", "zstd", "identity, gzip", "gzip, gzip", "none"):
        bomb = BOMBS["deflate" if coding == "deflate" else "gzip"]
        framed = (
            b"Content-Length: %d\r\n\r\n%b" % (len(bomb), bomb),
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks(bomb),
        )
        for path, body in itertools.product(("/api/increment", "/api/bulk-insert", "/nowhere"), framed):
            head = f"POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Encoding: {coding}\r\n"
            reader, _ = await raw(url, head.encode() + body)
            status, _, text = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
            wanted = (404, "NO_ENDPOINT") if path == "/nowhere" else (415, "ENCODED_BODY")
            document = json.loads(text)
            assert (int(status.split()[1]), document["code"], document["outcome"]) == (*wanted, "aborted")
            assert wanted[0] == 404 or b"\r\nAccept-Encoding: identity" in status
    assert cpu_seconds(process.pid) - before < 1


async def test_several_content_encoding_fields_are_one_list(tmp_path: Path, launch: Launch, raw) -> None:
    _, url = await launch(BACKEND="sqlite-tuned", SQLITE_PATH=str(tmp_path / "file"))
    for names, status in (("identity,gzip", 415), ("gzip,identity", 415), ("identity,identity", 200), ("", 200)):
        lines = "".join(f"Content-Encoding: {name}\r\n" for name in names.split(","))
        head = f"POST /api/increment HTTP/1.1\r\nHost: test\r\nContent-Length: 12\r\n{lines}\r\n"
        reader, _ = await raw(url, head.encode() + b'{"key": "a"}')
        assert int((await asyncio.wait_for(reader.readline(), 60)).split()[1]) == status, names


async def test_a_compressed_transfer_is_refused(tmp_path: Path, launch: Launch, raw) -> None:
    process, url = await launch(BACKEND="sqlite-tuned", SQLITE_PATH=str(tmp_path / "file"))
    before = cpu_seconds(process.pid)
    for coding in ("gzip", "gzip, chunked", "deflate, chunked"):
        head = f"POST /api/increment HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: {coding}\r\n\r\n"
        reader, _ = await raw(url, head.encode() + chunks(BOMBS["gzip"]))
        assert (await asyncio.wait_for(reader.readline(), 60)).split()[1] == b"400"
    assert cpu_seconds(process.pid) - before < 0.5


COSTLY = {
    "depth": b'{"key":' * 140_000,
    "arrays": b'{"key":' + b"[" * 1_000_000,
    "closed arrays": b'{"key":' + b"[" * 500_000 + b"]" * 500_000 + b"}",
    "digits": b'{"key":' + b"9" * 1_000_000 + b"}",
    "fraction": b'{"key":0.' + b"1" * 1_000_000 + b"}",
    "exponent": b'{"key":1e' + b"9" * 1_000_000 + b"}",
    "exponents": b'{"key":[' + b"1e400," * 160_000 + b"1]}",
    "names": b"{" + b",".join(b'"%d":0' % number for number in range(90_000)) + b"}",
    "escapes": b'{"key":"' + b"\\ud83d" * 160_000 + b'"}',
    "blanks": b" " * 1_000_000 + b"x",
}


async def test_a_megabyte_of_hostile_json_costs_little(tmp_path: Path, launch: Launch) -> None:
    process, url = await launch(BACKEND="sqlite-tuned", SQLITE_PATH=str(tmp_path / "file"))
    async with ClientSession() as client:
        for name, body in COSTLY.items():
            before = cpu_seconds(process.pid)
            async with client.post(f"{url}/api/increment", data=body) as answer:
                assert (answer.status, (await answer.json())["outcome"]) == (400, "aborted"), name
            assert cpu_seconds(process.pid) - before < 0.5, name


async def test_an_idle_connection_is_closed(database, launch: Launch, raw) -> None:
    _, url = await launch(**database.environ, KEEPALIVE_SECONDS="0.5")
    reader, _ = await raw(url, ASK)
    assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 200 ")
