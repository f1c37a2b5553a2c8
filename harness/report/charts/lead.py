"""The picture of a card: figures of a scenario in, the specification that shows its answer out. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis.block_ratio import by_block
from harness.analysis.scaling_law import speed_ups
from harness.checks import names
from harness.model import BACKEND_NAMES
from harness.report.cell_labels import without
from harness.report.charts import bars, outcomes, requests, slowest, speed_up, strategies
from harness.report.charts.drawing import Chart
from harness.report.formatting import count, number, percent, whole_percent
from harness.report.section_input import SectionInput
from harness.report.summary import CellSummary
from harness.report.trial_data import TrialData
from harness.scenarios.deadlocks import pair_outcomes
from harness.scenarios.scaling import WANTED
from harness.text import plural

BOUNDS = {"pool": "pool-bound", "cpu": "CPU-bound"}


def backends(source: SectionInput) -> Iterator[Chart]:
    """Returns what each backend acknowledged, by load, with the published claim beside the burst."""
    cells = [cell for cell in source.summary.cells if cell.sent]
    if len({cell.cell.backend for cell in cells}) < 2:
        return
    burst = [cell for cell in cells if cell.cell.requests]
    claims = {f.check: f.numbers.get("claimed") for f in source.summary.findings if f.numbers.get("claimed")}
    claimed = claims.get(f"{names.CLAIM}success rate") or ["", ""]
    title = "What each set-up acknowledged"
    if burst:
        first, *others = sorted(burst, key=_acknowledged)
        title = f"{_backend(first)} acknowledged {percent(_acknowledged(first))} of {count(first.sent)} writes at once"
        title = ", ".join([title, *(f"{BACKEND_NAMES[c.cell.backend]} {percent(_acknowledged(c))}" for c in others)])
    ordered = sorted(cells, key=lambda cell: (cell.cell.requests is None, cell.cell.clients))
    rows = [_outcome_row(cell) | {"note": _claimed(cell, claimed) if cell.cell.requests else ""} for cell in ordered]
    yield Chart(
        name="acknowledged-by-backend",
        spec=outcomes.outcomes(rows, title=title, subtitle="All requests of each cell, over all trials."),
        alt=f"{title}. The table of cells below has the same figures.",
    )


def kept(source: SectionInput) -> Iterator[Chart]:
    """Returns what became of the writes of each cell."""
    cells = [cell for cell in source.summary.cells if cell.sent]
    lost = sum(cell.lost or 0 for cell in cells)
    unjudged = any(cell.lost is None for cell in cells)
    if not cells:
        return
    title = "Every acknowledged write is in the database"
    if lost:
        title = f"{lost:,} acknowledged writes are not in the database"
    elif unjudged:
        title = "What became of the writes; whether any is lost was not judged everywhere"
    yield Chart(
        name="writes-kept",
        spec=outcomes.outcomes([_outcome_row(cell) for cell in cells], title=title),
        alt=f"{title}. The table of cells below has the same figures.",
    )


def answered(source: SectionInput) -> Iterator[Chart]:
    """Returns what became of the requests of each cell, where refusals are part of the answer."""
    cells = [cell for cell in source.summary.cells if cell.sent]
    if not cells:
        return
    sent, ok, unknown = (sum(getattr(cell, name) or 0 for cell in cells) for name in ("sent", "ok", "unknown"))
    rest = f"{count(sent - ok - unknown)} refused, {count(unknown)} without a clear answer"
    title = f"{count(ok)} of {count(sent)} requests acknowledged, {rest}"
    yield Chart(
        name="requests-answered",
        spec=outcomes.outcomes([_outcome_row(cell) for cell in cells], title=title),
        alt=f"{title}. The table of cells below has the same figures.",
    )


def bulk_insert(source: SectionInput) -> Iterator[Chart]:
    """Returns the rows per second by batch size."""
    figures = {f.cell: f.numbers.get("rows_per_s") for f in source.summary.findings if f.check == names.ALL_OR_NOTHING}
    rows = [
        {"cell": outcomes.wrapped(cell.label), "value": float(value), "text": number(float(value)), "label": cell.label}
        for cell in source.summary.cells
        if isinstance(value := figures.get(cell.cell.name), int | float)
    ]
    if not rows:
        return
    best = max(rows, key=lambda row: float(str(row["value"])))
    title = f"Most rows per second: {best['text']}, {best['label']}"
    subtitle = "Of one trial per cell."
    yield Chart(
        name="rows-per-second",
        spec=bars.bars(rows, unit="rows/s", title=title, subtitle=subtitle),
        alt=f"{title}. The table has all.",
    )


def _backend(cell: CellSummary) -> str:
    name = BACKEND_NAMES.get(cell.cell.backend, cell.cell.backend)
    return name[:1].upper() + name[1:]


def _acknowledged(cell: CellSummary) -> float:
    return (cell.ok or 0) / cell.sent if cell.sent else 0.0


def _claimed(cell: CellSummary, claimed: Sequence[object]) -> str:
    """Returns the published claim about a backend's share of the burst."""
    text = {"sqlite-naive": claimed[0], "postgres": claimed[-1]}.get(cell.cell.backend, "")
    return f"claimed: {text}" if text else ""


def _outcome_row(cell: CellSummary) -> dict[str, object]:
    counts = {name: getattr(cell, name) or 0 for name in ("ok", "fail", "unknown", "lost")}
    return {"cell": outcomes.wrapped(cell.label), **counts}


def scaling(source: SectionInput) -> Iterator[Chart]:
    """Returns the speed-up by hosts of both bounds, with intervals where there are enough repetitions."""
    rows: list[dict[str, object]] = []
    findings = []
    for bound, name in BOUNDS.items():
        cells = [c for c in source.summary.cells if c.cell.params.get("bound") == bound and c.cell.rate_share is None]
        for strategy in dict.fromkeys((cell.cell.strategy, cell.cell.variant) for cell in cells):
            of = [cell for cell in cells if (cell.cell.strategy, cell.cell.variant) == strategy]
            line = " ".join(filter(None, [name, *strategy]))
            ups = speed_ups(
                {
                    one.cell.hosts: by_block(
                        (t.row, t.row.figure("rps")) for t in source.trials if t.row.cell.name == one.cell.name
                    )
                    for one in of
                }
            )
            for up in ups.values():
                interval = up.ratio.interval if up.hosts > 1 else None
                row: dict[str, object] = {"bound": line, "hosts": up.hosts, "value": up.value}
                if interval:
                    row |= {"low": interval.low, "high": interval.high}
                if bound == "pool" and up.hosts in WANTED:
                    row["wanted"] = WANTED[up.hosts]
                rows.append(row)
            if len(ups) > 1:
                most = max(ups)
                within = ups[most].ratio.interval
                between = f" [{within.low:.2f}, {within.high:.2f}]" if within else ""
                findings.append(f"{ups[most].value:.2f}x with {plural(most, 'host')}{between}, {line}")
    if not findings:
        return
    title = "; ".join(findings)
    yield Chart(
        name="speed-up",
        spec=speed_up.speed_up(
            rows, title=title, subtitle="Median ratio to one host within repetitions; a short line is what is required."
        ),
        caption="Bars are 95 % intervals."
        if any("low" in row for row in rows)
        else "One repetition has no interval: chance may move each point.",
        alt=f"{title}. The tables of speed-ups have the same figures.",
    )


def throughput(source: SectionInput) -> Iterator[Chart]:
    """Returns the strategies by throughput and p99, those that lost updates crossed out."""
    cells = [
        cell
        for cell in source.summary.cells
        if cell.cell.backend == "postgres" and cell.cell.strategy and {"rps", "p50_ms"} <= cell.medians.keys()
        and cell.cell.mode == "closed" and not cell.times_doubted
    ]  # fmt: skip
    if len({cell.cell.strategy for cell in cells}) < 2:
        return
    percentile = next(name for name in ("p99", "p95", "p50") if all(f"{name}_ms" in cell.medians for cell in cells))
    rows = [
        {
            "strategy": cell.cell.strategy,
            "keys": without(cell.label, cell.cell.strategy) or "no lost update found",
            "rps": cell.medians["rps"],
            "ms": cell.medians[f"{percentile}_ms"],
            "lost": cell.lost or 0,
        }
        for cell in cells
    ]
    sound = [cell for cell in cells if not cell.lost]
    unjudged = " Lost updates are not judged in every cell." if any(cell.lost is None for cell in cells) else ""
    best = max(sound or cells, key=lambda cell: cell.medians["rps"])
    tail = f"{percentile} {number(best.medians[f'{percentile}_ms'])} ms"
    title = f"Most requests/s: {number(best.medians['rps'])} with {best.label}, {tail}"
    if not sound:
        title = "Every strategy lost updates"
    few = "" if percentile == "p99" else f" Some cells have too few requests for a percentile above {percentile}."
    yield Chart(
        name="strategies",
        spec=strategies.strategies(
            rows, percentile=percentile, title=title, subtitle="Right and low is better. Closed loops omit stalls."
        ),
        caption=f"Medians of valid trials.{few}{unjudged}",
        alt=f"{title}. The table of strategies has the same figures.",
    )


def long_transactions(source: SectionInput) -> Iterator[Chart]:
    """Returns the long transaction above the quick ones, for the first trial of each cell."""
    rows: list[dict[str, object]] = []
    worst: dict[str, float] = {}
    for cell, trial in _first_of_each(source).items():
        lanes = trial.requests
        begin = min(min(samples.due_us) for samples in lanes.values() if len(samples))
        for lane, samples in lanes.items():
            for due, done in zip(samples.due_us, samples.done_us, strict=True):
                kind, ms = ("long" if lane == "long" else "quick"), (done - due) / 1e3
                rows.append({"cell": source.summary.labels[cell], "lane": kind, "from_s": (due - begin) / 1e6,
                             "to_s": (done - begin) / 1e6, "ms": ms})  # fmt: skip
                if kind == "quick":
                    worst[source.summary.labels[cell]] = max(ms, worst.get(source.summary.labels[cell], 0.0))
    if not worst:
        return
    title = "Slowest quick transaction: " + ", ".join(f"{number(ms)} ms with {cell}" for cell, ms in worst.items())
    subtitle = "Each point is a quick transaction, at the time it was due."
    yield Chart(
        name="long-and-quick", spec=requests.over_the_quick(rows, title=title, subtitle=subtitle), alt=f"{title}."
    )


def _first_of_each(source: SectionInput) -> dict[str, TrialData]:
    """Returns the first trial of each cell that has requests, valid ones first."""
    first: dict[str, TrialData] = {}
    for trial in sorted(source.trials, key=lambda trial: not trial.row.valid):
        if any(len(samples) for samples in trial.requests.values()):
            first.setdefault(trial.row.cell.name, trial)
    order = [trial.row.cell.name for trial in source.trials]
    return dict(sorted(first.items(), key=lambda item: order.index(item[0])))


def deadlocks(source: SectionInput) -> Iterator[Chart]:
    """Returns one mark per pair of crossing requests: what became of the two."""
    rows: list[dict[str, object]] = []
    for cell, trial in _first_of_each(source).items():
        for position, pair in enumerate(pair_outcomes(*trial.requests.values())):
            kind = requests.ODD
            if pair.has_one_victim and not pair.unexpected:
                kind = requests.VICTIM
            elif pair.both_committed:
                kind = requests.RETRIED if pair.retries else requests.COMMIT
            rows.append({"cell": source.summary.labels[cell], "pair": position, "kind": kind})
    if not rows:
        return
    times = [f"{sum(1 for row in rows if row['kind'] == kind)} {kind}" for kind in requests.PAIRS]
    title = f"{len(rows)} pairs crossed: " + ", ".join(text for text in times if not text.startswith("0 "))
    yield Chart(
        name="pairs",
        spec=requests.pairs(rows, title=title, subtitle="Each mark is a pair of requests."),
        alt=f"{title}.",
    )


def where_waited(source: SectionInput) -> Iterator[Chart]:
    """Returns the causes of the slowest requests' time by cell."""
    rows: list[dict[str, object]] = []
    first: dict[str, float] = {}
    for one in source.summary.findings:
        shares = one.numbers.get("shares")
        if one.check != names.SLOWEST or one.verdict != "shown" or not isinstance(shares, dict) or not shares:
            continue
        label = outcomes.wrapped(source.summary.labels.get(one.cell, one.cell))
        rows += [{"cell": label, "cause": cause, "share": share} for cause, share in shares.items()]
        for cause, share in shares.items():
            first[cause] = first.get(cause, 0.0) + share
    if not rows:
        return
    cells = len({str(row["cell"]) for row in rows})
    most = max(first, key=lambda cause: first[cause])
    title = f"The slowest 1 % waited longest for: {most} ({whole_percent(first[most] / cells)} of their time)"
    yield Chart(
        name="where-the-slowest-waited",
        spec=slowest.slowest(rows, title=title),
        alt=f"{title}. The table below has all causes.",
    )
