"""A short `./run fuzz`, and tests that it detects violations."""

from __future__ import annotations

import pytest

from . import fuzz


def test_two_thousand_inputs_on_postgres(database) -> None:
    counts = fuzz.fuzz(2000, seed=2, environ=database.environ)
    assert sum(number for kind, number in counts.items() if kind != "increments") == 2000
    assert min(counts["2xx"], counts["4xx"], counts["increments"]) > 100


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
def test_forbidden_responses_are_reported(status: int, kind: str, body: bytes) -> None:
    with pytest.raises(fuzz.FuzzError):
        fuzz.classify_response(b"GET / HTTP/1.1\r\n\r\n", (status, {"content-type": kind}, body))


def test_a_service_that_does_not_start_is_a_failure() -> None:
    with pytest.raises(fuzz.FuzzError, match="did not start"):
        fuzz.fuzz(1, seed=1, environ={"BACKEND": "nope"})


def test_the_script_prints_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["50", "3"]) == 0
    assert capsys.readouterr().out.startswith("fuzz: 50 requests in ")


def test_the_script_exits_with_1_after_a_violation(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def refuse(raw: bytes, answer: object) -> str:
        raise fuzz.FuzzError("not the contract's error")

    monkeypatch.setattr(fuzz, "classify_response", refuse)
    assert fuzz.main(["5"]) == 1
    assert "(count 5, seed 1): not the contract's error" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["0"], ["-1"], ["many"], ["1", "2", "3"]])
def test_the_script_exits_with_2_for_an_invalid_argument(arguments: list[str]) -> None:
    assert fuzz.main(arguments) == 2
