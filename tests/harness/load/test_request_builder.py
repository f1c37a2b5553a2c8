from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.load.job import decode_job
from harness.load.request_builder import builder, request_bytes, request_maker
from harness.load.transactions import Transactions

from .conftest import job_dict


def build(operation: dict[str, Any], *, key: int = 0, seq: int = 0, **changes: Any) -> tuple[list[str], bytes]:
    """Head lines and body of one request."""
    job = decode_job(job_dict(8080, Path("out"), operations=[{"name": "op", **operation}], **changes))
    head, _, body = builder(job)(0, key, seq).partition(b"\r\n\r\n")
    return head.decode().split("\r\n"), body


def test_a_post_is_built_whole() -> None:
    head, body = build({"path": "/api/increment", "body": {"key": "{key}", "strategy": "upsert"}}, key=7)
    assert head == [
        "POST /api/increment HTTP/1.1",
        "Host: 127.0.0.1:8080",
        "Accept-Encoding: identity",
        "User-Agent: pgcrucible",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    assert json.loads(body) == {"key": "hot-7", "strategy": "upsert"}


def test_a_get_has_no_body_and_an_empty_post_sends_content_length_0() -> None:
    assert build({"method": "GET", "path": "/api/counter/{key}"}, key=3) == (
        [
            "GET /api/counter/hot-3 HTTP/1.1",
            "Host: 127.0.0.1:8080",
            "Accept-Encoding: identity",
            "User-Agent: pgcrucible",
        ],
        b"",
    )
    assert "Content-Length: 0" in build({"path": "/x"})[0]


def test_numbers_fill_body_and_path_without_changing_the_length() -> None:
    operation = {"path": "/a/{n}", "body": {"data": ["row {n}", "ü{n}", {"deep": "{key}-{n}"}]}}
    for seq in (0, 41, 10**9):
        head, body = build(operation, seq=seq)
        assert head[0] == f"POST /a/{seq:012d} HTTP/1.1"
        assert f"Content-Length: {len(body)}" in head
        assert json.loads(body)["data"] == [f"row {seq:012d}", f"ü{seq:012d}", {"deep": f"hot-0-{seq:012d}"}]


def test_the_idempotency_key_names_run_host_and_request() -> None:
    head, body = build({"path": "/x", "body": {"n": "{n}"}, "idempotency": True}, seq=12)
    assert "Idempotency-Key: t-load-1-12" in head
    assert json.loads(body) == {"n": f"{12:012d}"}


def test_headers_are_sent_and_paths_are_taken_in_turn() -> None:
    operation = {"paths": ["/app-2/x", "/app-3/x"], "headers": {"X-Who": "me"}}
    lines = [build(operation, seq=seq, clients=2, host_count=2)[0] for seq in (0, 2, 4, 6)]
    assert [line[0].split("/")[1] for line in lines] == ["app-2", "app-3", "app-2", "app-3"]
    assert all("X-Who: me" in line for line in lines)


@pytest.mark.parametrize(
    ("host", "line"), [("::1", "Host: [::1]:80"), ("[::1]", "Host: [::1]:80"), ("a.b", "Host: a.b:80")]
)
def test_an_ipv6_address_is_in_brackets_once(host: str, line: str) -> None:
    assert line in build({"path": "/x"}, target={"host": host, "port": 80})[0]


def test_a_header_of_the_operation_replaces_the_common_one() -> None:
    head, _ = build({"path": "/x", "headers": {"user-agent": "me"}})
    assert [line for line in head if line.lower().startswith("user-agent")] == ["user-agent: me"]


def test_single_requests_are_those_of_the_load() -> None:
    head, body = build({"path": "/api/increment", "body": {"key": "{key}"}})
    single = request_bytes("POST", "/api/increment", host="127.0.0.1", port=8080, body=body)
    assert single == "\r\n".join([*head, "", ""]).encode() + body


def test_a_transaction_is_drawn_for_each_request() -> None:
    operation = {"path": "/api/txn", "body": {"level": "SERIALIZABLE"}, "idempotency": True,
                 "transactions": {"kind": "list-append", "keys": 4}}  # fmt: skip
    drawn = Transactions(kind="list-append", keys=4)
    for seq in (0, 1, 500):
        head, body = build(operation, seq=seq, seed=9)
        expected = drawn.draw(9, seq, "hot-{}".format)
        assert json.loads(body) == {"level": "SERIALIZABLE", "ops": expected}
        assert f"Content-Length: {len(body)}" in head
        assert f"Idempotency-Key: t-load-1-{seq}" in head


def test_requests_with_transactions_differ() -> None:
    operation = {"name": "op", "path": "/x", "body": {}, "transactions": {"kind": "list-append"}}
    make = request_maker(decode_job(job_dict(8080, Path("out"), operations=[operation])))
    assert len({make(seq)[2] for seq in range(20)}) == 20


def test_a_transaction_needs_an_object_as_body() -> None:
    operation = {"name": "op", "path": "/x", "transactions": {"kind": "bank"}}
    with pytest.raises(UsageError, match="transactions need an object as body"):
        decode_job(job_dict(8080, Path("out"), operations=[operation]))
