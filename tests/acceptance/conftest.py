"""The run under test (`--run`, default the newest), read once, and its findings computed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.measure.judge import judge
from harness.model import Finding
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run, find_run, load_run


def pytest_exception_interact(call: pytest.CallInfo[object]) -> None:
    """Ends the session where something else than a criterion failed, such as a file that could not be opened."""
    error = call.excinfo.value if call.excinfo else None
    if not isinstance(error, AssertionError):
        pytest.exit(f"{type(error).__name__}: {error}", returncode=3)


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest) -> Run:
    chosen = request.config.getoption("--run")
    return load_run(find_run(chosen, Path(__file__).parents[2] / "results"))


@pytest.fixture(scope="session")
def findings(run: Run) -> list[Finding]:
    """The findings that the current checks make of the stored samples and evidence."""
    return judge(run, SCENARIOS)
