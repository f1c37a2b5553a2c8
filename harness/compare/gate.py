"""`--fail-if`: what a comparison has to show for the way to be open. Pure.

A gate that cannot tell must not open: it passes B only if B's own checks passed and every row that the baseline
has was judged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.compare.compare import Comparison
from harness.errors import CriterionFailed, InvalidMeasurement, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class FailIf:
    """`--fail-if slower:5%`: a claimed loss of `share` or more of what the baseline had."""

    share: float

    @classmethod
    def parse(cls, text: str) -> FailIf:
        """Read `slower:P%`; UsageError for anything else."""
        match = re.fullmatch(r"slower:(\d{1,3}(?:\.\d{1,3})?)%", text.strip())
        if not match:
            raise UsageError(f"--fail-if {text!r} is not understood", hint="write for example --fail-if slower:5%")
        return cls(share=float(match[1]) / 100)

    def enforce(self, comparison: Comparison) -> None:
        """CriterionFailed if B failed its own checks or a row is slower by `share` or more. InvalidMeasurement if
        neither is so, but B's checks said something else than `pass` or a row of the baseline could not be judged;
        and if B is A.
        """
        if comparison.run_a == comparison.run_b:
            raise InvalidMeasurement(
                f"A and B are both run {comparison.run_b}: nothing was compared", hint="name two runs; `latest` is one"
            )
        about_b = f"B ({comparison.run_b}) has the verdict {comparison.verdict_b}"
        see_b = f"./run report --run {comparison.run_b}"
        if comparison.verdict_b == "fail":
            raise CriterionFailed(f"{about_b}: fast and wrong is a failure", hint=see_b)
        worse = [row for row in comparison.rows if row.verdict == "slower" and row.change >= self.share]
        if worse:
            first = max(worse, key=lambda row: row.change)
            raise CriterionFailed(
                f"{len(worse)} of {len(comparison.rows)} rows are slower by {self.share * 100:g}% or more, "
                f"most {first.cell} {first.metric}: {first.change:.1%}",
                hint="the rows above say what was compared",
            )
        if comparison.verdict_b != "pass":
            raise InvalidMeasurement(f"{about_b}: nobody knows whether it is right", hint=see_b)
        judged = [row for row in comparison.rows if row.verdict in ("faster", "slower", "~")]
        unjudged = [row for row in comparison.rows if row not in judged and not row.new]
        more = f"bench both runs with the same scenarios and --repeat {comparison.needed}"
        if unjudged:
            first = unjudged[0]
            raise InvalidMeasurement(
                f"{len(unjudged)} of {len(comparison.rows)} rows cannot be judged, "
                f"first {first.cell} {first.metric}: {first.verdict}, {first.note}",
                hint=more,
            )
        if not judged:
            raise InvalidMeasurement(
                "the two runs have no figure in common that could be judged",
                hint="bench scenarios that measure time (./run scenarios)",
            )
