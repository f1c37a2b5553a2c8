"""Sends random requests, most of them invalid: `python -m tests.app.fuzz [COUNT [SEED]]`.

Starts the service as a process (by default on a new PostgreSQL), speaks raw TCP to it, and checks: a response to every
complete request; no 5xx that the database did not cause; errors in the contract's form; counts that agree with the
service's counts; the process is alive at the end. The same count and seed reproduce a failure. Exit codes: 0 no
violation, 1 a violation, 2 an invalid argument.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.postgres_server import fresh_database, running_server

ROOT = Path(__file__).parents[2]
CLIENTS = 32
TIMEOUT_S = 30.0
CUT_OFF_S = 0.3
"""Time-outs for a response: to a complete request, and to one that may never be complete."""
DATABASE = {"SQLITE_BUSY", "SQLITE_FULL", "57014", "55P03", "53300", "CONNECT_FAILED", "CONNECTION_LOST"}
"""Codes of the 503 responses that the database causes."""

WORDS: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e308, -0.0, 2**63, 10**400, "", " ", "a", "key", "\0", "\x7f",
    "\n", "\u2028", "\ud800",
    "💥", "é" * 255, "x" * 256, "'; DROP TABLE counters; --", "${jndi:x}", "../../etc/passwd", "%s%n",
    "upsert", "unsafe",
    "coalesce", "SERIALIZABLE", "READ COMMITTED; SELECT 1", [], {}, ["a"], ["a", "b"], ["a", "a"], [1],
    [["a"]], {"a": 1},
    ["x"] * 50, ["\0"], [None],
]  # fmt: skip
NAMES = ["key", "keys", "data", "level", "ops", "strategy", "hold_ms", "retry", "value", "__proto__", "", "é"]
ENDPOINTS = {
    "/api/increment": {"key": "a", "strategy": "upsert"},
    "/api/bulk-insert": {"data": ["a", "b"]},
    "/api/transaction": {"keys": ["a", "b"], "hold_ms": 0, "retry": True},
    "/api/test-isolation": {"level": "SERIALIZABLE"},
    "/api/txn": {"level": "SERIALIZABLE", "ops": [["r", "a"], ["append", "a", 1], ["transfer", "a", "b", 1]]},
}
PATHS = [
    *ENDPOINTS, "/api/counter/a", "/api/counter/%00", "/api/counter/", "/api/counter/%ff%fe",
    "/api/counter/a%2Fb", "/health",
    "/live", "/ready", "/metrics", "/metrics?database=0", "/metrics?database=%00&database", "/api/pool-stats",
    "/", "//", "/..", "/%",
    "/api/increment/", "*", "http://other/live", "/live?" + "x" * 2000, "/live#f", "/\\",
    "/api/increment;x=1",
]  # fmt: skip
METHODS = ["POST", "POST", "POST", "GET", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "post", "FOO"]
HEADERS = [
    "Idempotency-Key: x", "Idempotency-Key: ", "Idempotency-Key: a b", "Idempotency-Key: " + "y" * 201,
    "Idempotency-Key: \xe9",
    "Accept: text/plain", "Accept: application/openmetrics-text", "Accept: \xff", "Content-Type: text/xml",
    "Content-Encoding: gzip", "Content-Encoding: deflate", "Content-Encoding: nope",
    "Expect: 100-continue", "Expect: more", "Expect: \x9a",
    "Connection: close", "Connection: upgrade", "Upgrade: websocket", "Cookie: a=b; c",
    "Range: bytes=0-", "Host: other",
    "X-Long: " + "z" * 4000, "If-None-Match: *", "Transfer-Encoding: identity",
]  # fmt: skip


Answer = tuple[int, "dict[str, str]", bytes]
"""Status, headers, body."""


class FuzzError(AssertionError):
    """The service violated the contract; the message contains the request."""


def document(chance: random.Random, path: str) -> bytes:
    """Returns a body, valid or not, for this or another endpoint."""
    other = chance.choice(list(ENDPOINTS.values()))
    body: Any = dict(other if chance.random() < 0.2 else ENDPOINTS.get(path, other))
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        body[chance.choice(NAMES)] = chance.choice(WORDS)
    if chance.random() < 0.2:
        body["key"] = "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(chance.randrange(1, 300)))
    if chance.random() < 0.05:
        body = chance.choice(WORDS)
    text = json.dumps(body, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    if chance.random() < 0.1:
        spoiled = bytearray(text)
        for _ in range(chance.randrange(1, 5)):
            spoiled[chance.randrange(len(spoiled))] = chance.randrange(256)
        text = bytes(spoiled)
    return b"[" * 50_000 if chance.random() < 0.0005 else text


def request(chance: random.Random) -> tuple[bytes, bool]:
    """Returns an HTTP request, and whether it is complete: correct framing, no corrupted byte."""
    path, method = chance.choice(PATHS), chance.choice(METHODS)
    if chance.random() < 0.6:
        path, method = chance.choice(list(ENDPOINTS)), "POST"
    body = document(chance, path)
    head = [f"{method} {path} HTTP/1.1", "Host: fuzz"]
    head += chance.sample(HEADERS, chance.choice((0, 0, 0, 1, 2)))
    lie = chance.random()
    honest = lie >= 0.04 or lie < 0.02
    if lie < 0.03:
        head.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if lie < 0.02 else body
    elif lie < 0.04:
        head.append(f"Content-Length: {chance.choice(('-1', '0x1', '9' * 30, '2000000', str(len(body) + 9)))}")
    else:
        head.append(f"Content-Length: {len(body)}")
    whole = "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + body
    if chance.random() < 0.03:
        honest = False
        spoiled = bytearray(whole)
        for _ in range(chance.randrange(1, 8)):
            spoiled[chance.randrange(min(len(spoiled), 200))] = chance.randrange(256)
        whole = bytes(spoiled[: chance.randrange(1, len(spoiled) + 1)])
    return whole, honest


async def first_answer(reader: asyncio.StreamReader, *, no_body: bool) -> Answer:
    """Returns status, headers and body of the first response that is not 100 Continue."""
    status = 100
    while status == 100:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
    return status, headers, await reader.readexactly(0 if no_body else int(headers.get("content-length", "0")))


class Line:
    """A client's connection, reused if both sides know where the last request ended."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, raw: bytes, *, whole: bool) -> Answer | None:
        """Sends a request and returns the first final response; None if closed without one, or after the time-out."""
        if not whole:
            self.close()
        if self._open is None:
            self._open = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._open
        answer = None
        try:
            writer.write(raw)
            no_body = raw.startswith(b"HEAD")
            answer = await asyncio.wait_for(first_answer(reader, no_body=no_body), TIMEOUT_S if whole else CUT_OFF_S)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass
        if not whole or answer is None or not self._goes_on(raw, answer):
            self.close()
        return answer

    @staticmethod
    def _goes_on(raw: bytes, answer: Answer) -> bool:
        """Returns whether the service reads another request; after bytes that aiohttp cannot parse it does not."""
        status, headers, _ = answer
        ours = status < 400 or headers.get("content-type", "").startswith("application/json")
        return ours and status != 101 and headers.get("connection", "").lower() != "close"

    def close(self) -> None:
        """Closes the connection; the next request opens a new one."""
        if self._open is not None:
            self._open[1].transport.abort()
            self._open = None


def refused_before(raw: bytes) -> tuple[int, ...]:
    """Returns whether aiohttp refused the request as plain text before routing, as docs/openapi.yaml describes."""
    target = raw.split(b" ", 2)[1:2]
    return (400,) if target and target[0].startswith((b"/", b"http://")) else (400, 404, 417)


def classify_response(raw: bytes, answer: Answer | None) -> str:
    """Returns the kind of a response. Raises FuzzError for a violation."""
    if answer is None:
        return "closed"
    status, headers, body = answer
    kind = headers.get("content-type", "")
    if status >= 400 and body and kind.startswith("application/json"):
        error = json.loads(body)
        if not error["code"] or error["outcome"] not in ("aborted", "unknown") or not error["container"]:
            raise FuzzError(f"not the contract's error: {body!r} to {raw[:2000]!r}")
        if status >= 500 and error["code"] not in DATABASE:
            raise FuzzError(f"{status} {body!r} to {raw[:2000]!r}")
        if status < 500 and status != 409 and error["outcome"] != "aborted":
            raise FuzzError(f"{status} must be aborted: {body!r} to {raw[:2000]!r}")
    elif status >= 500 or (status >= 400 and body and status not in refused_before(raw)):
        raise FuzzError(f"{status} {kind} {body[:200]!r} to {raw[:2000]!r}")
    return f"{status // 100}xx"


async def campaign(port: int, count: int, seed: int) -> Counter[str]:
    """Sends `count` requests from CLIENTS clients."""
    counts: Counter[str] = Counter()

    async def client(number: int) -> None:
        chance, line = random.Random(f"{seed}-{number}"), Line(port)
        try:
            for _ in range(number, count, CLIENTS):
                raw, whole = request(chance)
                answer = await line.exchange(raw, whole=whole)
                if whole and answer is None:
                    raise FuzzError(f"no answer to {raw[:2000]!r}")
                counts[classify_response(raw, answer)] += 1
                if answer and answer[0] == 200 and raw.startswith(b"POST /api/increment HTTP"):
                    counts["increments"] += 1
        finally:
            line.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return counts


async def with_service(count: int, seed: int, environ: dict[str, str], folder: Path) -> Counter[str]:
    """Starts the service, sends the requests, compares the counts, stops the service."""
    log = folder / "log"
    settings = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", "BODY_SECONDS": "5", **environ}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", cwd=ROOT, stderr=stderr, env=settings
        )
    try:
        while not log.read_bytes().endswith(b"\n"):
            if process.returncode is not None:
                raise FuzzError(f"the service did not start: {log.read_text()}")
            await asyncio.sleep(0.05)
        first = log.read_text().splitlines()[0]
        if '"listening"' not in first:
            raise FuzzError(f"the service did not start: {first}")
        port = json.loads(first)["port"]
        counts = await campaign(port, count, seed)
        line = Line(port)
        last = await line.exchange(b"GET /metrics?database=0 HTTP/1.1\r\nHost: fuzz\r\n\r\n", whole=True)
        line.close()
        if last is None:
            raise FuzzError("the service no longer answers")
        counted = json.loads(last[2])["requests"]["increment"]
        # A request that was cut off after its body may have no client left to answer.
        if not counts["increments"] <= counted["ok"] <= counts["increments"] + counts["closed"]:
            raise FuzzError(f"{counts['increments']} increments acknowledged, the service counted {counted}")
        if counted["unknown"] > counts["closed"]:
            raise FuzzError(f"{counted['unknown']} increments with an unknown outcome")
    finally:
        if process.returncode is None:
            process.terminate()
        code = await process.wait()
    if code != 0:
        raise FuzzError(f"the service ended with {code}: {log.read_text()[-2000:]}")
    return counts


def fuzz(count: int, seed: int, environ: dict[str, str]) -> dict[str, int]:
    """Runs it on the backend of `environ`. Returns the responses per kind; raises FuzzError at the first violation."""
    with tempfile.TemporaryDirectory(prefix="pgcrucible-fuzz-") as name:
        return dict(asyncio.run(with_service(count, seed, environ, Path(name))))


def main(arguments: list[str]) -> int:
    """Runs it with the arguments of the command line and prints a summary."""
    if len(arguments) > 2 or not all(argument.isdecimal() and int(argument) for argument in arguments):
        print("usage: python -m tests.app.fuzz [COUNT [SEED]], both 1 or more", file=sys.stderr)
        return 2
    count, seed = (*map(int, arguments), *(100_000, 1)[len(arguments) :])
    with running_server() as server, fresh_database(server, "fuzz") as database:
        started = time.monotonic()
        try:
            counts = fuzz(count, seed, database.environ)
        except FuzzError as error:
            print(f"fuzz: contract violation (count {count}, seed {seed}): {error}", file=sys.stderr)
            return 1
        seconds = time.monotonic() - started
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in sorted(counts))
    print(f"fuzz: {count:,} requests in {seconds:.0f} s, seed {seed}: {kinds}; no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
