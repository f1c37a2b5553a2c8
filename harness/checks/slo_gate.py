"""The gate of --slo: a trial holds the SLO, or its finding names the trial and the second in which it broke. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.slo import ERRORS, Result, Slo, first_second
from harness.checks import names
from harness.checks.finding import finding
from harness.model import Cell, Finding, Verdict, verdict_from
from harness.plan.load_share import is_closed_cell_of
from harness.record import TrialResult

Second = Mapping[str, float | None]
"""`second` since the trial began, and columns of timeline.csv."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloGate:
    """The SLO, and for each trial the seconds of its measured window (its first lane's, like the trial's figures)."""

    slo: Slo
    seconds: Mapping[int, Sequence[Second]]
    shares: Collection[Cell] = ()
    """The open cells of the run whose rate is a share of a closed cell's: they judge the latency in its place."""

    def check(self, row: TrialResult) -> Finding | None:
        """The trial's finding; None for a trial without requests and for a negative control.

        A bound that is broken fails, however the rest is. A latency counts only where the times of the trial do. One
        that omits stalls can break its bound, but a bound that it holds is not judged by it: the open cell at a share
        of its rate does that, or else nothing does.
        """
        if row.figure("sent") is None or row.cell.params.get("control"):
            return None
        results = self.slo.results(row.figures)
        usable = [one for one in results if row.valid and (row.times_valid or one.bound.metric == ERRORS)]
        broken = [one for one in usable if one.held is False]
        judged = len(usable) == len(results)
        latencies = row.cell.omits_stalls and any(one.bound.metric != ERRORS for one in results)
        elsewhere = any(is_closed_cell_of(share, row.cell) for share in self.shares)
        verdict: Verdict = verdict_from(
            failed=bool(broken), passed=judged and all(one.held for one in results) and (elsewhere or not latencies)
        )
        if latencies and verdict == "pass":
            verdict = "shown"
        text = "; ".join(map(str, results))
        if broken:
            text = "; ".join(self._broken(row, one) for one in broken)
        elif not judged:
            text = f"not judged: {row.reason or 'its times are doubtful'}"
        if latencies:
            instead = "the open load is judged" if elsewhere else "--rate R measures an open load"
            text += f" (closed model: latencies omit the stalls that clients wait through; {instead})"
        detail = f"trial {row.trial.number}: {text}"
        return finding(row.cell, names.SLO, verdict, detail, slo=str(self.slo))

    def _broken(self, row: TrialResult, result: Result) -> str:
        at = first_second(result.bound, self.seconds.get(row.trial.order, ()))
        if at is None:
            return f"{result}; no second has the requests to show it"
        second, shown = at
        return f"{result}, first in second {second} ({shown})"
