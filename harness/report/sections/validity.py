"""Whether the figures may be believed: invalid trials, the generator's own figures, the noise floor. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.compare.cells import comparable_name
from harness.load.generator_checks import achieved
from harness.load.results.summary import LaneSummary, ProcessUsage
from harness.record import TrialResult
from harness.report.formatting import NOTHING, number, percent
from harness.report.page_model import Fold, Table, Value, table
from harness.report.summary import ScenarioSummary
from harness.report.trial_data import TrialData
from harness.store.manifest import Manifest

GENERATOR_HEAD = (
    "trial", "cell", "CPU, busiest process", "waited for a CPU", "longest stall, ms",
    "send lag p99, ms", "latency p99, ms", "service time p99, ms", "in flight, mean", "by Little's law",
    "achieved / offered", "warm-up", "trial is",
)  # fmt: skip


def validity_tables(
    manifest: Manifest, readings: Sequence[TrialData], scenarios: Sequence[ScenarioSummary]
) -> Iterator[Table | Fold]:
    """Trials that are not valid, how innocent the load generator was, and the smallest difference to believe."""
    if not readings:
        return
    labels = {cell: label or scenario.common for scenario in scenarios for cell, label in scenario.labels.items()}
    yield _invalid([reading.row for reading in readings], labels)
    driven = [reading for reading in readings if reading.row.figures.get("sent") is not None]
    if driven:
        yield Fold(title="What the load generator says of itself, trial by trial", blocks=(_generator(driven, labels),))
    yield _noise(manifest, {comparable_name(one.row.cell): labels.get(one.row.cell.name, "") for one in readings})


def _invalid(rows: Sequence[TrialResult], labels: Mapping[str, str]) -> Table:
    bad = [row for row in rows if not row.valid]
    reasons = Counter((row.cell.scenario, row.cell.name, row.reason or "no reason was recorded") for row in bad)
    return table(
        f"Invalid trials: {len(bad) or 'none'} of {len(rows):,}",
        ("scenario", "cell", "reason", "trials"),
        [
            [scenario, labels.get(cell, cell), reason, f"{times:,}"]
            for (scenario, cell, reason), times in reasons.items()
        ],
        note="A trial is invalid if its figures say more about the load generator than about the tier, or if it was "
        "cut short. Its counts are shown, its times are not, and no claim rests on it. Where the generator was held up "
        "a trial is measured once more; the invalid one stays in this list.",
    )


def _generator(readings: Sequence[TrialData], labels: Mapping[str, str]) -> Table:
    """Of each trial, what the generator says of itself."""
    return table(
        "The generator's part in each trial",
        GENERATOR_HEAD,
        [[*_where(reading.row, labels), *_innocence(reading)] for reading in readings],
        note="CPU: own time of the busiest generator process, as a share of one core. Waited: time it was ready to "
        "run and did not. Stall: it did not run when it should have. Send lag: from the instant a request was "
        "due to the instant it left; latency includes it, service time does not. In flight: requests on their "
        "way as the generator saw them, beside what Little's law makes of the times they took: far "
        "apart, one of the two is wrong. Achieved: how long the schedule was, over how long it took to send it. "
        "Steady: throughput and p95 had stopped moving when measuring began.",
    )


def _where(row: TrialResult, labels: Mapping[str, str]) -> list[Value]:
    name = row.cell.name
    return [Value(f"{row.trial.order}"), Value(labels.get(name, name), row.cell.scenario)]


def _innocence(reading: TrialData) -> list[Value]:
    row, summary = reading.row, reading.summary
    processes = summary.watch if summary else ()
    share = achieved(summary) if summary else None
    return [
        Value(percent(_most(process.cpu for process in processes))),
        Value(percent(_most(process.cpu_wait for process in processes))),
        Value(number(_most(process.longest_stall_ms for process in processes))),
        *(Value(number(row.figure(name))) for name in ("lag_p99_ms", "p99_ms", "service_p99_ms")),
        Value(number(_in_flight(processes))),
        Value(number(_little(row, summary))),
        Value(NOTHING if share is None else percent(share)),
        Value({None: "none", True: "steady", False: "not steady"}[row.steady]),
        Value("valid" if row.valid else "invalid", mark="pass" if row.valid else "invalid"),
    ]


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _in_flight(processes: Sequence[ProcessUsage]) -> float | None:
    """Over all processes together; None unless each was observed."""
    means = [process.in_flight for process in processes if process.in_flight is not None]
    return sum(means) if means and len(means) == len(processes) else None


def _little(row: TrialResult, summary: LaneSummary | None) -> float | None:
    """What should be in flight on the average: the time that requests spent in the window, over its length.

    Older runs kept no such time: then rate x mean service time, which requests that cross an edge make less exact.
    """
    if summary is None:
        return None
    if summary.busy_us is not None and summary.seconds:
        return summary.busy_us / 1e6 / summary.seconds
    mean_ms, sent, seconds = summary.service_ms.mean_ms, row.figure("sent"), row.figure("seconds")
    return sent / seconds * mean_ms / 1e3 if sent and seconds and mean_ms is not None else None


def _noise(manifest: Manifest, labels: Mapping[str, str]) -> Table:
    """What is known of this run's cells, and what holds for any that was not measured twice."""
    floor = [(*name.partition(" ")[::2], ratio) for name, ratio in manifest.noise_floor.items()]
    return table(
        "Noise floor of this rig" if floor else "Noise floor of this rig: not measured",
        ("metric", "cell", "two identical measurements differ by up to"),
        [
            [metric, labels[cell] or cell if cell else "any other", percent(ratio - 1)]
            for metric, cell, ratio in floor
            if not cell or cell in labels
        ],
        note="No smaller difference between two runs means anything."
        if floor
        else "Until it is, nobody knows which differences between two runs mean nothing: ./run bench --aa measures it.",
    )
