"""The run that is judged (`--run`, default the newest), its trials read once, and its findings made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks.evaluate import evaluate
from harness.model import Finding
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run, find_run, load_run


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    chosen = request.config.getoption("--run")
    return load_run(find_run(chosen, Path(__file__).parents[2] / "results"))


@pytest.fixture(scope="session")
def findings(run: Run) -> list[Finding]:
    """What today's checks say of the stored samples and evidence, whatever the manifest says."""
    return evaluate(SCENARIOS, run.measured())
