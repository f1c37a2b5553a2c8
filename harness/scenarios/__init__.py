"""The scenarios, by name. A new one is a file beside this one and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from harness.plan import Scenario
from harness.scenarios import concurrent_writes

SCENARIOS: Mapping[str, Scenario] = {
    "concurrent-writes": concurrent_writes.SCENARIO,
}
