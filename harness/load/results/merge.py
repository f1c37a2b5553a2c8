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
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import InvalidMeasurement
from harness.load.outcome import OUTCOMES
from harness.load.results import histogram, outcome_counts
from harness.load.results.samples import GZIP_ROWS, open_text, sample_file
from harness.load.results.summary import Clock, LaneSummary, Percentiles, is_shared
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
_TIMELINE = ("second", "sent", *OUTCOMES, "p50_ms", "p95_ms", "p99_ms", "phase")


def clear(folder: Path) -> None:
    """Make a results folder, without the results of an earlier run in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def merge(
    folders: Sequence[Path], out: Path, *, since_us: int = 0, offsets_us: Sequence[int] | None = None
) -> LaneSummary:
    """Merge results folders into `out` and return its summary.

    `since_us`: when the load was released on the clock that the samples' times shall count by. `offsets_us`: what to
    add to each folder's CLOCK_MONOTONIC to make them one clock (see `time_shifts`).

    Raises `InvalidMeasurement` when one of them is not complete: a load host that died leaves no smaller result.
    """
    out.mkdir(parents=True, exist_ok=True)
    summaries = [_read_summary(folder) for folder in folders]
    shifts = time_shifts([summary.clock for summary in summaries], offsets_us)
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
    return write(out, LaneSummary.merged(summaries, shifts), histograms, rows)


def write(
    out: Path, summary: LaneSummary, histograms: Mapping[str, histogram.Counts], rows: Iterable[dict[str, Any]]
) -> LaneSummary:
    """Write all files but the samples, and return the summary with the percentiles of the histograms."""
    for name in HISTOGRAMS:
        (out / f"{name}.hgrm").write_text(histogram.encode(histograms[name]), encoding="utf-8")
    summary = replace(
        summary,
        latency_ms=Percentiles.of(histograms["latency"]),
        service_ms=Percentiles.of(histograms["service"]),
        lag_ms=Percentiles.of(histograms["lag"]),
    )
    with (out / "seconds.jsonl.new").open("w", encoding="utf-8") as file, (out / "timeline.csv").open("w") as table:
        table.write(",".join(_TIMELINE) + "\n")
        for row in rows:
            file.write(json.dumps(row) + "\n")
            table.write(",".join(_cell(value) for value in _timeline(row)) + "\n")
    (out / "seconds.jsonl.new").replace(out / "seconds.jsonl")
    (out / "summary.json").write_text(json.dumps(summary.to_json(), indent=1) + "\n", encoding="utf-8")
    return summary


def time_shifts(clocks: Sequence[Clock], offsets_us: Sequence[int] | None = None) -> list[int]:
    """µs to add to each stripe's times to count from the earliest release.

    Exact where all ran on one kernel (same boot id). Else as good as whoever leads the hosts has estimated the offsets
    of their clocks: some milliseconds. Their wall clocks play no part: nobody vouches that these agree.
    """
    offsets = [0] * len(clocks) if offsets_us is None or is_shared([c.boot_id for c in clocks]) else offsets_us
    starts = [clock.t0_monotonic_us + offset for clock, offset in zip(clocks, offsets, strict=True)]
    return [start - min(starts) for start in starts]


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


def _read_summary(folder: Path) -> LaneSummary:
    try:
        return LaneSummary.from_json(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InvalidMeasurement(
            f"the results of a load host are not complete: {folder.name}/summary.json: {error}",
            hint="the trial does not count; look at that host and run it again",
        ) from error


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
