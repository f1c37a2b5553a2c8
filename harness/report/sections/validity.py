"""Whether the figures can be trusted: invalid trials, the generator's own figures, the noise floor. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.compare.cells import comparable_name
from harness.compare.noise_floor import figures_of, trials_of
from harness.load.generator_checks import achieved
from harness.load.littles_law import mean_in_service
from harness.load.results.process_usage import ProcessUsage
from harness.load.results.summary import LaneSummary
from harness.record import TrialResult
from harness.report.formatting import NOTHING, figure, number, percent
from harness.report.page_model import Fold, Table, Value, table
from harness.report.summary import NO_REASON, ScenarioSummary
from harness.report.trial_data import TrialData
from harness.store.manifest import Manifest

GENERATOR_HEAD = (
    "trial", "cell", "CPU, busiest process", "waited for a CPU", "longest stall, ms",
    "send lag p99, ms", "latency p99, ms", "service time p99, ms", "in flight, mean", "by Little's law",
    "in the service, mean",
    "achieved / offered", "warm-up", "trial is",
)  # fmt: skip


def validity_tables(
    manifest: Manifest, trials: Sequence[TrialData], scenarios: Sequence[ScenarioSummary]
) -> Iterator[Table | Fold]:
    """Returns the invalid trials, the load generator's own figures per trial, and the noise floor."""
    if not trials:
        return
    labels = {cell: label for scenario in scenarios for cell, label in scenario.labels.items()}
    yield _invalid([trial.row for trial in trials], labels)
    driven = [trial for trial in trials if trial.row.figures.get("sent") is not None]
    if driven:
        yield Fold(title="The load generator in each trial", blocks=(_generator(driven, labels),))
    yield _noise(manifest, {comparable_name(one.row.cell): labels.get(one.row.cell.name, "") for one in trials})


def _invalid(rows: Sequence[TrialResult], labels: Mapping[str, str]) -> Table:
    invalid = [row for row in rows if not row.valid]
    reasons = Counter((row.cell.scenario, row.cell.name, row.reason or NO_REASON) for row in invalid)
    return table(
        f"Invalid trials: {len(invalid) or 'none'} of {len(rows):,}",
        ("scenario", "cell", "reason", "trials"),
        [
            [scenario, labels.get(cell, cell), reason, f"{times:,}"]
            for (scenario, cell, reason), times in reasons.items()
        ],
        note="A trial is invalid if the load generator was the limit instead of the service, or if the trial was cut "
        "short. Its counts are shown, its times are not, and no claim is based on it. A trial in which the generator "
        "was held up is measured once more; the invalid one stays in this list.",
    )


def _generator(trials: Sequence[TrialData], labels: Mapping[str, str]) -> Table:
    return table(
        "Load generator by trial",
        GENERATOR_HEAD,
        [[*_trial_and_cell(trial.row, labels), *_generator_figures(trial)] for trial in trials],
        note="CPU: CPU time of the busiest generator process, as a share of one core. Waited: time in which it was "
        "ready to run but did not. Stall: time in which it did not run although it should have. Send lag: from the "
        "time at which a request was due to the time at which it was sent; latency includes it, service time does "
        "not. In flight: open requests as the generator counted them, beside the number that follows from their "
        "service times by Little's law; in an open load, if the two are far apart, one is wrong (in a closed load both "
        "are the number of clients). In the service: the same from the durations that the responses report, by the "
        "service's clock; it cannot be more than were in flight, and the others waited outside of the service. "
        "Without a value the responses report none, and Little's law is not judged. Achieved: planned duration of "
        "the schedule divided by the time that sending it took. Steady: throughput and p95 no longer changed when "
        "measuring began.",
    )


def _trial_and_cell(row: TrialResult, labels: Mapping[str, str]) -> list[Value]:
    name = row.cell.name
    return [Value(f"{row.trial.order}"), Value(labels.get(name, name), row.cell.scenario)]


def _generator_figures(trial: TrialData) -> list[Value]:
    row, summary = trial.row, trial.summary
    processes = summary.watch if summary else ()
    share = achieved(summary) if summary else None
    return [
        Value(percent(_most(process.cpu for process in processes))),
        Value(percent(_most(process.cpu_wait for process in processes))),
        Value(number(_most(process.longest_stall_ms for process in processes))),
        *(
            Value(figure(row.figure(name), doubted=row.valid and not row.times_valid))
            for name in ("lag_p99_ms", "p99_ms", "service_p99_ms")
        ),
        Value(number(_in_flight(processes))),
        Value(number(_by_littles_law(row, summary))),
        Value(number(mean_in_service(summary) if summary else None)),
        Value(NOTHING if share is None else percent(share)),
        Value({None: "none", True: "steady", False: "not steady"}[row.steady]),
        Value("valid", "" if row.times_valid else "times doubted", "pass")
        if row.valid
        else Value("invalid", "", "invalid"),
    ]


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _in_flight(processes: Sequence[ProcessUsage]) -> float | None:
    """Returns the sum over all processes, or None if the value of one is missing."""
    means = [process.in_flight for process in processes if process.in_flight is not None]
    return sum(means) if means and len(means) == len(processes) else None


def _by_littles_law(row: TrialResult, summary: LaneSummary | None) -> float | None:
    """Returns the mean number of open requests: the time that requests spent in the window, divided by its length.

    Older runs do not have this time. For them it is rate x mean service time, which is less exact, because some
    requests cross an edge of the window.
    """
    if summary is None:
        return None
    if summary.busy_us is not None and summary.seconds:
        return summary.busy_us / 1e6 / summary.seconds
    mean_ms, sent, seconds = summary.service_ms.mean_ms, row.figure("sent"), row.figure("seconds")
    return sent / seconds * mean_ms / 1e3 if sent and seconds and mean_ms is not None else None


def _noise(manifest: Manifest, labels: Mapping[str, str]) -> Table:
    """Returns the noise floor of this run's cells, and the one that holds for all other cells."""
    floor, trials = figures_of(manifest.noise_floor), trials_of(manifest.noise_floor)
    return table(
        "Noise floor of this rig" if floor else "Noise floor of this rig: not measured",
        ("metric", "cell", "two identical runs differ by up to", "trials of a run"),
        [
            [metric, labels[cell] or cell if cell else "any other", percent(ratio - 1), number(trials.get(cell))]
            for metric, cell, ratio in floor
            if not cell or cell in labels
        ],
        note="A smaller difference between two runs means nothing. Runs of fewer trials differ by more."
        if floor
        else "Without it, it is unknown which differences between runs mean nothing. ./run bench --aa 5 measures it.",
    )
