"""Classification of valid and hostile responses, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from harness.load.results.summary import ConnectionTotals

from .conftest import (
    BODY,
    Request,
    Serve,
    chunked,
    counted,
    http,
    job_dict,
    run_job,
    until_close,
)

SEND = {
    # name: (bytes the server writes, whether it then closes, outcome, status, error)
    "plain": (http(raw=BODY), False, "ok", 200, ""),
    "close announced": (http(raw=BODY, headers="Connection: close\r\n"), True, "ok", 200, ""),
    "chunked": (chunked(BODY[:9], BODY[9:]), False, "ok", 200, ""),
    "chunked with trailer": (chunked(BODY, end=b"0\r\nX-Sum: 1\r\n\r\n"), False, "ok", 200, ""),
    "until close": (until_close(BODY), True, "ok", 200, ""),
    "continue first": (b"HTTP/1.1 100 Continue\r\n\r\n" + http(raw=BODY), False, "ok", 200, ""),
    "early hints first": (b"HTTP/1.1 103 E\r\nLink: </x>\r\n\r\n" + http(raw=BODY), False, "ok", 200, ""),
    "three interim responses": (b"HTTP/1.1 199 X\r\n\r\n" * 3 + http(raw=BODY), False, "ok", 200, ""),
    "coded until close": (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: identity\r\n\r\n" + BODY,
        True,
        "ok",
        200,
        "",
    ),
    "coded in chunks": (chunked(BODY).replace(b"chunked", b"x, Chunked"), False, "ok", 200, ""),
    "half of coded chunks": (
        chunked(BODY, end=b"").replace(b"chunked", b"x, Chunked"),
        True,
        "unknown",
        0,
        "truncated",
    ),
    "old version": (b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, True, "ok", 200, ""),
    "no response": (b"", True, "unknown", 0, "eof"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", True, "unknown", 0, "truncated"),
    "half a body": (http(raw=BODY)[:-5], True, "unknown", 0, "truncated"),
    "half of chunks": (chunked(BODY, end=b""), True, "unknown", 0, "truncated"),
    "half until close": (until_close(BODY[:-5]), True, "unknown", 200, "garbled"),
    "garbled head": (b"HTTP/9.x banana\r\n\r\n", False, "unknown", 0, "protocol"),
    "garbled body": (http(raw=BODY.replace(b'"', b"\x01")), False, "unknown", 200, "garbled"),
    "two lengths": (http(raw=BODY, headers="Content-Length: 3\r\n"), False, "unknown", 0, "protocol"),
    "garbage": (b"\x00\x01\x02\x03", False, "unknown", 0, "protocol"),
    "another protocol": (
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        False,
        "unknown",
        0,
        "protocol",
    ),
    "value missing": (http({"success": True}), False, "unknown", 200, "no value"),
    "aborted": (http({"outcome": "aborted", "code": "40P01"}, status=500), False, "fail", 500, "40P01"),
    "server error": (http({"code": "XX000", "outcome": "unknown"}, status=500), False, "unknown", 500, "XX000"),
    "no server": (http(raw=b"<html>", status=503, headers="Connection: close\r\n"), True, "unknown", 503, "HTTP 503"),
}


@pytest.mark.parametrize("name", SEND)
@pytest.mark.parametrize("piecewise", [False, True], ids=["whole", "bytewise"])
async def test_each_response_has_the_right_outcome(serve: Serve, tmp_path: Path, name: str, piecewise: bool) -> None:
    data, closes, outcome, status, error = SEND[name]

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        for part in [data[i : i + 1] for i in range(len(data))] if piecewise else [data]:
            writer.write(part)
            await writer.drain()
            if piecewise:
                await asyncio.sleep(0)
        return not closes

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=3, timeout_s=5.0))
    samples = done.samples
    assert samples.outcome == [outcome] * 3
    assert list(samples.status) == [status] * 3
    assert samples.error == [error] * 3
    assert samples.value == [7 if outcome == "ok" else None] * 3
    assert server.requests == 3  # never repeated
    assert list(samples.sent_us) == sorted(samples.sent_us)


async def test_after_an_unannounced_close_the_next_request_is_unknown(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(counted(request.number))
        return False

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=4))
    assert done.samples.outcome[0] == "ok"
    assert set(zip(done.samples.outcome, done.samples.error, strict=True)) <= {
        ("ok", ""),
        ("unknown", "eof"),
        ("unknown", "reset"),
    }
    assert done.summary.measure.ok == server.requests  # none was sent again


async def test_a_reset_after_the_request_is_unknown(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.transport.abort()
        return False

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=2))
    assert done.samples.outcome == ["unknown"] * 2
    assert set(done.samples.error) <= {"eof", "reset"}
    assert server.requests == 2


async def test_no_response_within_the_timeout_is_unknown(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        if request.number == 0:
            await asyncio.sleep(30)
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=2, timeout_s=0.3))
    assert done.samples.outcome == ["unknown", "ok"]
    assert done.samples.error == ["timeout", ""]
    assert done.samples.done_us[0] - done.samples.sent_us[0] >= 300_000
    assert done.summary.connections.reopened == 1


async def test_a_duplicate_response_is_not_taken_for_the_next_one(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(counted(request.number) * 2)
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=5))
    assert done.samples.outcome == ["ok"] * 5
    assert done.samples.value == [0, 1, 2, 3, 4]
    assert done.summary.connections.reopened == 4


async def test_a_response_without_a_request_is_counted_and_ends_the_connection(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(counted(request.number))
        await writer.drain()
        if request.number == 0:
            await asyncio.sleep(0.1)
            writer.write(counted(99))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, mode="open", rate=4.0, seconds=0.6))
    assert done.samples.value == [0, 1, 2]
    assert done.summary.connections.out_of_step == 1


async def test_an_idle_timeout_on_an_unused_connection_is_not_out_of_step(tmp_path: Path) -> None:
    """HAProxy sends a 408 on a connection without a request for its `timeout http-request`."""
    timeouts = 0

    async def serve_with_timeout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal timeouts
        try:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 0.1)
        except TimeoutError:
            timeouts += 1
            writer.write(http({}, status=408))
        except asyncio.IncompleteReadError:
            pass
        else:
            writer.write(counted(0))
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve_with_timeout, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        done = await run_job(job_dict(port, tmp_path, mode="open", clients=3, rate=4.0, seconds=0.6))
    assert timeouts
    assert done.summary.connections.out_of_step == 0


async def test_a_connection_closed_while_idle_is_opened_again(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(counted(request.number))
        return False

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, mode="open", rate=10.0, seconds=0.5))
    assert done.samples.outcome == ["ok"] * 5
    assert done.summary.connections == ConnectionTotals(opened=5, reopened=4, out_of_step=0)


async def test_many_responses_with_changing_heads_on_one_connection(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(http({"success": True, "value": request.number}, headers=f"X-Request: {request.number}\r\n"))
        return None

    server = await serve(handler)
    done = await run_job(job_dict(server.port, tmp_path, requests=1500))
    assert done.samples.value == list(range(1500))
    assert done.summary.connections.opened == 1


async def test_the_same_bytes_are_classified_for_each_operation(serve: Serve, tmp_path: Path) -> None:
    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        writer.write(http({"success": True, "value": 7, "other": 8, "tries": 2}))
        return None

    server = await serve(handler)
    operations = [
        {"name": "plain", "path": "/a"},
        {"name": "value", "path": "/b", "value": "value", "capture": ["tries"]},
        {"name": "other", "path": "/c", "value": "other"},
        {"name": "missing", "path": "/d", "value": "none"},
    ]
    done = await run_job(job_dict(server.port, tmp_path, requests=400, operations=operations))
    outcomes = set(zip(done.samples.op, done.samples.outcome, done.samples.value, done.samples.error, strict=True))
    assert outcomes == {
        ("plain", "ok", None, ""),
        ("value", "ok", 7, ""),
        ("other", "ok", 8, ""),
        ("missing", "unknown", None, "no value"),
    }
    assert done.summary.captured["tries"] == (2.0 * done.samples.op.count("value"), done.samples.op.count("value"))


async def test_requests_larger_than_the_send_buffer_arrive_whole_and_in_order(serve: Serve, tmp_path: Path) -> None:
    received: list[tuple[str, int]] = []

    async def handler(request: Request, writer: asyncio.StreamWriter) -> bool | None:
        received.append((request.body[-14:-2].decode(), len(request.body)))
        writer.write(counted(request.number))
        return None

    server = await serve(handler)
    operation = {"name": "large", "path": "/x", "body": {"data": "x" * 6_000_000 + "{n}"}, "value": "value"}
    done = await run_job(job_dict(server.port, tmp_path, requests=4, operations=[operation]))
    assert done.samples.outcome == ["ok"] * 4
    assert received == [(f"{number:012d}", 6_000_024) for number in range(4)]
    assert done.summary.connections.opened == 1
