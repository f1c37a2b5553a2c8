"""Trials with more samples than can be read again are refused before they are measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.load.results.samples import MemoryBudget, Sample, memory_bytes, read_samples, write
from harness.plan.options import BenchRequest
from harness.plan.planner import Plan, make_plan
from harness.plan.scenario import Site
from harness.scenarios import SCENARIOS

SITE = Site(hosts=8, backends=("postgres", "sqlite-naive", "sqlite-tuned"))
FEW = "send fewer requests"
LESS = f"leave out --samples, or {FEW}"


def planned(**options: str | bool) -> Plan:
    return make_plan(BenchRequest.parse(options, known_scenarios=SCENARIOS), SITE, SCENARIOS)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"scenario": "throughput", "samples": True, "requests": "20000000"}, LESS),
        ({"scenario": "throughput", "samples": True, "rate": "5000", "seconds": "3600"}, LESS),
        ({"scenario": "concurrent-writes", "requests": "20000000"}, FEW),  # its checks need samples
    ],
)
def test_too_many_samples_are_refused_at_plan_time(options: dict[str, str | bool], hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        planned(**options)
    error = caught.value
    number = "18,000,000" if "rate" in options else "20,000,000"
    assert f"sends {number} requests, and no more than about 14 million samples of a trial can be judged" in str(error)
    assert error.message.startswith("--samples: ") == (hint == LESS)
    assert (error.exit_code, error.hint, error.message.count("\n")) == (2, hint, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"scenario": "throughput", "requests": "20000000"},  # keeps no samples
        {"scenario": "throughput", "rate": "5000", "seconds": "3600"},
        {"scenario": "throughput", "samples": True, "requests": "14000000"},
        {"scenario": "throughput", "samples": True, "seconds": "86400"},  # the service decides how many
        {"scenario": "isolation"},  # no HTTP load
    ],
)
def test_what_can_be_read_or_is_not_known_is_planned(options: dict[str, str | bool]) -> None:
    assert planned(**options).trials


def test_the_estimate_is_what_reading_takes(tmp_path: Path) -> None:
    """Else the plan would let pass what the reading refuses."""
    row = Sample(
        1, "increment", "hot-0", "app-1", 0, 0, 9, "ok", 200, 1, "", "20261128-205500-12-load-1-1234567", "load-1",
        "measure", (0.5, 0.25),
    )  # fmt: skip
    write(tmp_path / "samples.csv", [row._replace(seq=seq) for seq in range(2_000)], ("duration", "pool_wait_ms"))
    estimate = int(memory_bytes(2_000, 2))
    assert len(read_samples(tmp_path / "samples.csv", MemoryBudget(estimate))) == 2_000
    with pytest.raises(ValueError, match="more than"):
        read_samples(tmp_path / "samples.csv", MemoryBudget(int(estimate * 0.9)))
