"""A rig whose state lies in a temporary folder, and faults that do what a test tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.rig import state
from tests.support.fake_rig import FakeRig


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRig:
    """A rig without hosts that run anything; its folder exists."""
    monkeypatch.setattr(state, "RIGS", tmp_path)
    made = FakeRig()
    state.make_folder(made.name)
    return made
