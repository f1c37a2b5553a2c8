"""Reads a run from results/. harness/store/run_writer.py writes it; no other module does either.

    results/<run-id>/run.yml        the manifest, written at start, after the samples, after the checks
                     trials.csv     one row per trial
                     timeline.csv   one row per second and trial
                     telemetry.csv  one row per second, host and metric
                     samples/       NNN-<lane>.csv[.gz], one per trial and lane (.keys.csv where none were kept);
                                    summary and histograms beside it
                     evidence/      NNN.json: the counts of database, HAProxy and apps for trial NNN
                     report.html

Format history
    1  (0.1.0) the first.

A run folder may come from anywhere, so its content is not trusted: plain YAML without tags or aliases, known
keys only, bounded sizes, and file names are built here, never read from the files.
"""

from __future__ import annotations

import contextlib
import csv
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from harness.analysis.telemetry_totals import TelemetryReading, TelemetryTotals, aggregate, readings
from harness.errors import FormatError, UsageError
from harness.load.results import histogram, outcome_counts
from harness.load.results.samples import MemoryBudget, read_samples
from harness.load.results.summary import LaneSummary
from harness.model import Finding, OutcomeCounts
from harness.record import Evidence, Samples, TrialRecord, TrialResult
from harness.store import evidence_file, waits_file
from harness.store.csv_rows import (
    LATER_COLUMNS,
    MAX_TRIALS,
    TELEMETRY_COLUMNS,
    TIMELINE_COLUMNS,
    TRIAL_COLUMNS,
    from_columns,
)
from harness.store.files import (
    MAX_EVIDENCE_BYTES,
    MAX_HISTOGRAM_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_SUMMARY_BYTES,
    MAX_TRIALS_BYTES,
    is_own,
    parse_yaml,
    read_json_text,
    read_rows,
    read_table,
    read_text,
)
from harness.store.manifest import Manifest
from harness.store.rig_cores import has_own_cores
from harness.store.row_figures import has_figures_of
from harness.text import closest, plural, printable

FORMAT = 1
_FOREIGN = "this file was not written by pgcrucible"
RESULTS = Path("results")
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,80}")
_LANE = re.compile(r"(\d{3,6})-([a-z0-9-]{1,40})\.csv(\.gz)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A stored run. Samples and evidence are read on demand."""

    path: Path
    manifest: Manifest
    rows: tuple[TrialResult, ...]

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.manifest.run_id

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The stored findings."""
        return tuple(Finding(**record.model_dump()) for record in self.manifest.findings)

    def lanes(self, order: int) -> dict[str, Samples]:
        """Lane name -> samples of trial `order`. Raises FormatError for a damaged file, or for too many samples."""
        lanes: dict[str, Samples] = {}
        budget = MemoryBudget()
        folder = self.path / "samples"
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = _LANE.fullmatch(entry.name)
            if match and int(match[1]) == order and is_own(entry):
                try:
                    lanes[match[2]] = read_samples(entry, budget)
                except (ValueError, OSError, EOFError, csv.Error, zlib.error) as error:
                    raise FormatError(f"{entry}: {error}", hint="the samples file is damaged") from error
        return lanes

    def summaries(self, order: int) -> dict[str, LaneSummary]:
        """Lane name -> what the load hosts counted in trial `order`. Raises FormatError."""
        summaries: dict[str, LaneSummary] = {}
        for lane, path in self._of_lanes(order, ".summary.json"):
            try:
                summaries[lane] = LaneSummary.from_json(json.loads(read_text(path, MAX_SUMMARY_BYTES)))
            except (ValueError, RecursionError) as error:
                raise FormatError(f"{path}: {printable(error, 200)}", hint="the summary file is damaged") from error
        return summaries

    def outcome_counts(self, order: int) -> dict[str, OutcomeCounts]:
        """Lane name -> outcomes per key, where no samples were kept. Raises FormatError."""
        found: dict[str, OutcomeCounts] = {}
        for lane, path in self._of_lanes(order, ".keys.csv"):
            try:
                found[lane] = outcome_counts.read(path)
            except (ValueError, OSError) as error:
                raise FormatError(f"{path}: {error}", hint="the counts by key are damaged") from error
        return found

    def _of_lanes(self, order: int, suffix: str) -> Iterator[tuple[str, Path]]:
        """(lane, path) of the regular files with that suffix beside trial `order`'s samples."""
        for path in sorted((self.path / "samples").glob(f"{order:03d}-*{suffix}")):
            if is_own(path):
                yield path.name.removesuffix(suffix).split("-", 1)[1], path

    def histogram(self, order: int, lane: str, kind: Literal["latency", "service"]) -> histogram.Counts:
        """A lane's measured phase as a histogram, empty where none is stored. Raises FormatError."""
        path = self.path / "samples" / f"{order:03d}-{lane}.{kind}.hgrm"
        if not is_own(path):
            return {}
        try:
            return histogram.decode(read_text(path, MAX_HISTOGRAM_BYTES))
        except ValueError as error:
            raise FormatError(f"{path}: {error}", hint="the histogram is damaged") from error

    def evidence(self, order: int) -> Evidence | None:
        """The evidence of trial `order`, or None where none is stored. Raises FormatError."""
        path = self.path / "evidence" / f"{order:03d}.json"
        if not is_own(path):
            return None
        try:
            return evidence_file.parse(read_json_text(path, MAX_EVIDENCE_BYTES))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: {printable(error, 200)}", hint="the evidence file is damaged") from error

    def records(self) -> Iterator[TrialRecord]:
        """The trials one by one with all that is stored; one trial's samples are in memory. Raises FormatError."""
        for row in self.rows:
            order = row.trial.order
            self.require_results_of(row)
            evidence = self.evidence(order)
            if evidence is None:
                raise FormatError(f"{self.path}: trial {order} has no evidence", hint="the run folder is incomplete")
            yield TrialRecord(
                row=row,
                lanes=self.lanes(order),
                outcome_counts=self.outcome_counts(order),
                evidence=evidence,
                clock_shared=self._clock_shared(order),
                own_cores=has_own_cores(self.manifest.rig),
                waits=waits_file.read(waits_file.path_of(self.path, order)),
            )

    def require_measured(self, scenario: str | None = None) -> None:
        """Raises FormatError if a row of the scenario, or of all, was edited or added: a claim would rest on it."""
        measured = _measured(self.path)
        for row in self.rows:
            if scenario in (None, row.cell.scenario):
                self.require_results_of(row)
                if measured and row.trial.order not in measured:
                    where = f"{self.path / 'trials.csv'}: trial {row.trial.order} has no evidence"
                    raise FormatError(where, hint="the table was changed, or the run folder is incomplete")

    def require_results_of(self, row: TrialResult, summaries: Mapping[str, LaneSummary] | None = None) -> None:
        """Raises FormatError if the summaries of the trial's lanes do not have the figures of its row.

        `summaries`: those of the trial, where they are already read.
        """
        read = self.summaries(row.trial.order) if summaries is None else summaries
        if read and row.valid and not has_figures_of(row, list(read.values())):
            where = f"{self.path / 'trials.csv'}: the figures of trial {row.trial.order}"
            hint = "the table was changed; judge an unchanged copy of the run"
            raise FormatError(f"{where} are not those of its samples", hint=hint)

    def _clock_shared(self, order: int) -> bool:
        """Whether the load hosts of a trial are known to have one clock."""
        summaries = self.summaries(order).values()
        return bool(summaries) and all(summary.clock_shared for summary in summaries)

    @property
    def roles(self) -> dict[str, str]:
        """Host -> role, in the rig's order."""
        return {host.name: host.role for host in self.manifest.rig.hosts}

    def readings(self) -> Iterator[TelemetryReading]:
        """telemetry.csv by instant and host, streamed: a day of it has millions of rows. Raises FormatError."""
        path = self.path / "telemetry.csv"
        try:
            yield from readings(read_rows(path, TELEMETRY_COLUMNS))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{path}: {error}", hint="the table is damaged") from error

    def telemetry_totals(self) -> dict[int, dict[str, TelemetryTotals]]:
        """Trial -> host -> the totals of its telemetry. Raises FormatError."""
        return aggregate(self.readings(), self.roles, {row.trial.order for row in self.rows})

    def timeline(self) -> list[dict[str, str]]:
        """The rows of timeline.csv, as text. Raises FormatError."""
        return read_table(self.path / "timeline.csv", TIMELINE_COLUMNS)


def _measured(path: Path) -> set[int]:
    """The trials that have evidence."""
    return {int(name.stem) for name in (path / "evidence").glob("*.json") if name.stem.isdecimal()}


def find_run(which: str | None, root: Path = RESULTS) -> Path:
    """The folder of a run: a path, a run id under results/, or the newest. Raises UsageError."""
    known: list[str] = []
    for candidate in (Path(which), root / which) if which else (root / "latest",):
        with contextlib.suppress(OSError, ValueError):  # a name too long, a folder without permission, a zero byte
            if (candidate / "run.yml").is_file():
                return candidate.resolve()
    with contextlib.suppress(OSError, ValueError):
        known = sorted(p.parent.name for p in root.glob("*/run.yml") if p.parent.name != "latest")
    hint = "measure one: ./run bench" + (f", or name one: {printable(', '.join(known[-5:]))}" if known else "")
    if which in (None, "latest"):
        raise UsageError(f"no run in {printable(root)}/ yet", hint=hint)
    raise UsageError(f"no run at '{printable(which, 200)}'", hint=closest(Path(which).name, known) or hint)


def load_run(path: Path) -> Run:
    """Reads a run. Raises FormatError naming the file (and line) for anything that is not format 1."""
    manifest_path = path / "run.yml"
    try:
        if not manifest_path.exists():
            raise UsageError(f"no run.yml in {path}", hint="name a folder of results/")
        text = read_text(manifest_path, MAX_MANIFEST_BYTES)
        raw = parse_yaml(manifest_path, text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"{manifest_path}: {printable(' '.join(str(error).split()), 200)}", hint="not plain YAML"
        ) from error
    if not isinstance(raw, dict) or "format" not in raw:
        raise FormatError(f"{manifest_path}: no `format`", hint=_FOREIGN)
    if raw["format"] != FORMAT:
        raise FormatError(
            f"{manifest_path}: format {printable(raw['format'], 200)}; this version reads format {FORMAT}",
            hint="update pgcrucible, or use the version that wrote the run",
        )
    try:
        manifest = Manifest.model_validate(raw, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FormatError(
            f"{manifest_path}: {printable(where, 200)}: {printable(first['msg'], 200)}",
            hint=f"{plural(error.error_count(), 'invalid value')}",
        ) from None
    if not _RUN_ID.fullmatch(manifest.run_id):
        raise FormatError(f"{manifest_path}: run_id {printable(manifest.run_id, 200)!r} is not a valid name")
    table = path / "trials.csv"
    rows = _trials(table)
    orders = [row.trial.order for row in rows]
    if len(set(orders)) < len(orders) or min(orders, default=1) < 1:
        raise FormatError(f"{table}: the trials are not numbered 1, 2, 3 … without repetition", hint="it is damaged")
    measured = _measured(path)
    if rows and manifest.status == "finished" and (lost := measured - set(orders)):
        raise FormatError(f"{table}: no row of trial {min(lost)}, which was measured", hint="the table was changed")
    return Run(path=path, manifest=manifest, rows=rows)


def _trials(table: Path) -> tuple[TrialResult, ...]:
    if table.is_file() and table.stat().st_size > MAX_TRIALS_BYTES:
        raise FormatError(f"{table} is larger than {MAX_TRIALS_BYTES:,} bytes", hint=_FOREIGN)
    rows = read_rows(table, TRIAL_COLUMNS, later=LATER_COLUMNS)
    trials = tuple(from_columns(table, line, row) for line, row in enumerate(islice(rows, MAX_TRIALS + 1), start=2))
    if len(trials) > MAX_TRIALS:
        raise FormatError(f"{table}: more than {MAX_TRIALS:,} trials", hint=_FOREIGN)
    return trials
