"""Several stripes' results as one: the processes of a load host, then the load hosts of a rig.

A results folder always holds the same files, whether of one process or of all hosts, so merging is one function:

    summary.json    counts, window, percentiles, the generator's view of itself
    seconds.jsonl   a line a second and phase: counts and the latency histogram of that second
    timeline.csv    the same for people: second, sent, ok, fail, unknown, p50_ms, p95_ms, p99_ms, phase
    latency.hgrm    HdrHistogram log of the measured phase in µs: from the due instant
    service.hgrm    the same from the send
    lag.hgrm        open mode: how late the generator noticed that a request was due
    samples.csv     (or samples.csv.gz) all requests, sorted by done_us, if the job wanted samples
    keys.csv        how the requests of each key ended in both phases, if the job wanted no samples
    captures.jsonl  captured fields that are no numbers, by seq

Percentiles are never averaged: histograms are added and percentiles taken from the sum.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from harness.errors import InvalidMeasurement
from harness.load.outcome import OUTCOMES
from harness.load.results import histogram, outcome_counts
from harness.load.results.samples import GZIP_ROWS, open_text, sample_file
from harness.load.steady_state import is_steady, together
from harness.model import OutcomeCounts

HISTOGRAMS = ("latency", "service", "lag")
FILES = (
    "summary.json",
    "seconds.jsonl",
    "timeline.csv",
    "latency.hgrm",
    "service.hgrm",
    "lag.hgrm",
    "samples.csv",
    "samples.csv.gz",
    "keys.csv",
    "captures.jsonl",
)
_QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p95_ms": 0.95, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
_TIMELINE = ("second", "sent", *OUTCOMES, "p50_ms", "p95_ms", "p99_ms", "phase")
_ADDED = ("clients", "busy_us", "peak_in_flight", "late", "not_sent")
_TIMES = ("measure_from_us", "last_due_us", "last_sent_us", "last_done_us")


def clear(folder: Path) -> None:
    """Make a results folder, without the results of an earlier run in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def merge(
    folders: Sequence[Path], out: Path, *, since_us: int = 0, offsets_us: Sequence[int] | None = None
) -> dict[str, Any]:
    """Merge results folders into `out` and return its summary.

    `since_us`: when the load was released on the clock that the samples' times shall count by. `offsets_us`: what to
    add to each folder's CLOCK_MONOTONIC to make them one clock (see `time_shifts`).

    Raises `InvalidMeasurement` when one of them is not complete: a load host that died leaves no smaller result.
    """
    out.mkdir(parents=True, exist_ok=True)
    summaries = [_read_summary(folder) for folder in folders]
    shifts = time_shifts([summary["clock"] for summary in summaries], offsets_us)
    histograms: dict[str, histogram.Counts] = {}
    for name in HISTOGRAMS:
        counts: histogram.Counts = {}
        for folder in folders:
            histogram.add(counts, histogram.decode((folder / f"{name}.hgrm").read_text(encoding="utf-8")))
        histograms[name] = counts
    rows = merge_seconds([read_seconds(folder / "seconds.jsonl") for folder in folders])
    _merge_samples(folders, [shift + since_us for shift in shifts], out)
    _merge_tallies(folders, out)
    _merge_captures(folders, out)
    return write(out, merge_summaries(summaries, shifts), histograms, rows)


def write(
    out: Path, summary: dict[str, Any], histograms: Mapping[str, histogram.Counts], rows: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Write all files but the samples, and return the summary with what follows from histograms and seconds.

    `warmup_steady`: whether the last steps before the measured phase were like those before them; None without.
    """
    for name in HISTOGRAMS:
        (out / f"{name}.hgrm").write_text(histogram.encode(histograms[name]), encoding="utf-8")
        summary[f"{name}_ms"] = describe(histograms[name])
    start, end = summary["measure_from_us"], summary["measure_to_us"]
    seconds = (end - start) / 1e6 if start is not None and end is not None and end > start else None
    summary["seconds"] = seconds
    summary["rps"] = summary["window"]["ok"] / seconds if seconds else None
    with (out / "seconds.jsonl.new").open("w", encoding="utf-8") as file, (out / "timeline.csv").open("w") as table:
        table.write(",".join(_TIMELINE) + "\n")
        for row in rows:
            file.write(json.dumps(row) + "\n")
            table.write(",".join(_cell(value) for value in _timeline(row)) + "\n")
    summary["warmup_steady"] = is_steady(summary["warmup_steps"]) if summary["warmup_steps"] else None
    (out / "seconds.jsonl.new").replace(out / "seconds.jsonl")
    (out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def describe(counts: histogram.Counts) -> dict[str, float | None]:
    """Percentiles in ms (None where there are too few values to carry one), the mean and the number of values."""
    values = histogram.quantiles_us(counts, list(_QUANTILES.values()))
    found: dict[str, float | None] = {
        name: None if value is None else value / 1000 for name, value in zip(_QUANTILES, values, strict=True)
    }
    mean = histogram.mean_us(counts)
    return found | {"mean_ms": None if mean is None else mean / 1000, "count": histogram.total(counts)}


def time_shifts(clocks: Sequence[Mapping[str, Any]], offsets_us: Sequence[int] | None = None) -> list[int]:
    """µs to add to each stripe's times to count from the earliest release.

    Exact where all ran on one kernel (same boot id). Else as good as whoever leads the hosts has estimated the offsets
    of their clocks: some milliseconds. Their wall clocks play no part: nobody vouches that these agree.
    """
    offsets = [0] * len(clocks) if offsets_us is None or is_shared(clocks) else offsets_us
    starts = [clock["t0_monotonic_us"] + offset for clock, offset in zip(clocks, offsets, strict=True)]
    return [start - min(starts) for start in starts]


def is_shared(clocks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all stripes ran on one kernel and so on one monotonic clock."""
    boots = {clock["boot_id"] for clock in clocks}
    return len(boots) == 1 and boots != {""}


def merge_summaries(summaries: Sequence[dict[str, Any]], shifts: Sequence[int]) -> dict[str, Any]:
    """One summary of all stripes; the percentiles are the caller's to add.

    The window is as long as the longest of the stripes' own, which no clock but each one's own has measured: the rate
    is what all have counted over that. `apart_us`: by how much their windows do not begin together, which must be
    little (innocence.py), because a stripe that measures alone has not measured the load of all.
    """
    first = summaries[shifts.index(0)]
    merged = dict(first)
    merged["load_host"] = "+".join(sorted({summary["load_host"] for summary in summaries}))
    for name in _ADDED:
        merged[name] = sum(summary[name] for summary in summaries)
    rates = [summary["offered_rate"] for summary in summaries]
    merged["offered_rate"] = sum(rates) if None not in rates else None
    for name in _TIMES:
        times = [s[name] + shift for s, shift in zip(summaries, shifts, strict=True) if s[name] is not None]
        merged[name] = (max(times) if name.startswith("last_") else min(times)) if times else None
    begun = [(s["measure_from_us"], shift) for s, shift in zip(summaries, shifts, strict=True)]
    starts = [at + shift for at, shift in begun if at is not None]
    merged["apart_us"] = max([max(starts) - min(starts) if starts else 0, *(s["apart_us"] for s in summaries)])
    windows = [
        s["measure_to_us"] - s["measure_from_us"]
        for s in summaries
        if s["measure_to_us"] is not None and s["measure_from_us"] is not None
    ]
    merged["measure_to_us"] = merged["measure_from_us"] + max(windows) if windows else None
    for name in ("window", "connections"):
        merged[name] = {k: sum(s[name][k] for s in summaries) for k in first[name]}
    for name in ("warmup", "measure"):
        merged[name] = {k: sum(s[name][k] for s in summaries) for k in ("sent", *OUTCOMES)}
        errors: dict[str, int] = {}
        for summary in summaries:
            for error, count in summary[name]["errors"].items():
                errors[error] = errors.get(error, 0) + count
        merged[name]["errors"] = errors
    merged["captured"] = {
        name: [sum(part) for part in zip(*(s["captured"][name] for s in summaries), strict=True)]
        for name in first["captured"]
    }
    merged["watch"] = [watch for summary in summaries for watch in summary["watch"]]
    merged["warmup_steps"] = [together(rows) for rows in zip(*(s["warmup_steps"] for s in summaries), strict=False)]
    merged["interrupted"] = any(summary["interrupted"] for summary in summaries)
    merged["clock_shared"] = is_shared([s["clock"] for s in summaries]) and all(
        s.get("clock_shared", True) for s in summaries
    )
    return merged


def merge_seconds(stripes: Sequence[Iterable[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Rows of the same second and phase added up; each stripe's rows are in order."""
    running: dict[str, Any] | None = None
    for row in heapq.merge(*stripes, key=_second):
        if running is None or _second(row) != _second(running):
            if running is not None:
                yield running
            running = row
        else:
            for name in ("sent", *OUTCOMES):
                running[name] += row[name]
            histogram.add(running["latency"], row["latency"])
    if running is not None:
        yield running


def _second(row: Mapping[str, Any]) -> tuple[int, bool]:
    return row["second"], row["phase"] == "measure"


def _timeline(row: dict[str, Any]) -> list[Any]:
    p50, p95, p99 = (
        None if us is None else us / 1000 for us in histogram.quantiles_us(row["latency"], (0.5, 0.95, 0.99))
    )
    return [row["second"], row["sent"], *(row[o] for o in OUTCOMES), p50, p95, p99, row["phase"]]


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def read_seconds(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a seconds.jsonl with histogram slots as numbers again."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            row["latency"] = {int(slot): count for slot, count in row["latency"].items()}
            yield row


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidMeasurement(
            f"the results of a load host are not complete: {folder.name}/summary.json: {error}",
            hint="the trial does not count; look at that host and run it again",
        ) from error
    return summary


def _merge_samples(folders: Sequence[Path], shifts: Sequence[int], out: Path) -> None:
    files = [sample_file(folder) for folder in folders]
    if not any(files):
        return
    if not all(files):
        raise InvalidMeasurement("a load host brought no samples although others did")
    with ExitStack() as stack:
        streams = [stack.enter_context(open_text(file, "r")) for file in files if file]
        headers = {stream.readline() for stream in streams}
        if len(headers) > 1:
            raise InvalidMeasurement("the load hosts' samples have different columns")
        big = sum(file.stat().st_size for file in files if file) > GZIP_ROWS * 20 or any(
            file.suffix == ".gz" for file in files if file
        )
        target = stack.enter_context(open_text(out / ("samples.csv.gz" if big else "samples.csv"), "w"))
        target.write(headers.pop())
        shifted = [_shifted(stream, shift) for stream, shift in zip(streams, shifts, strict=True)]
        target.writelines(line for _, line in heapq.merge(*shifted))


def _shifted(lines: Iterable[str], shift: int) -> Iterator[tuple[int, str]]:
    """(done_us, line) with the three times moved; done_us never falls within a file."""
    for line in lines:
        seq, op, key, host, due, sent, done, rest = line.split(",", 7)
        at = int(done) + shift
        yield at, f"{seq},{op},{key},{host},{int(due) + shift},{int(sent) + shift},{at},{rest}" if shift else line


def _merge_tallies(folders: Sequence[Path], out: Path) -> None:
    files = [folder / "keys.csv" for folder in folders if not sample_file(folder)]
    if not files:
        return
    merged = OutcomeCounts()
    try:
        for file in files:
            merged.update(outcome_counts.read(file))
    except (OSError, ValueError) as error:
        raise InvalidMeasurement(f"a load host's count of its keys cannot be read: {error}") from error
    outcome_counts.write(out / "keys.csv", merged)


def _merge_captures(folders: Sequence[Path], out: Path) -> None:
    parts = [folder / "captures.jsonl" for folder in folders if (folder / "captures.jsonl").exists()]
    if parts:
        with (out / "captures.jsonl").open("w", encoding="utf-8") as file:
            for part in parts:
                with part.open(encoding="utf-8") as lines:
                    file.writelines(lines)
