"""Building findings and merging verdicts. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from harness.checks import names
from harness.model import VERDICTS, Cell, Finding, Verdict


def finding(cell: Cell, check: str, verdict: Verdict | bool, detail: str, **numbers: object) -> Finding:
    """A Finding about `cell` (True is pass, False is fail); `numbers` are the figures of `detail` for programs."""
    if isinstance(verdict, bool):
        verdict = "pass" if verdict else "fail"
    return Finding(scenario=cell.scenario, cell=cell.name, check=check, verdict=verdict, detail=detail, numbers=numbers)


def no_samples(cell: Cell, check: str) -> Finding:
    """The finding of a check that needs samples, for a trial without them."""
    return finding(cell, check, "unknown", "no samples were kept")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Merges verdicts by fixed priority: fail, unknown, pass, shown; unknown without any."""
    return min(verdicts, key=VERDICTS.index, default="unknown")


def judged(findings: Iterable[Finding]) -> list[Finding]:
    """The findings of checks that can fail, without what is only shown."""
    return [one for one in findings if one.verdict != "shown"]


def discredits(one: Finding) -> bool:
    """Whether the figures of the finding's cell mean nothing: it fails, and not for being slow.

    Else a comparison would leave out the slow ones, which it is made to find.
    """
    slow = one.check in names.ABOUT_SPEED or one.check.startswith(_SPEED_RATIOS)
    return one.verdict == "fail" and not slow


_SPEED_RATIOS = tuple(name.split("{")[0] for name in (names.SPEED_UP, names.TIME_RATIO))


def losses(findings: Iterable[Finding]) -> int | None:
    """The lost updates of a cell by its findings that count them; None where it is not known.

    A finding that is unknown, or that fails for another reason than a loss, does not show that nothing is lost. Checks
    of one cell count the same writes, so the largest number counts. A proven loss counts whatever the others say.
    """
    counts = [_lost(one) for one in findings if one.check in names.LOSSES]
    known = [count for count in counts if count is not None]
    return max(known) if any(known) or (known and len(known) == len(counts)) else None


def _lost(one: Finding) -> int | None:
    lost = one.numbers.get("lost", 0 if one.verdict == "pass" else None)
    if not isinstance(lost, int) or isinstance(lost, bool):
        return None
    known = one.verdict in ("pass", "shown") or (one.verdict == "fail" and lost > 0)
    return lost if known else None


_SUMS = ("lost", "invented")
_COUNTS = ("ok", "unknown", "applied", *_SUMS)
"""Figures of the oracle of counters, of which all are sums."""


def merge(findings: Sequence[Finding]) -> list[Finding]:
    """Merges findings of the same cell and check: the worst verdict, its number of trials, the sums of losses."""
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for one in findings:
        groups[one.cell, one.check].append(one)
    merged = []
    for group in groups.values():
        lead = min(group, key=lambda f: VERDICTS.index(f.verdict))
        if len(group) > 1:
            sums = _COUNTS if lead.check == names.FINAL_VALUE else _SUMS
            same = sum(1 for f in group if f.verdict == lead.verdict)
            lead = Finding(
                scenario=lead.scenario,
                cell=lead.cell,
                check=lead.check,
                verdict=lead.verdict,
                detail=f"{same} of {len(group)} trials {lead.verdict}: {lead.detail}",
                numbers={
                    **lead.numbers,
                    **{n: sum(f.numbers.get(n, 0) for f in group) for n in sums if n in lead.numbers},
                },
            )
        merged.append(lead)
    return merged
