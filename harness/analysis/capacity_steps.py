"""The trials of a capacity search: which belong to one search, which hold the SLO, and the search after them. Pure."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.analysis.capacity_search import FULL, QUICK, Probe, Search
from harness.analysis.slo import FIGURE, Slo
from harness.analysis.stats import samples_needed
from harness.errors import UsageError
from harness.record import TrialResult

EFFORTS = {"full": FULL, "quick": QUICK}
FALLBACK_RATE = 100.0
"""Where the search begins if the closed load acknowledged nothing."""
ENOUGH = 1.3
"""Multiple of the requests that the SLO's percentiles need, which a window is long enough for."""
LONGEST_S = {"full": 60.0, "quick": 20.0}
"""Length up to which a window is made longer for that, by effort: it sets the lowest rate that is tried."""
KEPT_UP, IN_FLIGHT = 0.98, 5
"""Share of the acknowledged requests that must be answered within the window, where more than so many are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The trials of one search in their order: they differ in the load only."""

    rows: tuple[TrialResult, ...]

    @property
    def known(self) -> bool:
        """Whether the search can be repeated: not where a stored run has other parameters."""
        params = self.rows[0].cell.params
        with contextlib.suppress(UsageError):
            return params.get("effort") in EFFORTS and bool(Slo.parse("slo", str(params.get("slo"))))
        return False

    @property
    def slo(self) -> Slo:
        """The SLO that is searched for."""
        return Slo.parse("slo", str(self.rows[0].cell.params["slo"]))

    @property
    def probes(self) -> list[TrialResult]:
        """The trials with an open load."""
        return [row for row in self.rows if row.cell.rate is not None]

    def seconds(self, rate: float) -> float:
        """The window at this rate: long enough for the SLO's percentiles."""
        return max(self.rows[0].cell.seconds or 0.0, float(math.ceil(ENOUGH * samples_of(self.slo) / rate)))

    def search(self) -> Search:
        """The search after these trials."""
        first = self.rows[0]
        effort = first.cell.params["effort"]
        longest_s = max(LONGEST_S[effort], first.cell.seconds or 0.0)
        return Search.after(
            [Probe(rate=row.cell.rate or 0.0, held=held(row, self.slo)) for row in self.probes],
            reference=first.cell.rate or first.figure("rps") or FALLBACK_RATE,
            lowest=max(1.0, ENOUGH * samples_of(self.slo) / longest_s),
            effort=EFFORTS[effort],
        )


def searches(rows: Sequence[TrialResult]) -> list[Steps]:
    """Returns the searches of these rows."""
    groups: dict[str, list[TrialResult]] = {}
    for row in sorted(rows, key=lambda row: row.trial.order):
        groups.setdefault(replace(row.cell, mode="closed", clients=0, rate=None, seconds=None).name, []).append(row)
    return [Steps(rows=tuple(group)) for group in groups.values()]


def held(row: TrialResult, slo: Slo) -> bool | None:
    """Whether the trial holds the SLO and keeps up with its load; None where it does not count."""
    if not row.times_valid:
        return None
    holds = slo.holds(row.figures)
    return keeps_up(row) if holds else holds


def keeps_up(row: TrialResult) -> bool | None:
    """Whether about as many requests were answered in the window as were sent in it; None where it is not known.

    Where the service is slower than the load, the others are answered after the window, later and later.
    """
    ok, rps, seconds = row.figure("ok"), row.figure("rps"), row.figure("seconds")
    if ok is None or rps is None or seconds is None:
        return None
    return ok - rps * seconds <= max(IN_FLIGHT, (1 - KEPT_UP) * ok)


def samples_of(slo: Slo) -> int:
    """The requests that a trial needs for the SLO's percentiles."""
    percents = [float(bound.metric[1:]) for bound in slo.bounds if bound.metric in FIGURE and bound.metric != "max"]
    return max(map(samples_needed, percents), default=1)
