"""Builds requests as bytes, once per operation, path and key: afterwards a request costs one dictionary look-up.

All requests to a service are built here, those of the load and those that come before and after it: a service that
reads the request's header must treat them alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from harness.load.job import Job
from harness.load.schedule import key_picker, operation_picker
from harness.load.spec import Operation
from harness.load.transactions import Op

_N = "\ue000" * 4  # placeholder for {n} in a template: 12 bytes of UTF-8, as long as the digits that replace it
_N_BYTES = _N.encode()
_N_PATH = quote(_N).encode()
_ID = b"\x00id\x00"
_CACHE = 20_000
HEADERS = {"Accept-Encoding": "identity", "User-Agent": "pgcrucible"}
"""Without Accept-Encoding a server may compress (RFC 9110, 12.5.3), which the load agent does not decode."""


def authority(host: str, port: int) -> str:
    """Returns host and port as the Host header and a URL write them: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def request_bytes(
    method: str,
    target: str,
    *,
    host: str,
    port: int,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Returns a whole HTTP/1.1 request. `headers` replace those of the same name in HEADERS."""
    given = headers or {}
    names = {name.lower() for name in given}
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority(host, port)}"]
    lines += [f"{name}: {text}" for name, text in HEADERS.items() if name.lower() not in names]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    elif method != "GET":
        lines.append("Content-Length: 0")
    lines += [f"{name}: {text}" for name, text in given.items()]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def _fill(value: Any, key: str) -> Any:
    """Replaces `{key}` and `{n}` in all strings of a JSON value."""
    if isinstance(value, str):
        return value.replace("{key}", key).replace("{n}", _N)
    if isinstance(value, list):
        return [_fill(item, key) for item in value]
    if isinstance(value, dict):
        return {_fill(name, key): _fill(item, key) for name, item in value.items()}
    return value


def _template(job: Job, op: Operation, path: str, key: str, ops: list[Op] | None = None) -> bytes:
    """The whole request, with placeholders for the sequence number and the Idempotency-Key; `ops` of a transaction."""
    fields = _fill(op.body, key) if ops is None else {**_fill(op.body, key), "ops": ops}
    body = None if op.body is None else json.dumps(fields, ensure_ascii=False).encode()
    target = path.replace("{key}", quote(key, safe="")).replace("{n}", quote(_N))
    headers = dict(op.headers)
    if op.idempotency:
        headers["Idempotency-Key"] = f"{job.run_tag}-{job.load_host}-{_ID.decode()}"
    return request_bytes(op.method, target, host=job.target.host, port=job.target.port, body=body, headers=headers)


def request_maker(job: Job) -> Callable[[int], tuple[int, int, bytes]]:
    """Returns a function: sequence number -> (operation index, key index, bytes to send)."""
    build = builder(job)
    pick_operation, pick_key = operation_picker(job), key_picker(job)

    def make(seq: int) -> tuple[int, int, bytes]:
        op, key = pick_operation(), pick_key(seq)
        return op, key, build(op, key, seq)

    op = job.operations[0]
    if (
        len(job.operations) > 1
        or job.keys.count > 1
        or op.idempotency
        or op.paths
        or op.transactions
        or op.contains("{n}")
    ):
        return make
    same = make(0)
    return lambda _: same


def builder(job: Job) -> Callable[[int, int, int], bytes]:
    """Returns a function: (operation index, key index, sequence number) -> bytes to send."""
    cache: dict[tuple[int, int, int], bytes] = {}
    turns = [len(op.targets) for op in job.operations]

    def build(op_index: int, key_index: int, seq: int) -> bytes:
        op = job.operations[op_index]
        turn = (seq // job.host_count) % turns[op_index]
        cache_key = (op_index, key_index, turn)
        data = cache.get(cache_key)
        if op.transactions is not None:
            ops = op.transactions.draw(job.seed, seq, job.keys.name)
            data = _template(job, op, op.targets[turn], job.keys.name(key_index), ops)
        elif data is None:
            data = _template(job, op, op.targets[turn], job.keys.name(key_index))
            if len(cache) < _CACHE:
                cache[cache_key] = data
        if op.idempotency:
            data = data.replace(_ID, b"%d" % seq, 1)
        if counted[op_index]:
            digits = b"%012d" % seq
            data = data.replace(_N_BYTES, digits).replace(_N_PATH, digits)
        return data

    counted = [op.contains("{n}") for op in job.operations]
    return build
