"""The service as a process: start, logs, end."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession

ROOT = Path(__file__).parents[2]
Launch = Callable[..., "asyncio.Future[tuple[asyncio.subprocess.Process, str]]"]


BOMBS = {name: (gzip if name == "gzip" else zlib).compress(bytes(300_000_000)) for name in ("gzip", "deflate")}
"""300 kB of each coding, which are 300 MB when decompressed."""


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process so far (proc(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
async def launch(tmp_path: Path) -> AsyncIterator[Launch]:
    """Starts a process, waits until it listens, returns it and its URL; its log is tmp_path/log."""
    processes: list[asyncio.subprocess.Process] = []

    async def begin(**environ: str) -> tuple[asyncio.subprocess.Process, str]:
        log = tmp_path / "log"
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "app", cwd=ROOT, stderr=stderr,
                env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", **environ},
            )  # fmt: skip
        processes.append(process)
        for _ in range(600):
            if log.read_text().endswith("\n"):
                break
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        first = json.loads(log.read_text().splitlines()[0])
        assert first["event"] == "listening", first
        return process, f"http://127.0.0.1:{first['port']}"

    yield begin  # type: ignore[misc]
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def in_flight(client: ClientSession, url: str) -> None:
    """Waits until a request uses a connection."""
    for _ in range(600):
        async with client.get(f"{url}/api/pool-stats") as answer:
            stats = await answer.json()
        if stats["totalCount"] > stats["idleCount"]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the request did not reach the database")


async def test_sigterm_finishes_requests_in_flight(database, launch: Launch, tmp_path: Path) -> None:
    process, url = await launch(**database.environ)
    async with ClientSession() as client:

        async def transaction() -> tuple[int, object]:
            body = {"key": "a", "hold_ms": 1500}
            async with client.post(f"{url}/api/transaction", json=body) as answer:
                return answer.status, (await answer.json())["values"]

        task = asyncio.create_task(transaction())
        await in_flight(client, url)
        process.send_signal(signal.SIGTERM)
        assert await task == (200, [1])
    assert await asyncio.wait_for(process.wait(), 20) == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["listening", "stopping", "stopped"]


async def balanced(client: ClientSession, url: str, process: asyncio.subprocess.Process) -> list[tuple[int, bool]]:
    """Sends requests as 20 clients of a load balancer until it takes the host out; SIGTERM comes in between.

    The balancer checks /ready and takes the host out after two failures. Returns (status, whether the response closes
    its connection) of each request; the status of a request without a response is 0.
    """
    answers: list[tuple[int, bool]] = []
    serving = True

    async def load(number: int) -> None:
        while serving:
            try:
                async with client.post(f"{url}/api/increment", json={"key": f"k{number}"}) as answer:
                    answers.append((answer.status, answer.headers.get("Connection") == "close"))
            except ClientConnectionError:
                answers.append((0, False))
                return

    async def ready() -> bool:
        try:
            async with client.get(f"{url}/ready") as answer:
                return answer.status == 200
        except ClientConnectionError:
            return False

    tasks = [asyncio.create_task(load(number)) for number in range(20)]
    while len(answers) < 200:
        await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    failures = 0
    while failures < 2:
        failures = 0 if await ready() else failures + 1
        await asyncio.sleep(0.2)
    serving = False
    await asyncio.gather(*tasks)
    return answers


async def test_a_rolling_restart_fails_no_request(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, DRAIN_SECONDS="60")
    async with ClientSession() as client:
        answers = await asyncio.wait_for(balanced(client, url, process), 60)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert {status for status, _ in answers} == {200}
    assert sum(closes for _, closes in answers) >= 20


async def test_without_a_drain_requests_fail(database, launch: Launch) -> None:
    """The negative control of the rolling restart."""
    process, url = await launch(**database.environ, DRAIN_SECONDS="0")
    async with ClientSession() as client:
        answers = await asyncio.wait_for(balanced(client, url, process), 60)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    assert 0 in {status for status, _ in answers}


async def test_the_drain_ends_without_a_load_balancer(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, DRAIN_SECONDS="0.5")
    async with ClientSession() as client:
        async with client.post(f"{url}/api/increment", json={"key": "a"}) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_service_without_requests_does_not_drain(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, DRAIN_SECONDS="600")
    async with ClientSession() as client, client.get(f"{url}/metrics") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_requests_beyond_the_shutdown_time_are_cut_off(database, launch: Launch) -> None:
    process, url = await launch(**database.environ, SHUTDOWN_SECONDS="0.3")
    async with ClientSession() as client:
        post = client.post(f"{url}/api/transaction", json={"key": "a", "hold_ms": 30_000})
        task = asyncio.create_task(post.__aenter__())
        await in_flight(client, url)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
        with pytest.raises(Exception, match="disconnected"):
            await task


async def test_errors_are_json_lines_without_secrets_or_tracebacks(database, launch, tmp_path: Path) -> None:
    environ = {**database.environ, "POSTGRES_PASSWORD": "hunter2"}
    process, url = await launch(**environ)
    async with ClientSession() as client:
        for _ in range(20):
            async with client.post(f"{url}/api/increment", json={"key": "a"}) as answer:
                assert answer.status == 503
                assert "hunter2" not in await answer.text()
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    text = (tmp_path / "log").read_text()
    failed = [line for line in map(json.loads, text.splitlines()) if line["event"] == "request failed"]
    assert 1 <= len(failed) < 20  # equal ones share a line a second
    assert (failed[0]["code"], failed[0]["outcome"], failed[0]["op"]) == ("28P01", "aborted", "increment")
    assert "hunter2" not in text
    assert "Traceback" not in text


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


def test_help_lists_every_setting() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "POOL_WAIT_SECONDS" in done.stdout


def test_an_invalid_setting_is_one_line_and_exit_code_2() -> None:
    done = run(POOL_SIZE="many")
    assert done.returncode == 2
    assert done.stderr.startswith("app: POOL_SIZE='many'")
    assert done.stderr.count("\n") == 1


def test_a_failed_start_prints_the_reason_and_exits_with_1(tmp_path: Path) -> None:
    done = run(BACKEND="sqlite-tuned", SQLITE_PATH=str(tmp_path / "nowhere" / "file"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert json.loads(line)["event"] == "cannot start"
