"""The cost of the sampler of sessions: a high one is told, an unmeasured one too, and one short real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.selfbench import sampler_overhead


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    measured: list[float] = []
    monkeypatch.setattr(sampler_overhead, "programs", lambda _: Path("/somewhere"))
    monkeypatch.setattr(sampler_overhead, "missing", lambda _: {})
    monkeypatch.setattr(sampler_overhead, "measure", lambda *_: measured)
    return measured


def test_a_cost_that_every_block_shows_is_above_the_target(ratios: list[float]) -> None:
    ratios += [0.90, 0.91, 0.89, 0.90, 0.92, 0.88]
    figure = sampler_overhead.wait_sampler_overhead()
    assert figure["value"] == pytest.approx(0.12, abs=0.005)
    assert "rate with / without 0.900 [0.880, 0.920], 6 blocks" in figure["detail"]


def test_a_cost_that_the_blocks_cannot_exclude_is_above_the_target(ratios: list[float]) -> None:
    ratios += [0.95, 1.05, 0.93, 1.06, 1.0, 1.01]
    figure = sampler_overhead.wait_sampler_overhead()
    assert isinstance(figure["value"], float)
    assert figure["value"] > sampler_overhead.TARGET


def test_a_sampler_without_cost_is_below_the_target(ratios: list[float]) -> None:
    ratios += [1.001, 0.999, 1.0, 1.002, 0.998, 1.0, 1.001, 0.999]
    figure = sampler_overhead.wait_sampler_overhead()
    assert isinstance(figure["value"], float)
    assert figure["value"] <= sampler_overhead.TARGET


def test_too_few_blocks_are_not_measured(ratios: list[float]) -> None:
    ratios += [1.0, 1.0]
    figure = sampler_overhead.wait_sampler_overhead()
    assert (figure["value"], figure["detail"]) == (None, "only 2 blocks were measured")


def test_without_a_server_it_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_overhead, "programs", lambda _: None)
    figure = sampler_overhead.wait_sampler_overhead()
    assert figure["value"] is None
    assert "no PostgreSQL server is installed" in figure["detail"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BLOCKS": 2, "WINDOW_S": 0.2, "SETTLE_S": 0.2}.items():
        monkeypatch.setattr(sampler_overhead, name, value)


def test_blocks_that_an_error_ended_are_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks before the error gave a figure as if all had been measured."""
    ratios: list[float] = []

    def blocks(*_: object) -> None:
        ratios.extend([1.0] * 6)
        raise ValueError("the connection was lost")

    monkeypatch.setattr(sampler_overhead, "_blocks", blocks)
    with (
        pytest.raises(RuntimeError, match="6 of 100 blocks: ValueError: the connection was lost"),
        sampler_overhead._switched(None, None, ratios),
    ):
        pass


@pytest.mark.usefixtures("short")
def test_a_real_load_is_measured_with_and_without_and_leaves_nothing(monkeypatch, scratch: Path) -> None:
    blocks: list[list[float]] = []
    real = sampler_overhead.measure
    monkeypatch.setattr(sampler_overhead, "measure", lambda *given: blocks.append(real(*given)) or blocks[-1])
    figure = sampler_overhead.wait_sampler_overhead()
    if blocks:
        assert all(ratio > 0 for ratio in blocks[0])
        assert figure["detail"] == f"only {len(blocks[0])} blocks were measured"
    else:
        assert "PostgreSQL" in figure["detail"]
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("short")
def test_a_sampler_that_did_not_sample_is_an_error(monkeypatch, scratch: Path) -> None:
    """Its cost would be measured as nothing."""
    if sampler_overhead.missing(sampler_overhead.programs(sampler_overhead.SERVERS)):
        pytest.skip("no PostgreSQL server is installed")
    monkeypatch.setattr("harness.targets.session_waits.source", lambda _: "raise SystemExit(1)")
    with pytest.raises(RuntimeError, match="the sampler did not sample"):
        sampler_overhead.wait_sampler_overhead()
    assert list(scratch.iterdir()) == []
