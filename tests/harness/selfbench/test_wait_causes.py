"""The share of injected causes that are named: right and wrong answers, and one short real run."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from harness.analysis import slowest
from harness.analysis.slowest import SlowestSplit
from harness.selfbench import wait_causes
from harness.selfbench.wait_causes import CAUSES, Stack


@pytest.fixture
def without_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_causes, "programs", lambda _: Path("/somewhere"))
    monkeypatch.setattr(wait_causes, "missing", lambda _: {})
    monkeypatch.setattr(wait_causes, "server", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(wait_causes, "service", lambda *_, **__: contextlib.nullcontext((1, 1)))


def answer(cause: str) -> SlowestSplit:
    return SlowestSplit(requests=10, from_ms=5.0, shares={cause: 1.0})


@pytest.mark.usefixtures("without_servers")
def test_every_cause_that_is_named_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_causes, "measure", lambda _, cause, __: answer(cause))
    figure = wait_causes.wait_cause_named(2)
    assert figure["value"] == 1.0
    assert figure["detail"] == f"{2 * len(CAUSES)} of {2 * len(CAUSES)} injections; each cause was named first"


@pytest.mark.usefixtures("without_servers")
def test_a_wrong_answer_and_none_count_against_it_and_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {slowest.LOCK: answer(slowest.POOL), slowest.WAL: None}
    monkeypatch.setattr(wait_causes, "measure", lambda _, cause, __: wrong.get(cause, answer(cause)))
    figure = wait_causes.wait_cause_named(1)
    assert figure["value"] == pytest.approx((len(CAUSES) - 2) / len(CAUSES), abs=0.001)
    assert "row lock in round 1: the slowest 10 requests (from 5.0 ms): pool 100%" in figure["detail"]
    assert "WAL in round 1: not divided" in figure["detail"]


def test_without_a_server_it_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wait_causes, "programs", lambda _: None)
    figure = wait_causes.wait_cause_named(1)
    assert figure["value"] is None
    assert "no PostgreSQL server is installed" in figure["detail"]


def test_a_real_injection_is_measured_or_gives_a_reason_and_leaves_nothing(monkeypatch, scratch: Path) -> None:
    divided: list[SlowestSplit | None] = []
    real = wait_causes.measure

    def measure(stack: Stack, cause: str, folder: Path) -> SlowestSplit | None:
        divided.append(real(stack, cause, folder))
        return divided[-1]

    monkeypatch.setattr(wait_causes, "measure", measure)
    monkeypatch.setattr(wait_causes, "CAUSES", {slowest.NETWORK: CAUSES[slowest.NETWORK]})
    figure = wait_causes.wait_cause_named(1)
    if figure["value"] is None:
        assert "PostgreSQL" in figure["detail"]
    else:
        (split,) = divided
        assert split is not None
        assert split.shares[slowest.NETWORK] > 0.1  # two delays of 20 ms
    assert list(scratch.iterdir()) == []
