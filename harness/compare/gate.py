"""`--fail-if`: decides whether a comparison passes. Pure.

B passes only if its own checks passed and every row of the baseline is shown to be slower by less than the share: the
bad end of its interval and its noise floor are below. Where that is not known, the gate does not pass. The rows are the
throughput of closed cells and the latencies of open ones; latencies of closed loops are only shown and not judged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.compare.compare import Comparison
from harness.compare.rows import Row
from harness.compare.variants import VariantComparison
from harness.errors import CriterionFailed, InvalidMeasurement, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FailIf:
    """`--fail-if slower:5%`: fails on a claimed loss of `share` or more, relative to the baseline."""

    share: float

    @classmethod
    def parse(cls, text: str) -> FailIf:
        """Parses `slower:P%`. Raises UsageError for anything else."""
        match = re.fullmatch(r"slower:(\d{1,3}(?:\.\d{1,3})?)%", text.strip())
        if not match:
            raise UsageError(f"--fail-if {text!r} is not valid", hint="the form is: --fail-if slower:5%")
        return cls(share=float(match[1]) / 100)

    def enforce(self, comparison: Comparison) -> None:
        """Raises CriterionFailed if B failed its own checks or a row is slower by `share` or more.

        Raises InvalidMeasurement if A and B are the same run, if their environments or the speed of their machines
        differ, if the verdict of B is not `pass`, if a row of the baseline has no verdict, or if a row may be slower by
        `share`.
        """
        if comparison.run_a == comparison.run_b:
            raise InvalidMeasurement(
                f"A and B are both run {comparison.run_b}: nothing was compared", hint="name two different runs"
            )
        about_b = f"B ({comparison.run_b}) has the verdict {comparison.verdict_b}"
        see_b = f"./run report --run {comparison.run_b}"
        if comparison.verdict_b == "fail":
            raise CriterionFailed(f"{about_b}: its speed does not count", hint=see_b)
        if comparison.anyway:
            unlike = next(str(one) for one in comparison.differences if one.forbids)
            raise InvalidMeasurement(
                f"A and B were measured in different environments ({unlike}), so no row can be judged",
                hint="compare runs of one environment, or settings within one run: ./run bench --vary",
            )
        if comparison.moved:
            raise InvalidMeasurement(
                f"the machines of A and B were not equally fast, so no row can be judged: {comparison.moved[0]}",
                hint="measure again on quiet machines, or compare variants within one run: ./run bench --vary",
            )
        self._require_not_worse(comparison.rows)
        if comparison.verdict_b != "pass":
            raise InvalidMeasurement(f"{about_b}: whether its results are correct is not known", hint=see_b)
        self._require_shown(
            comparison.rows,
            again=f"bench both runs with the same scenarios and --repeat {comparison.needed}",
            narrower="more trials make the interval narrower; the floor of two single runs is that of their sessions: "
            "give several runs a side, or compare variants within one run (./run bench --vary)",
        )

    def enforce_within(self, comparison: VariantComparison, *, verdict: str = "pass") -> None:
        """Raises CriterionFailed if the run failed its checks, or a variant is slower than the baseline by `share`.

        `verdict`: of the run's own checks. Raises InvalidMeasurement if it is not `pass`, if a row has no verdict, or
        if one may be slower by `share`.
        """
        if verdict != "pass":
            kind = CriterionFailed if verdict == "fail" else InvalidMeasurement
            raise kind(f"the run has the verdict {verdict}: its speed does not count")
        self._require_not_worse(comparison.rows)
        again = f"measure {comparison.needed} blocks: --repeat {comparison.needed}"
        self._require_shown(
            comparison.rows, again=again, narrower="more blocks make the interval narrower: give a larger --repeat"
        )

    def _require_not_worse(self, rows: Sequence[Row]) -> None:
        worse = [row for row in rows if row.verdict == "slower" and row.change >= self.share]
        if worse:
            first = max(worse, key=lambda row: row.change)
            raise CriterionFailed(
                f"{len(worse)} of {len(_judged(rows))} rows are slower by {self.share * 100:g}% or more, "
                f"most {first.cell} {first.metric}: {first.change:.1%}",
                hint="see the rows above",
            )

    def _require_shown(self, rows: Sequence[Row], *, again: str, narrower: str) -> None:
        """Raises InvalidMeasurement unless each row of the baseline is shown to be slower by less than `share`."""
        compared = [row for row in rows if row.verdict in ("faster", "slower", "~")]
        without = [row for row in _judged(rows) if row not in compared and not row.new]
        if without:
            first = without[0]
            raise InvalidMeasurement(
                f"{len(without)} of {len(_judged(rows))} rows have no verdict, "
                f"first {first.cell} {first.metric}: {first.verdict}, {first.note}",
                hint=again,
            )
        if not compared:
            raise InvalidMeasurement(
                "both sides have neither the throughput of a closed load nor the latency of an open one, so nothing "
                "was compared",
                hint="bench scenarios that measure time (./run scenarios), or give --rate R for latencies",
            )
        unshown = [row for row in compared if row.loss_at_most >= self.share]
        if unshown:
            first = max(unshown, key=lambda row: row.loss_at_most)
            floor = first.floor - 1
            reason = f"the noise floor is {floor:.1%}" if floor >= first.loss_at_most else "the bad end of its interval"
            most = "by any amount" if math.isinf(first.loss_at_most) else f"by {first.loss_at_most:.1%}"
            raise InvalidMeasurement(
                f"{len(unshown)} of {len(compared)} rows may be slower by {self.share * 100:g}% or more, most "
                f"{first.cell} {first.metric}: {most}, {first.note or reason}",
                hint=narrower,
            )


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows about which something can be claimed."""
    return [row for row in rows if row.verdict != "shown"]
