"""Merges the results of several stripes: the processes of a load host, then the load hosts of a rig.

A results folder holds the same files for one process and for all hosts, so merging is one function:

    summary.json    counts, window, percentiles, usage of the load processes (summary.py)
    seconds.jsonl   one line per second and phase: counts and the latency histogram of that second
    timeline.csv    the same as a table: second, sent, ok, fail, unknown, p50_ms, p95_ms, p99_ms, phase
    latency.hgrm    HdrHistogram log of the measured phase in µs: from the due instant
    service.hgrm    the same from the send
    refused.hgrm    the part of latency.hgrm that is of requests that were not acknowledged
    lag.hgrm        open mode: from the due instant until the generator started to send it
    samples.csv     (or samples.csv.gz) all requests, sorted by done_us, if the job keeps samples
    keys.csv        outcomes by key in both phases, if the job keeps no samples
    captures.jsonl  captured fields that are not numbers, by seq

Percentiles are never averaged: histograms are added and percentiles taken from the sum.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import InvalidMeasurement
from harness.load.outcome import OUTCOMES
from harness.load.results import histogram, outcome_counts
from harness.load.results.samples import GZIP_ROWS, open_text, sample_file
from harness.load.results.summary import Clock, LaneSummary, is_shared
from harness.model import OutcomeCounts

SecondRow = dict[str, Any]
"""A line of seconds.jsonl; `latency` has slots of the histogram as integers."""
HISTOGRAMS = ("latency", "service", "refused", "lag")
FILES = (
    "summary.json",
    "seconds.jsonl",
    "timeline.csv",
    "latency.hgrm",
    "service.hgrm",
    "refused.hgrm",
    "lag.hgrm",
    "samples.csv",
    "samples.csv.gz",
    "keys.csv",
    "captures.jsonl",
)
_TIMELINE = ("second", "sent", *OUTCOMES, "p50_ms", "p95_ms", "p99_ms", "phase")


def clear(folder: Path) -> None:
    """Creates a results folder, or removes the results of an earlier run from it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def merge(
    folders: Sequence[Path], out: Path, *, since_us: int = 0, offsets_us: Sequence[int] | None = None
) -> LaneSummary:
    """Merges results folders into `out` and returns the summary.

    `since_us`: the release on the clock of the merged samples. `offsets_us`: what to add to each folder's
    CLOCK_MONOTONIC to make them one clock (see `time_shifts`).

    Raises `InvalidMeasurement` if a folder is not complete: without one load host there is no result.
    """
    out.mkdir(parents=True, exist_ok=True)
    summaries = [_read_summary(folder) for folder in folders]
    shifts = time_shifts([summary.clock for summary in summaries], offsets_us)
    histograms = _merge_histograms(folders)
    rows = merge_seconds([read_seconds(folder / "seconds.jsonl") for folder in folders])
    _merge_samples(folders, [shift + since_us for shift in shifts], out)
    _merge_outcome_counts(folders, out)
    _merge_captures(folders, out)
    return write(out, LaneSummary.merged(summaries, shifts), histograms, rows)


def over_lanes(folders: Sequence[Path], summaries: Sequence[LaneSummary]) -> LaneSummary:
    """Returns one summary of a trial's merged lanes, with the percentiles of all their requests.

    The figures of a trial are those of all its requests, whichever lane sent them.
    """
    if len(summaries) == 1:
        return summaries[0]
    return window_over_lanes(summaries).with_percentiles(_merge_histograms(folders))


def window_over_lanes(summaries: Sequence[LaneSummary]) -> LaneSummary:
    """Returns one summary of merged lanes without percentiles, whose window is from the first begin to the last end.

    Lanes are released together: without a common clock their times count from there.
    """
    clocks = [summary.clock for summary in summaries]
    shifts = time_shifts(clocks) if is_shared([clock.boot_id for clock in clocks]) else [0] * len(summaries)
    ends = [
        summary.measure_to_us + shift
        for summary, shift in zip(summaries, shifts, strict=True)
        if summary.measure_to_us is not None
    ]
    merged = replace(LaneSummary.merged(summaries, shifts), measure_to_us=max(ends, default=None))
    return merged.with_percentiles({name: {} for name in HISTOGRAMS})


def _merge_histograms(folders: Sequence[Path]) -> dict[str, histogram.Counts]:
    """Returns the sums of the histograms by name."""
    histograms: dict[str, histogram.Counts] = {name: {} for name in HISTOGRAMS}
    for name, counts in histograms.items():
        for folder in folders:
            histogram.add(counts, histogram.decode((folder / f"{name}.hgrm").read_text(encoding="utf-8")))
    return histograms


def write(
    out: Path, summary: LaneSummary, histograms: Mapping[str, histogram.Counts], rows: Iterable[SecondRow]
) -> LaneSummary:
    """Writes all files but the samples, and returns the summary with the percentiles of the histograms."""
    for name in HISTOGRAMS:
        (out / f"{name}.hgrm").write_text(histogram.encode(histograms[name]), encoding="utf-8")
    summary = summary.with_percentiles(histograms)
    with (out / "seconds.jsonl.new").open("w", encoding="utf-8") as file, (out / "timeline.csv").open("w") as table:
        table.write(",".join(_TIMELINE) + "\n")
        for row in rows:
            file.write(json.dumps(row) + "\n")
            table.write(",".join(_cell(value) for value in _timeline(row)) + "\n")
    (out / "seconds.jsonl.new").replace(out / "seconds.jsonl")
    (out / "summary.json").write_text(json.dumps(summary.to_json(), indent=1) + "\n", encoding="utf-8")
    return summary


def time_shifts(clocks: Sequence[Clock], offsets_us: Sequence[int] | None = None) -> list[int]:
    """Returns the µs to add to the times of each stripe to count from the earliest release.

    Exact if all ran on one kernel (same boot id). Otherwise as exact as the controller's estimate of the clock offsets:
    some milliseconds. Wall clocks are not used, because they may differ by any amount.
    """
    offsets = [0] * len(clocks) if offsets_us is None or is_shared([c.boot_id for c in clocks]) else offsets_us
    starts = [clock.t0_monotonic_us + offset for clock, offset in zip(clocks, offsets, strict=True)]
    return [start - min(starts) for start in starts]


def merge_seconds(stripes: Sequence[Iterable[SecondRow]]) -> Iterator[SecondRow]:
    """Adds up the rows of the same second and phase; the rows of each stripe are in order."""
    for _, rows in itertools.groupby(heapq.merge(*stripes, key=_second), key=_second):
        merged, *others = rows
        for row in others:
            for name in ("sent", *OUTCOMES):
                merged[name] += row[name]
            histogram.add(merged["latency"], row["latency"])
        yield merged


def _second(row: SecondRow) -> tuple[int, bool]:
    return row["second"], row["phase"] == "measure"


def _timeline(row: SecondRow) -> list[Any]:
    p50, p95, p99 = (
        None if us is None else us / 1000 for us in histogram.quantiles_us(row["latency"], (0.5, 0.95, 0.99))
    )
    return [row["second"], row["sent"], *(row[o] for o in OUTCOMES), p50, p95, p99, row["phase"]]


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def read_seconds(path: Path) -> Iterator[SecondRow]:
    """Returns the rows of a seconds.jsonl, with histogram slots as numbers."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            row["latency"] = {int(slot): count for slot, count in row["latency"].items()}
            yield row


def _read_summary(folder: Path) -> LaneSummary:
    try:
        return LaneSummary.from_json(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InvalidMeasurement(
            f"the results of a load host are not complete: {folder.name}/summary.json: {error}",
            hint="the trial is invalid; check that host and repeat the trial",
        ) from error


def _merge_samples(folders: Sequence[Path], shifts: Sequence[int], out: Path) -> None:
    files = [sample_file(folder) for folder in folders]
    if not any(files):
        return
    if not all(files):
        raise InvalidMeasurement("a load host returned no samples although others did")
    with ExitStack() as stack:
        streams = [stack.enter_context(open_text(file, "r")) for file in files if file]
        headers = {stream.readline() for stream in streams}
        if len(headers) > 1:
            raise InvalidMeasurement("the load hosts' samples have different columns")
        compress = sum(file.stat().st_size for file in files if file) > GZIP_ROWS * 20 or any(
            file.suffix == ".gz" for file in files if file
        )
        target = stack.enter_context(open_text(out / ("samples.csv.gz" if compress else "samples.csv"), "w"))
        target.write(headers.pop())
        shifted = [_shifted(stream, shift) for stream, shift in zip(streams, shifts, strict=True)]
        target.writelines(line for _, line in heapq.merge(*shifted))


def _shifted(lines: Iterable[str], shift: int) -> Iterator[tuple[int, str]]:
    """(done_us, line) with the three times moved; the lines of a file are sorted by done_us."""
    for line in lines:
        seq, op, key, host, due, sent, done, rest = line.split(",", 7)
        done_us = int(done) + shift
        yield (
            done_us,
            f"{seq},{op},{key},{host},{int(due) + shift},{int(sent) + shift},{done_us},{rest}" if shift else line,
        )


def _merge_outcome_counts(folders: Sequence[Path], out: Path) -> None:
    files = [folder / "keys.csv" for folder in folders if not sample_file(folder)]
    if not files:
        return
    merged = OutcomeCounts()
    try:
        for file in files:
            merged.update(outcome_counts.read(file))
    except (OSError, ValueError) as error:
        raise InvalidMeasurement(f"a load host's counts by key cannot be read: {error}") from error
    outcome_counts.write(out / "keys.csv", merged)


def _merge_captures(folders: Sequence[Path], out: Path) -> None:
    sources = [folder / "captures.jsonl" for folder in folders if (folder / "captures.jsonl").exists()]
    if sources:
        with (out / "captures.jsonl").open("w", encoding="utf-8") as file:
            for source in sources:
                with source.open(encoding="utf-8") as lines:
                    file.writelines(lines)
