"""The original page's five success criteria, each answered by the findings of a run, or not at all. Pure.

A criterion passes only if every scenario it needs was run and every finding it rests on passes, in valid
trials. "Not measured" is an answer: nothing is inferred from a scenario that was not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.trial_validity import unreplaced
from harness.checks import names
from harness.checks.finding import worst
from harness.model import Finding
from harness.record import TrialResult
from harness.scenarios.scaling import WANTED
from harness.store.run_reader import Run
from harness.text import plural

State = Literal["pass", "fail", "unknown", "not measured"]

WRITES = 1000
"""As many as the page's first criterion names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A success criterion: its words, the scenarios it needs, the findings it rests on."""

    name: str
    original: str
    """The page's own wording."""
    title: str
    needs: tuple[str, ...]
    rests_on: Callable[[Finding], bool]
    quotes: str = ""
    """How the checks begin whose findings say most; empty: the first that is found."""
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


def _unscaled(findings: Sequence[Finding]) -> str:
    judged = {finding.check for finding in findings}
    absent = [f"{hosts}" for hosts in WANTED if names.SPEED_UP.format(hosts) not in judged]
    wanted = f"the criterion asks for {', '.join(map(str, WANTED))} hosts against one (./run provision --hosts 8)"
    return f"no judged speed-up of {', '.join(absent)} hosts; {wanted}" if absent else ""


CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        name="concurrent-writes",
        original="1000同時書き込みで100%成功",
        title="1,000 concurrent writes succeed to 100 %",
        needs=("concurrent-writes",),
        rests_on=lambda f: f.scenario == "concurrent-writes" and f.check == names.ACKNOWLEDGED,
        short_of=_few,
    ),
    Criterion(
        name="no-lost-update",
        original="Lost Update問題の完全解決",
        title="The lost-update problem is solved",
        needs=("concurrent-writes",),
        rests_on=lambda f: f.check in names.ORACLE and _postgres(f),
        quotes=names.FINAL_VALUE,
    ),
    Criterion(
        name="deadlocks",
        original="デッドロックの自動検出と解決",
        title="Deadlocks are detected and resolved automatically",
        needs=("deadlocks",),
        rests_on=lambda f: f.scenario == "deadlocks",
    ),
    Criterion(
        name="scaling",
        original="水平スケーリングの実現",
        title="Horizontal scaling is achieved",
        needs=("scaling",),
        rests_on=lambda f: f.scenario == "scaling",
        quotes="speed-up",
        short_of=_unscaled,
    ),
    Criterion(
        name="reliability",
        original="本番環境レベルの信頼性",
        title="Reliability is fit for production",
        needs=("isolation", "long-transactions", "connections"),
        rests_on=lambda f: (
            _postgres(f)
            and (
                f.scenario in ("isolation", "long-transactions", "connections", "bulk-insert", "pool-sweep")
                or f.check == names.COUNTS_AGREE
            )
        ),
    ),
)


def answers(run: Run) -> tuple[Answer, ...]:
    """The five criteria as this run's stored findings answer them."""
    return tuple(answer(one, run, run.findings) for one in CRITERIA)


def answer(criterion: Criterion, run: Run, findings: Sequence[Finding]) -> Answer:
    """One criterion as `findings`, the run's own or made anew from its samples, answer it."""
    found = tuple(f for f in findings if criterion.rests_on(f))
    state, because = next(_states(criterion, run, found))
    return Answer(title=criterion.title, state=state, because=because, findings=found)


def _states(criterion: Criterion, run: Run, found: Sequence[Finding]) -> Iterator[tuple[State, str]]:
    """The states with their reasons, the one that counts first."""
    verdict = worst(f.verdict for f in found)
    for finding in found:
        if finding.verdict == verdict == "fail":
            yield "fail", f"{_source(finding)}: {finding.detail}"
    absent = [name for name in criterion.needs if not any(f.scenario == name for f in found)]
    if absent or not found:
        why = "; ".join(_absence(name, run) for name in absent) or "there is no finding"
        so_far = f" (as far as it was measured, {plural(len(found), 'check')} pass)" if verdict == "pass" else ""
        yield "not measured", why + so_far
    for finding in found:
        if finding.verdict == verdict == "unknown":
            yield "unknown", f"{_source(finding)}: {finding.detail}"
    for finding in found:
        if why := _doubt(finding, run.rows):
            yield "unknown", f"{_source(finding)} rests on an invalid trial: {why}"
    if short := criterion.short_of(found):
        yield "not measured", short
    telling = [f for f in found if criterion.quotes and f.check.startswith(criterion.quotes)][-1:] or found[:1]
    more = f", and {plural(len(found) - 1, 'more check')}" if len(found) > 1 else ""
    yield "pass", f"{_source(telling[0])}: {telling[0].detail}{more}"


def _doubt(finding: Finding, rows: Sequence[TrialResult]) -> str:
    """Why a trial it rests on is invalid, or empty. A finding about no single cell rests on its whole scenario."""
    mine = [row for row in rows if row.cell.scenario == finding.scenario]
    of_cell = [row for row in mine if row.cell.name == finding.cell]
    bad = [row.reason or "no reason was recorded" for row in unreplaced(of_cell or mine)]
    return bad[0] if bad else ""


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
