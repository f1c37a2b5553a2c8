"""The input of one scenario's part of the page. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.compare.variants import VariantComparison
from harness.plan.scenario import Scenario
from harness.report.charts.telemetry_series import TelemetrySeries
from harness.report.summary import ScenarioSummary
from harness.report.trial_data import TrialData


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionInput:
    """All that was read of a run for one scenario; `trials` in the reading order of their cells."""

    summary: ScenarioSummary
    scenario: Scenario | None = None
    trials: Sequence[TrialData] = ()
    series: TelemetrySeries | None = None
    """Load of hosts and database while the scenario ran; None without telemetry."""
    within: VariantComparison = field(default_factory=VariantComparison)
    """What the whole run measured side by side, compared within blocks."""
    shared_cores: bool = False
    """Whether hosts of the rig share the cores of one machine."""
    explains_sqlite: bool = False
    """Whether the page's explanation of SQLite's errors belongs into this section."""

    @property
    def errors(self) -> Mapping[str, Mapping[str, int]]:
        """Cell name -> error name -> requests, over all trials."""
        errors: dict[str, dict[str, int]] = {}
        for trial in self.trials:
            of_cell = errors.setdefault(trial.row.cell.name, {}) if trial.errors else {}
            for name, count in trial.errors.items():
                of_cell[name] = of_cell.get(name, 0) + count
        return errors
