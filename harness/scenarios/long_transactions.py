"""A 5 s transaction through app-1 beside 100 quick ones through the other hosts: does it delay them?

Three cells: the quick transactions alone, beside the long one on other rows, and as contrast on the row that the long
one has locked. The quick ones arrive over two seconds (open model), so each has a due time and a deadline.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from harness.analysis.block_ratio import by_block, ratio
from harness.analysis.stats import percentiles
from harness.checks import names
from harness.checks.counter_oracle import check_final_value
from harness.checks.finding import finding
from harness.checks.traffic import check_counts
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial, verdict_from
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import NO_OTHERS, DeadRows, Samples, TrialRecord, count_outcomes
from harness.scenarios.increment_workload import increment

HOLD_MS = 5000
QUICK = 100
RATE = 50.0
QUICK_PERCENT = 90.0
"""Of 100 requests ten are beyond the p90; a higher percentile has too few."""
DEADLINE_MS = 1000.0
LEAD_S = 0.5
"""By then the long transaction holds its row. The contrast uses only quick requests that are due later."""
SLACK_MS = 100
"""Tolerance between the clocks of the two lanes, which start when each lane is released."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """Plans the quick transactions alone, beside the long one, and on the same row."""
    hosts = site.serving(options.hosts, 4)
    if hosts < 2:
        raise Skip("needs 2 app hosts: the long transaction uses one alone")
    site.need("/api/transaction", "/app-N/…")
    return [
        Cell(
            scenario="long-transactions",
            strategy="upsert",
            hosts=hosts,
            mode="open",
            clients=QUICK,
            rate=RATE,
            requests=QUICK,
            params={"long": kind},
        )
        for kind in ("none", "other-row", "same-row")
    ]


def workload(trial: Trial) -> dict[str, LoadSpec]:
    """Returns the quick transactions through app-2 … app-N, and the long one through app-1."""
    cell = trial.cell
    others = [f"/app-{n}/api/increment" for n in range(2, cell.hosts + 1)]
    kind = cell.params["long"]
    locked = Keys(kind="one", prefix="held")
    lanes = {
        "main": LoadSpec(
            mode="open",
            rate=RATE,
            clients=QUICK,
            requests=QUICK,
            keys=locked if kind == "same-row" else Keys(kind="cycle", prefix="quick", count=10),
            operations=(increment(cell.strategy, paths=others),),
        )
    }
    if kind != "none":
        body = {"key": "{key}", "hold_ms": HOLD_MS}
        long = Operation(name="long", path="/app-1/api/transaction", body=body, capture=("duration",))
        lanes["long"] = LoadSpec(mode="closed", clients=1, requests=1, timeout_s=60.0, keys=locked, operations=(long,))
    return lanes


def check(measured: TrialRecord) -> Sequence[Finding]:
    """Quick transactions end in time beside the long one, or wait for its row; no update is lost; no dead row stays."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    kind = cell.params["long"]
    findings: list[Finding] = []
    if kind != "none":
        findings.append(_check_long(cell, measured.lanes["long"]))
    if kind == "same-row":
        findings.append(_check_waits(cell, samples, measured.lanes["long"]))
    else:
        findings.append(_check_deadlines(cell, samples, measured.lanes.get("long")))
    # the long transaction increments its row too, unless it is refused
    others = count_outcomes(measured.lanes["long"]) if kind != "none" else NO_OTHERS
    findings.append(check_final_value(cell, samples, evidence, others=others))
    findings.append(check_counts(cell, samples, evidence, others=others))
    findings.append(_check_dead_rows(cell, evidence.dead_rows))
    return findings


def _check_long(cell: Cell, samples: Samples) -> Finding:
    took_ms = (samples.done_us[0] - samples.sent_us[0]) / 1000
    good = samples.outcome[0] == "ok" and took_ms >= HOLD_MS
    text = f"held its row and ended {samples.outcome[0]} after {took_ms:,.0f} ms"
    return finding(cell, names.LONG_TRANSACTION, good, text, took_ms=took_ms)


def _late_start(samples: Samples, long: Samples) -> str:
    """Returns a text if the long transaction began after the first quick one was due, else an empty one."""
    delay_ms = (long.sent_us[0] - min(samples.due_us)) / 1000
    if delay_ms <= SLACK_MS:
        return ""
    return f"the long transaction began {delay_ms:,.0f} ms after the first quick one was due"


def _missing_overlap(samples: Samples, long: Samples) -> str:
    """Returns a text if the quick transactions did not all run during the long one, else an empty one.

    A quick transaction counts until its deadline, because one that the long transaction delays ends after it.
    """
    if late := _late_start(samples, long):
        return late
    last = max(
        min(done, due + round(DEADLINE_MS * 1000)) for due, done in zip(samples.due_us, samples.done_us, strict=True)
    )
    gap_ms = (last - long.done_us[0]) / 1000
    return f"the long transaction ended {gap_ms:,.0f} ms before the last quick one" if gap_ms > 0 else ""


def _check_deadlines(cell: Cell, samples: Samples, long: Samples | None) -> Finding:
    """More than 95 % of the quick transactions end within their deadline."""
    latencies = [(d - s) / 1000 for d, s in zip(samples.done_us, samples.due_us, strict=True)]
    in_time = sum(
        1 for outcome, ms in zip(samples.outcome, latencies, strict=True) if outcome == "ok" and ms <= DEADLINE_MS
    )
    median_ms = statistics.median(latencies)
    good = in_time > 0.95 * QUICK and len(samples) == QUICK
    apart = _missing_overlap(samples, long) if good and long is not None else ""
    text = (
        f"{in_time} of {len(samples)} quick transactions ended within {DEADLINE_MS:,.0f} ms "
        f"(required: more than {0.95 * QUICK:.0f}); median {median_ms:,.1f} ms"
    )
    if apart:
        text = f"{apart}, so not all quick ones ran beside it; {text}"
    name = names.QUICK_IN_TIME_ALONE if long is None else names.QUICK_IN_TIME
    return finding(cell, name, "unknown" if apart else good, text, in_time=in_time, median_ms=median_ms)


def _check_waits(cell: Cell, samples: Samples, long: Samples) -> Finding:
    """The contrast: a quick transaction that needs the locked row ends after the long transaction."""
    if late := _late_start(samples, long):
        return finding(cell, names.HELD_ROW_WAITS, "unknown", f"{late}, so it is not known which ones had to wait")
    first = min(samples.due_us)
    rows = [r for r in range(len(samples)) if samples.due_us[r] >= first + LEAD_S * 1e6]
    released_us = long.sent_us[0] + (HOLD_MS - SLACK_MS) * 1000
    early = [r for r in rows if samples.outcome[r] == "ok" and samples.done_us[r] < released_us]
    waited = [r for r in rows if samples.outcome[r] == "ok" and samples.done_us[r] >= released_us]
    text = f"{len(waited)} of {len(rows)} that needed the locked row waited for its release"
    if waited:
        waits = [(samples.done_us[r] - samples.due_us[r]) / 1000 for r in waited]
        text += f", median {statistics.median(waits):,.0f} ms"
    if early:
        text += f"; {len(early)} did not, the first is request {samples.seq[early[0]]}"
    verdict = verdict_from(failed=bool(early), passed=bool(waited))
    return finding(cell, names.HELD_ROW_WAITS, verdict, text, early=len(early))


def _check_dead_rows(cell: Cell, dead: DeadRows | None) -> Finding:
    """VACUUM can remove all dead row versions after the trial."""
    if dead is None:
        return finding(cell, names.DEAD_ROWS, "unknown", "VACUUM did not report dead row versions after the trial")
    text = f"VACUUM removed {dead.removed:,} dead row versions in total; {dead.not_removable:,} were still needed"
    numbers = {name: number for name, number in asdict(dead).items() if number is not None}
    return finding(cell, names.DEAD_ROWS, not dead.not_removable, f"{text} after the trial", **numbers)


def extract(measured: TrialRecord) -> Mapping[str, float]:
    """Returns the p90 of the quick transactions, from the time they were due."""
    samples = measured.main
    latencies = [(done - due) / 1000 for due, done in zip(samples.due_us, samples.done_us, strict=True)]
    (p90_ms,) = percentiles(latencies, [QUICK_PERCENT])
    return {} if p90_ms is None else {"quick_ms": p90_ms}


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """Compares quick p90 and the dead row versions that VACUUM had to leave, with and without the long transaction."""
    if all(names.DEAD_ROWS in measured.evidence.not_applicable for measured in trials):
        return [_compare_latency(trials)]
    return [_compare_latency(trials), _compare_dead_rows(trials)]


def _compare_dead_rows(trials: Sequence[TrialRecord]) -> Finding:
    """A transaction keeps VACUUM from removing row versions that died since it began, of other rows too."""
    kept: dict[str, list[int]] = {}
    for measured in trials:
        dead = measured.evidence.dead_rows
        if dead is not None and dead.kept is not None:
            kept.setdefault(str(measured.cell.params["long"]), []).append(dead.kept)
    cell = next((m.cell for m in trials if m.cell.params["long"] == "other-row"), trials[0].cell)
    name = names.DEAD_ROWS_KEPT
    if "none" not in kept or "other-row" not in kept:
        return finding(cell, name, "unknown", "VACUUM did not run in both cells, with and without the long transaction")
    alone, beside = max(kept["none"]), min(kept["other-row"])
    text = f"VACUUM had to leave up to {beside:,} dead row versions beside the long transaction, {alone:,} without it"
    if beside <= alone:
        return finding(cell, name, "unknown", f"{text}: no difference was measured", alone=alone, beside=beside)
    return finding(cell, name, "shown", text, alone=alone, beside=beside)


def _compare_latency(trials: Sequence[TrialRecord]) -> Finding:
    """The highest percentile that 100 requests carry, with and without the long transaction."""
    blocks = {
        long: by_block((m.row, m.extracted.get("quick_ms")) for m in trials if m.cell.params["long"] == long)
        for long in ("none", "other-row")
    }
    cell = next((m.cell for m in trials if m.cell.params["long"] == "other-row"), trials[0].cell)
    within = ratio(blocks["none"], blocks["other-row"])
    if within is None:
        return finding(cell, names.QUICK_P90, "unknown", "not measured both with and without the long transaction")
    alone, beside = (statistics.median(ms for ms in of.values() if ms is not None) for of in blocks.values())
    text = (
        f"quick p90 {alone:,.1f} ms without the long transaction, {beside:,.1f} ms beside it, "
        f"{within.value:.2f}x{within.basis}"
    )
    return finding(cell, names.QUICK_P90, "shown", text, alone_ms=alone, beside_ms=beside)


LABELS = {
    "none": "no long transaction",
    "other-row": "long transaction on another row",
    "same-row": "long transaction on the same row",
}


def label(cell: Cell) -> str:
    """Names a cell, such as `long transaction on another row`."""
    kind = str(cell.params.get("long", ""))
    return LABELS.get(kind, kind)


SCENARIO = Scenario(
    name="long-transactions",
    question="Does a 5 s transaction delay quick ones on other rows?",
    criteria=(
        "more than 95 of 100 quick transactions end within their deadline beside a 5 s transaction",
        "quick p90 with and without the long transaction",
        "the contrast: quick transactions that need the locked row wait for it",
        "dead row versions: how many VACUUM must leave beside the long transaction, and that it removes all later",
    ),
    background="A transaction holds the locks of the rows it has written until it ends. A transaction that needs one "
    "of these rows waits (`same-row`); one that needs other rows does not (`other-row`, to be compared "
    "with `none`, without a long transaction). There is also a cost for all: an update leaves the old "
    "version of its row behind, and VACUUM cannot remove it while an older transaction is open.",
    cells=cells,
    workload=workload,
    check=check,
    label=label,
    extract=extract,
    judge=judge,
    reads=("dead-rows",),
    postgres_topic="row locks and dead row versions",
)
