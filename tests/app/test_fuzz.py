"""The short form of `./run fuzz`, and the proof that it would find something."""

from __future__ import annotations

import pytest

from . import fuzz


def test_two_thousand_inputs_on_postgres(database) -> None:
    seen = fuzz.main(2000, seed=2, environ=database.environ)
    assert sum(number for kind, number in seen.items() if kind != "increments") == 2000
    assert min(seen["2xx"], seen["4xx"], seen["increments"]) > 100


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (500, "text/plain", b"500 Internal Server Error"),
        (500, "application/json", b'{"error": "x", "code": "INTERNAL", "outcome": "unknown", "container": "a"}'),
        (503, "application/json", b'{"error": "x", "code": "NEW", "outcome": "aborted", "container": "a"}'),
        (400, "application/json", b'{"error": "x", "code": "X", "outcome": "unknown", "container": "a"}'),
        (400, "application/json", b'{"error": "x", "code": "", "outcome": "aborted", "container": "a"}'),
        (404, "text/plain", b"Not Found"),
    ],
)
def test_answers_that_must_not_be_are_found(status: int, kind: str, body: bytes) -> None:
    with pytest.raises(fuzz.FuzzError):
        fuzz.judge(b"GET / HTTP/1.1\r\n\r\n", (status, {"content-type": kind}, body))


def test_a_service_that_does_not_start_is_a_failure() -> None:
    with pytest.raises(fuzz.FuzzError, match="did not start"):
        fuzz.main(1, environ={"BACKEND": "nope"})
