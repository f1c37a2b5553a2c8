"""Whether the figures may be believed: invalid trials, the generator's own figures, the noise floor. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.compare.cells import cell_of
from harness.load.generator_checks import achieved
from harness.record import TrialResult
from harness.report.formatting import NOTHING, number, percent
from harness.report.page_model import Fold, Table, Value, table
from harness.report.summary import ScenarioSummary
from harness.report.trial_data import TrialData
from harness.store.csv_rows import as_columns
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
    yield _noise(manifest, {cell_of(as_columns(one.row)): labels.get(one.row.cell.name, "") for one in readings})


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
    watch = [one for one in _sequence(summary.get("watch")) if isinstance(one, Mapping)]
    share = _achieved(summary)
    return [
        Value(percent(_most(watch, "cpu"))),
        Value(percent(_most(watch, "cpu_wait"))),
        Value(number(_most(watch, "longest_stall_ms"))),
        *(Value(number(row.figure(name))) for name in ("lag_p99_ms", "p99_ms", "service_p99_ms")),
        Value(number(_in_flight(watch))),
        Value(number(_little(row, summary))),
        Value(NOTHING if share is None else percent(share)),
        Value({None: "none", True: "steady", False: "not steady"}[row.steady]),
        Value("valid" if row.valid else "invalid", mark="pass" if row.valid else "invalid"),
    ]


def _most(watch: Sequence[Mapping[str, Any]], name: str) -> float | None:
    return max((value for one in watch if (value := _number(one.get(name))) is not None), default=None)


def _in_flight(watch: Sequence[Mapping[str, Any]]) -> float | None:
    """Over all processes together; None unless each says."""
    seen = [_number(one.get("in_flight")) for one in watch]
    return None if not seen or None in seen else sum(value for value in seen if value is not None)


def _little(row: TrialResult, summary: Mapping[str, Any]) -> float | None:
    """What should be in flight on the average: the time that requests spent in the window, over its length.

    Older runs kept no such time: then rate x mean service time, which requests that cross an edge make less exact.
    """
    busy_us, length = _number(summary.get("busy_us")), _number(summary.get("seconds"))
    if busy_us is not None and length:
        return busy_us / 1e6 / length
    service = summary.get("service_ms")
    mean_ms = _number(service.get("mean_ms")) if isinstance(service, Mapping) else None
    done, seconds = row.figure("sent"), row.figure("seconds")
    return done / seconds * mean_ms / 1e3 if done and seconds and mean_ms is not None else None


def _achieved(summary: Mapping[str, Any]) -> float | None:
    """As the generator is judged by it: requests that were sent late count as not achieved."""
    try:
        return achieved(summary)
    except TypeError:  # a damaged summary
        return None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


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
