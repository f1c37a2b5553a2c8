"""A 5 s transaction through app-1 beside 100 quick ones through the others: does it hold them up?

Three cells: the quick ones alone, beside the long one on other rows (the original's test), and the contrast in
which they need the very row it holds. The quick ones arrive over two seconds (open model), so each has an
instant at which it was due and its own deadline.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace

from harness.checks.counter_oracle import check_final_value
from harness.checks.finding import finding
from harness.checks.traffic import check_counts
from harness.load.spec import Keys, LoadSpec, Operation
from harness.model import Cell, Finding, Trial, Verdict
from harness.plan.options import BenchRequest
from harness.plan.scenario import Scenario, Site, Skip
from harness.record import DeadRows, Samples, TrialRecord
from harness.scenarios.increment_workload import increment

HOLD_MS = 5000
QUICK = 100
RATE = 50.0
DEADLINE_MS = 1000.0
LEAD_S = 0.5
"""The long transaction has its row by then; only quick requests due later are judged in the contrast."""
SLACK_MS = 100
"""By so much may the two lanes' clocks, which start when each is released, differ."""


def cells(options: BenchRequest, site: Site) -> list[Cell]:
    """alone, beside, needing."""
    hosts = site.serving(options.hosts, 4)
    if hosts < 2:
        raise Skip("needs 2 app hosts: the long transaction has one for itself")
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
    """The quick ones through app-2 … app-N, and the long one through app-1."""
    cell = trial.cell
    others = [f"/app-{n}/api/increment" for n in range(2, cell.hosts + 1)]
    kind = cell.params["long"]
    held = Keys(kind="one", prefix="held")
    lanes = {
        "main": LoadSpec(
            mode="open",
            rate=RATE,
            clients=QUICK,
            requests=QUICK,
            keys=held if kind == "same-row" else Keys(kind="cycle", prefix="quick", count=10),
            operations=(increment(cell.strategy, paths=others),),
        )
    }
    if kind != "none":
        long = Operation(name="long", path="/app-1/api/transaction", body={"key": "{key}", "hold_ms": HOLD_MS})
        lanes["long"] = LoadSpec(mode="closed", clients=1, requests=1, timeout_s=60.0, keys=held, operations=(long,))
    return lanes


def check(measured: TrialRecord) -> Sequence[Finding]:
    """In time beside another row; waiting for the same row; nothing lost; what the long one left behind."""
    cell, samples, evidence = measured.cell, measured.main, measured.evidence
    kind = cell.params["long"]
    findings: list[Finding] = []
    if kind != "none":
        findings.append(_long(cell, measured.lanes["long"]))
    if kind == "same-row":
        findings.append(_waited(cell, samples, measured.lanes["long"]))
    else:
        findings.append(_in_time(cell, samples, measured.lanes.get("long")))
    quick = {key: value for key, value in evidence.final.items() if kind == "same-row" or not key.startswith("held")}
    own = 1 if kind == "same-row" else 0  # the long transaction increments its row too
    initial = dict.fromkeys(quick, own) if own else {}
    counters = replace(evidence, initial=initial, final=quick)
    findings += [check_final_value(cell, samples, counters), check_counts(cell, samples, counters)]
    findings.append(_dead(cell, evidence.dead_rows))
    return findings


def _long(cell: Cell, samples: Samples) -> Finding:
    took = (samples.done_us[0] - samples.sent_us[0]) / 1000
    good = samples.outcome[0] == "ok" and took >= HOLD_MS
    return finding(
        cell,
        "long transaction",
        good,
        f"held its row and ended {samples.outcome[0]} after {took:,.0f} ms",
        took_ms=took,
    )


def _late(samples: Samples, long: Samples) -> str:
    """Why the first quick ones may have met no long one; empty if it was there before them."""
    begun = (long.sent_us[0] - min(samples.due_us)) / 1000
    return f"the long transaction began {begun:,.0f} ms after the first quick one was due" if begun > SLACK_MS else ""


def _apart(samples: Samples, long: Samples) -> str:
    """Why the quick ones did not run beside the long one from the first to the last; empty if they did.

    A quick one counts until it was late: else one that the long one held up would seem to have outlived it.
    """
    if late := _late(samples, long):
        return late
    last = max(
        min(done, due + round(DEADLINE_MS * 1000)) for due, done in zip(samples.due_us, samples.done_us, strict=True)
    )
    left = (last - long.done_us[0]) / 1000
    return f"the long transaction ended {left:,.0f} ms before the last quick one" if left > 0 else ""


def _in_time(cell: Cell, samples: Samples, long: Samples | None) -> Finding:
    latencies = [(d - s) / 1000 for d, s in zip(samples.done_us, samples.due_us, strict=True)]
    in_time = sum(
        1 for outcome, ms in zip(samples.outcome, latencies, strict=True) if outcome == "ok" and ms <= DEADLINE_MS
    )
    good = in_time > 0.95 * QUICK and len(samples) == QUICK
    apart = _apart(samples, long) if good and long is not None else ""
    return finding(
        cell,
        "quick in time, alone" if long is None else "quick in time",
        "unknown" if apart else good,
        (f"{apart}: not all quick ones ran beside it; " if apart else "")
        + f"{in_time} of {len(samples)} quick transactions ended within {DEADLINE_MS:,.0f} ms "
        f"(more than {0.95 * QUICK:.0f} are wanted); median {statistics.median(latencies):,.1f} ms",
        in_time=in_time,
        median_ms=statistics.median(latencies),
    )


def _waited(cell: Cell, samples: Samples, long: Samples) -> Finding:
    """The contrast: a quick request that needs the held row ends only after the long one."""
    if late := _late(samples, long):
        return finding(cell, "same row waits", "unknown", f"{late}: who had to wait for it is not known")
    first = min(samples.due_us)
    rows = [r for r in range(len(samples)) if samples.due_us[r] >= first + LEAD_S * 1e6]
    until = long.sent_us[0] + (HOLD_MS - SLACK_MS) * 1000
    early = [r for r in rows if samples.outcome[r] == "ok" and samples.done_us[r] < until]
    waited = [r for r in rows if samples.outcome[r] == "ok" and samples.done_us[r] >= until]
    text = f"{len(waited)} of {len(rows)} that needed the held row waited for its release"
    if waited:
        waits = [(samples.done_us[r] - samples.due_us[r]) / 1000 for r in waited]
        text += f", {statistics.median(waits):,.0f} ms in the median"
    if early:
        text += f"; {len(early)} did not, the first is request {samples.seq[early[0]]}"
    verdict: Verdict = "fail" if early else "pass" if waited else "unknown"
    return finding(cell, "same row waits", verdict, text, early=len(early))


def _dead(cell: Cell, dead: DeadRows | None) -> Finding:
    """What the trial left behind can be removed when it is over."""
    if dead is None:
        return finding(cell, "dead rows", "unknown", "VACUUM did not say what it could remove after the trial")
    text = f"VACUUM removed {dead.removed:,} dead row versions in all, {dead.not_removable:,} were still needed"
    numbers = {name: number for name, number in asdict(dead).items() if number is not None}
    return finding(cell, "dead rows", not dead.not_removable, f"{text} when the trial was over", **numbers)


def judge(trials: Sequence[TrialRecord]) -> Sequence[Finding]:
    """With and without the long one, side by side: quick p99, and the dead row versions that VACUUM had to leave."""
    nobody_looks = all("dead rows" in measured.evidence.not_applicable for measured in trials)
    return [_tails(trials), *([] if nobody_looks else [_kept(trials)])]


def _kept(trials: Sequence[TrialRecord]) -> Finding:
    """A transaction holds back the removal of all row versions that died since it began, of other rows too."""
    kept: dict[str, list[int]] = {}
    for measured in trials:
        dead = measured.evidence.dead_rows
        if dead is not None and dead.kept is not None:
            kept.setdefault(str(measured.cell.params["long"]), []).append(dead.kept)
    cell = next((m.cell for m in trials if m.cell.params["long"] == "other-row"), trials[0].cell)
    name = "dead rows kept"
    if "none" not in kept or "other-row" not in kept:
        return finding(cell, name, "unknown", "VACUUM was not tried in both, with and without the long transaction")
    alone, beside = max(kept["none"]), min(kept["other-row"])
    text = f"VACUUM had to leave up to {beside:,} dead row versions beside the long transaction, {alone:,} without it"
    if beside <= alone:
        return finding(cell, name, "unknown", f"{text}: what it holds back was not seen", alone=alone, beside=beside)
    return finding(cell, name, "pass", text, alone=alone, beside=beside)


def _tails(trials: Sequence[TrialRecord]) -> Finding:
    p99: dict[str, list[float]] = {}
    for measured in trials:
        value = measured.row.figure("p99_ms")
        if value is not None and measured.row.valid:
            p99.setdefault(str(measured.cell.params["long"]), []).append(value)
    cell = next((m.cell for m in trials if m.cell.params["long"] == "other-row"), trials[0].cell)
    if "none" not in p99 or "other-row" not in p99:
        return finding(cell, "quick p99", "unknown", "not both were measured, with and without the long transaction")
    alone, beside = statistics.median(p99["none"]), statistics.median(p99["other-row"])
    text = f"quick p99 {alone:,.1f} ms without the long transaction, {beside:,.1f} ms beside it ({beside / alone:.2f}x)"
    return finding(cell, "quick p99", "pass", text, alone_ms=alone, beside_ms=beside)


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
        "quick p99 with and without the long transaction",
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
    judge=judge,
    reads=("dead-rows",),
    postgres_topic="row locks and dead row versions",
)
