"""A stored run for the tests to damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.store.run_reader import load_run
from tests.support.stored_runs import recorded, row, samples


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A valid run of two trials, one with samples."""
    recorder = recorded(tmp_path / "results", row(), row(order=2))
    recorder.lane(1, "main", samples(tmp_path / "a"))
    recorder.save("finished")
    load_run(recorder.path)
    return recorder.path
