"""How `pytest -n` divides the tests: a process runs all tests of a file, and at most two of them have a rig."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
RIG = TESTS / "rig"
RIGS = 2
"""The tests of rigs mostly wait, so two rigs at once take half the time; more would disturb each other."""


def group(test: str) -> str:
    """Returns the group of a test, whose tests run one after the other in one process: its file, or a rig."""
    file = TESTS.parent / test.partition("::")[0]
    if file.parent != RIG:
        return str(file)
    return f"rig {sorted(RIG.glob('test_*.py')).index(file) % RIGS}"


def scheduler(config: pytest.Config, log: Any) -> Any:
    """Returns xdist's scheduler by scope, in which the scope of a test is its group."""
    from xdist.scheduler import LoadScopeScheduling  # not among the packages of a user

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Scheduling(config, log)
