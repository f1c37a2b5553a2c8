"""The original page's five success criteria, each answered by the findings of a run, or not at all. Pure.

A criterion passes only if every scenario it needs was run and every finding it rests on passes, in valid
trials. "Not measured" is an answer: nothing is inferred from a scenario that was not run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.checks import worst
from harness.model import Finding
from harness.report.phrase import some
from harness.report.summary import invalid_cells
from harness.store import Run

State = Literal["pass", "fail", "unknown", "not measured"]

WRITES = 1000
"""As many as the page's first criterion names."""

ORACLE = frozenset({"final value", "value sequence", "real-time order", "ledger"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A success criterion: its words, the scenarios it needs, the findings it rests on."""

    title: str
    needs: tuple[str, ...]
    rests_on: Callable[[Finding], bool]
    short_of: Callable[[Sequence[Finding]], str] = lambda _: ""
    """Why passing findings are not enough to say that the criterion holds; empty if they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run says about a criterion: `because` is a sentence, `findings` what it rests on."""

    title: str
    state: State
    because: str
    findings: tuple[Finding, ...]


def _postgres(finding: Finding) -> bool:
    return ".sqlite-" not in finding.cell


def _few(findings: Sequence[Finding]) -> str:
    most = max((int(f.numbers.get("expected", 0)) for f in findings), default=0)
    return "" if most >= WRITES else f"{most:,} writes were sent at once, the criterion asks for {WRITES:,}"


CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        title="1,000 concurrent writes succeed to 100 %",
        needs=("concurrent-writes",),
        rests_on=lambda f: f.scenario == "concurrent-writes" and f.check == "acknowledged",
        short_of=_few,
    ),
    Criterion(
        title="The lost-update problem is solved",
        needs=("concurrent-writes",),
        rests_on=lambda f: f.check in ORACLE and _postgres(f),
    ),
    Criterion(
        title="Deadlocks are detected and resolved automatically",
        needs=("deadlocks",),
        rests_on=lambda f: f.scenario == "deadlocks",
    ),
    Criterion(
        title="Horizontal scaling is achieved",
        needs=("scaling",),
        rests_on=lambda f: f.scenario == "scaling",
    ),
    Criterion(
        title="Reliability is fit for production",
        needs=("isolation", "long-transactions", "connections"),
        rests_on=lambda f: (
            _postgres(f)
            and (
                f.scenario in ("isolation", "long-transactions", "connections", "bulk-insert", "pool-sweep")
                or f.check == "counts agree"
            )
        ),
    ),
)


def answers(run: Run) -> tuple[Answer, ...]:
    """The five criteria as this run answers them."""
    invalid = invalid_cells(run.rows)
    return tuple(_answer(one, run, invalid) for one in CRITERIA)


def _answer(criterion: Criterion, run: Run, invalid: Mapping[str, str]) -> Answer:
    found = tuple(f for f in run.findings if criterion.rests_on(f))
    state, because = _judge(criterion, run, found, invalid)
    return Answer(title=criterion.title, state=state, because=because, findings=found)


def _judge(criterion: Criterion, run: Run, found: Sequence[Finding], invalid: Mapping[str, str]) -> tuple[State, str]:
    verdict = worst(f.verdict for f in found)
    first = next((f for f in found if f.verdict == verdict), None)
    if first and verdict == "fail":
        return "fail", f"{_source(first)}: {first.detail}"
    absent = [name for name in criterion.needs if not any(f.scenario == name for f in found)]
    if absent:
        why = "; ".join(_absence(name, run) for name in absent)
        sofar = f" (as far as it was measured, {some(len(found), 'check')} pass)" if found and verdict == "pass" else ""
        return "not measured", why + sofar
    if first is None:
        return "not measured", "there is no finding"
    if verdict == "unknown":
        return "unknown", f"{_source(first)}: {first.detail}"
    doubtful = [f for f in found if f.cell in invalid]
    if doubtful:
        return "unknown", f"{_source(doubtful[0])} was measured in an invalid trial: {invalid[doubtful[0].cell]}"
    short = criterion.short_of(found)
    if short:
        return "not measured", short
    more = f", and {some(len(found) - 1, 'more check')}" if len(found) > 1 else ""
    return "pass", f"{first.detail}{more}"


def _source(finding: Finding) -> str:
    return f"{finding.scenario}, {finding.check}"


def _absence(name: str, run: Run) -> str:
    if name in run.manifest.skipped:
        return f"{name} was skipped: {run.manifest.skipped[name]}"
    if any(row.cell.scenario == name for row in run.rows):
        return f"{name} was run, but has no finding that says so"
    return f"{name} was not part of this run" + (
        "" if run.manifest.status == "finished" else f" ({run.manifest.status})"
    )
