"""TLS connections: the server's certificate is verified before anything is sent, and errors are reported."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RigError
from harness.load.results.summary import ConnectionTotals

from .conftest import LoopbackServer, Request, counted, http, job_dict, run_job

Serve = Callable[..., Awaitable[LoopbackServer]]


async def count(request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(counted(request.number + 1))


def job_over_tls(port: int, out: Path, ca: Path, **changes: Any) -> dict[str, Any]:
    target = {"host": "127.0.0.1", "port": port, "tls": True, "ca": str(ca)}
    return job_dict(port, out, clients=5, requests=200, target=target | changes)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_server_certified_by_the_ca_is_accepted(
    serve: Serve, tmp_path: Path, authorities: Any, host: str
) -> None:
    server = await serve(count, authorities[0].context())
    done = await run_job(job_over_tls(server.port, tmp_path, authorities[0].file, host=host, address="127.0.0.1"))
    assert done.summary.measure.ok == server.requests == 200
    assert done.summary.connections == ConnectionTotals(opened=5, reopened=0, out_of_step=0)


async def test_a_server_certified_by_another_ca_is_sent_nothing(serve: Serve, tmp_path: Path, authorities: Any) -> None:
    server = await serve(count, authorities[1].context())
    with pytest.raises(RigError, match=r"cannot connect to 127\.0\.0\.1:\d+: the certificate is refused: unable to"):
        await run_job(job_over_tls(server.port, tmp_path, authorities[0].file))
    assert server.requests == 0


async def test_a_server_with_another_name_is_sent_nothing(serve: Serve, tmp_path: Path, authorities: Any) -> None:
    server = await serve(count, authorities[0].context("elsewhere"))
    for host, message in (("127.0.0.1", "IP address"), ("localhost", "Hostname")):
        job = job_over_tls(server.port, tmp_path, authorities[0].file, host=host, address="127.0.0.1")
        with pytest.raises(RigError, match=f"certificate is refused: {message} mismatch, .* not valid for '{host}'"):
            await run_job(job)
    assert server.requests == 0


async def test_a_server_without_tls_is_reported(tmp_path: Path, authorities: Any) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(http({}, status=400))
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        with pytest.raises(RigError, match="TLS: WRONG_VERSION_NUMBER"):
            await run_job(job_over_tls(server.sockets[0].getsockname()[1], tmp_path, authorities[0].file))


async def test_a_client_without_tls_gets_no_response(serve: Serve, tmp_path: Path, authorities: Any) -> None:
    server = await serve(count, authorities[0].context())
    done = await run_job(job_dict(server.port, tmp_path))
    assert (server.requests, done.summary.measure.unknown) == (0, 1)


async def test_a_ca_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RigError, match=r"load-1: cannot read .*none\.pem: No such file"):
        await run_job(job_over_tls(1, tmp_path, tmp_path / "none.pem"))
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(RigError, match=r"load-1: cannot read .*none\.pem: "):
        await run_job(job_over_tls(1, tmp_path, tmp_path / "none.pem"))


async def test_a_failed_handshake_during_the_run_is_a_request_not_sent(
    serve: Serve, tmp_path: Path, authorities: Any
) -> None:
    context = authorities[0].context()

    async def change(request: Request, writer: asyncio.StreamWriter) -> bool:
        if request.number == 2:
            context.load_cert_chain(authorities[1].server())
        writer.write(counted(request.number + 1))
        return request.number < 2

    server = await serve(change, context)
    done = await run_job(job_over_tls(server.port, tmp_path, authorities[0].file) | {"clients": 1, "requests": 5})
    measure = done.summary.measure
    assert measure.ok == server.requests == 3
    assert measure.fail + measure.unknown == 2
    assert [text for text in done.errors if text.startswith("connect: the certificate is refused: ")]
    assert done.summary.not_sent >= 1


async def test_of_several_addresses_the_one_that_accepts_is_kept(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve(count)
    loop = asyncio.get_running_loop()
    looked_up = []

    async def both(host: str, port: int, **_: Any) -> list[Any]:
        looked_up.append(host)
        return [(0, 0, 0, "", (ip, port)) for ip in ("::1", "127.0.0.1")]

    monkeypatch.setattr(type(loop), "getaddrinfo", lambda _, host, port, **more: both(host, port, **more))
    job = job_dict(server.port, tmp_path, requests=20, clients=2, target={"host": "localhost", "port": server.port})
    done = await run_job(job)
    assert done.summary.measure.ok == 20
    assert set(looked_up) == {"localhost"}
