"""The five success criteria, each answered by the findings of a run. Pure.

A criterion passes only if every scenario it needs was run and every finding that it is about passes, in valid
trials. Otherwise it is "not measured": a scenario that was not run proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.analysis.trial_validity import unreplaced
from harness.checks import names
from harness.checks.faults import SURVIVED
from harness.checks.finding import judged, worst
from harness.model import Finding
from harness.plan.fault_schedule import QUICK
from harness.record import TrialResult
from harness.report.warning_groups import brief
from harness.scenarios.scaling import WANTED
from harness.store.rig_cores import has_own_cores
from harness.store.run_reader import Run
from harness.text import plural

State = Literal["pass", "fail", "unknown", "not measured"]

WRITES = 1000
"""The number of concurrent writes in the first criterion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """A success criterion: its title, the scenarios it needs, the findings it is about."""

    name: str
    original: str
    """Its wording in Japanese."""
    title: str
    needs: tuple[str, ...]
    covers: Callable[[Finding], bool]
    postgres_only: bool = False
    """Whether findings about SQLite are left out."""
    quotes: str = ""
    """How the checks begin whose finding is quoted; empty: the first finding is."""
    bound: Callable[[Run, Sequence[Finding]], str] = lambda *_: ""
    """What a pass cannot show, to be added to it; empty: nothing."""
    gap: Callable[[Sequence[Finding]], str] = lambda _: ""
    """Why findings that pass are not enough for the criterion; empty if they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A run's answer to a criterion: `because` is a sentence, `findings` are those it follows from."""

    title: str
    state: State
    because: str
    findings: tuple[Finding, ...]


def _too_few_writes(findings: Sequence[Finding]) -> str:
    most = max((int(f.numbers.get("expected", 0)) for f in findings), default=0)
    return "" if most >= WRITES else f"{most:,} writes were sent at once, the criterion asks for {WRITES:,}"


def _missing_sizes(findings: Sequence[Finding]) -> str:
    judged = {finding.check for finding in findings}
    absent = [f"{hosts}" for hosts in WANTED if names.SPEED_UP.format(hosts) not in judged]
    wanted = f"the criterion asks for {', '.join(map(str, WANTED))} hosts against one (./run provision --hosts 8)"
    return f"no judged speed-up of {', '.join(absent)} hosts; {wanted}" if absent else ""


def _loss_below(_: Run, findings: Sequence[Finding]) -> str:
    """The upper bound of the share lost where none of n was lost: 1 - 0.05^(1/n), about 3/n (the rule of three)."""
    sent = sum(int(f.numbers.get("ok", 0)) for f in findings if f.check == names.FINAL_VALUE)
    if not sent:
        return ""
    return f"; 0 of {sent:,} lost: a share below {100 * (1 - 0.05 ** (1 / sent)):.2g} % at 95 % confidence"


def _bounds(run: Run, findings: Sequence[Finding]) -> str:
    """The pool-bound speed-ups are of waits; work scales only over cores that the hosts do not share."""
    if any(one.check == names.SPEED_UP_CPU for one in findings):  # what is only shown is not among them
        return "; pool-bound: pass; CPU-bound: pass"
    reason = "not measured with an interval" if has_own_cores(run.manifest.rig) else "shared cores"
    return f"; pool-bound: pass; CPU-bound: not judged, {reason}"


def _no_fault(findings: Sequence[Finding]) -> str:
    """Why the faults that were seen to happen are not enough: one of each part of the tier is the least.

    A cell names its fault; those of a mixed schedule are named by the finding that they were healed.
    """
    seen = {
        finding.cell.split("fault=")[1].split(".")[0]
        for finding in findings
        if "fault=" in finding.cell and finding.check == names.FAULT_SEEN and finding.numbers.get("faults")
    }
    if not seen:
        return "no fault was injected: no process, host or connection was stopped while the load ran"
    for survived in (one.numbers.get(SURVIVED) for one in findings if one.check == names.HEALED):
        seen.update(map(str, survived) if isinstance(survived, list) else ())
    missing = [fault for fault in QUICK if fault not in seen]
    return f"not injected: {', '.join(missing)}; without them the criterion is not answered" if missing else ""


CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        name="concurrent-writes",
        original="1000同時書き込みで100%成功",
        title="1,000 concurrent writes all succeed",
        needs=("concurrent-writes",),
        covers=lambda f: f.scenario == "concurrent-writes" and f.check == names.ACKNOWLEDGED,
        gap=_too_few_writes,
    ),
    Criterion(
        name="no-lost-update",
        original="Lost Update問題の完全解決",
        title="The lost-update problem is solved",
        needs=("concurrent-writes",),
        covers=lambda f: f.check in names.ORACLE,
        postgres_only=True,
        quotes=names.FINAL_VALUE,
        bound=_loss_below,
    ),
    Criterion(
        name="deadlocks",
        original="デッドロックの自動検出と解決",
        title="Deadlocks are detected and resolved automatically",
        needs=("deadlocks",),
        covers=lambda f: f.scenario == "deadlocks",
    ),
    Criterion(
        name="scaling",
        original="水平スケーリングの実現",
        title="Horizontal scaling is achieved",
        needs=("scaling",),
        covers=lambda f: f.scenario == "scaling",
        quotes="speed-up",
        bound=_bounds,
        gap=_missing_sizes,
    ),
    Criterion(
        name="reliability",
        original="本番環境レベルの信頼性",
        title="Reliability is sufficient for production",
        needs=("faults",),
        covers=lambda f: (
            f.scenario in ("faults", "isolation", "long-transactions", "connections", "bulk-insert", "pool-sweep")
            or f.check == names.COUNTS_AGREE
        ),
        quotes=names.NOTHING_LOST,
        postgres_only=True,
        gap=_no_fault,
    ),
)


def answers(run: Run) -> tuple[Answer, ...]:
    """Returns the answers of a run's stored findings to the five criteria."""
    return tuple(answer(criterion, run, run.findings) for criterion in CRITERIA)


def answer(criterion: Criterion, run: Run, findings: Sequence[Finding]) -> Answer:
    """Returns the answer of `findings`: the stored ones, or those of a new evaluation of the samples."""
    on_sqlite = {row.cell.name for row in run.rows if row.cell.backend != "postgres"} if criterion.postgres_only else ()
    about = (f for f in judged(findings) if f.check != names.SLO)  # a limit of the user, which no criterion is about
    covered = tuple(f for f in about if criterion.covers(f) and f.cell not in on_sqlite)
    state, because = next(_states(criterion, run, covered))
    return Answer(title=criterion.title, state=state, because=because, findings=covered)


def _states(criterion: Criterion, run: Run, findings: Sequence[Finding]) -> Iterator[tuple[State, str]]:
    """Yields the states that apply with their reasons; the first one is the answer."""
    verdict = worst(f.verdict for f in findings)
    if verdict == "fail":
        yield "fail", _reason(criterion, [f for f in findings if f.verdict == "fail"], "fails", "fail")
    absent = [name for name in criterion.needs if not any(f.scenario == name for f in findings)]
    if absent or not findings:
        gaps = [gap for gap in (criterion.gap(findings),) if gap and findings]
        reason = "; ".join([*gaps, *(_absence(name, run) for name in absent)]) or "there are no findings"
        so_far = f" ({plural(len(findings), 'check')} of the other scenarios pass)" if verdict == "pass" else ""
        yield "not measured", reason + so_far
    if verdict == "unknown" and findings:
        yield "unknown", _reason(criterion, [f for f in findings if f.verdict == "unknown"], "is open", "are open")
    for finding in findings:
        if reason := _invalid(finding, run.rows):
            yield "unknown", f"{_source(finding)} is based on an invalid trial: {brief(reason)}"
    if gap := criterion.gap(findings):
        yield "not measured", gap
    quoted = _quoted(criterion, findings)
    more = f", and {plural(len(findings) - 1, 'more check')}" if len(findings) > 1 else ""
    yield "pass", f"{_source(quoted)}: {quoted.detail}{more}{criterion.bound(run, findings)}"


def _reason(criterion: Criterion, against: Sequence[Finding], one: str, several: str) -> str:
    """Returns the finding that says most about the criterion, and how many others are like it."""
    quoted, others = _quoted(criterion, against), len(against) - 1
    more = f"; {plural(others, 'more check')} {one if others == 1 else several}" if others else ""
    return f"{_source(quoted)}: {quoted.detail}{more}"


def _quoted(criterion: Criterion, findings: Sequence[Finding]) -> Finding:
    """Of the findings, those of the scenarios that the criterion needs and of the checks that it quotes come first."""
    needed = [f for f in findings if f.scenario in criterion.needs] or findings
    quoted = [f for f in needed if criterion.quotes and f.check.startswith(criterion.quotes)]
    return quoted[-1] if quoted else needed[0]


def _invalid(finding: Finding, rows: Sequence[TrialResult]) -> str:
    """Returns why a trial of the finding is invalid, or an empty text.

    A finding that is not about a single cell is based on all trials of its scenario.
    """
    of_scenario = [row for row in rows if row.cell.scenario == finding.scenario]
    of_cell = [row for row in of_scenario if row.cell.name == finding.cell]
    reasons = [row.reason or "no reason was recorded" for row in unreplaced(of_cell or of_scenario)]
    return reasons[0] if reasons else ""


def _source(finding: Finding) -> str:
    return f"{finding.scenario}, {finding.check}"


def _absence(name: str, run: Run) -> str:
    if name in run.manifest.skipped:
        return f"{name} was skipped: {run.manifest.skipped[name]}"
    if any(row.cell.scenario == name for row in run.rows):
        return f"{name} was run, but has no finding about this"
    return f"{name} was not part of this run" + (
        "" if run.manifest.status == "finished" else f" ({run.manifest.status})"
    )
