"""A run on disk: the only place that writes to or reads from results/.

    results/<run-id>/run.yml        the manifest, written at start, after the samples, after the checks
                     trials.csv     one row a trial
                     timeline.csv   one row a second and trial
                     telemetry.csv  one row a second, host and metric
                     samples/       NNN-<lane>.csv[.gz], one a trial and lane; summary and histograms beside it
                     evidence/      NNN.json: what database, HAProxy and apps said about trial NNN
                     report.html

Format history
    1  (0.1.0) the first.

A run folder may come from anywhere, so reading trusts nothing: plain YAML without tags or aliases, known
keys only, sizes bounded, names built here and never taken from the files.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import json
import re
import secrets
import shutil
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import ValidationError

from harness.attribution import Moment, attribute, moments
from harness.errors import FormatError, UsageError
from harness.files import (
    MAX_HISTOGRAM_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_TABLE_BYTES,
    append_rows,
    disk,
    is_own,
    parse_yaml,
    point,
    read_table,
    read_text,
    write_atomically,
)
from harness.load import hist
from harness.load.samples import Samples, read_samples
from harness.manifest import CodeRecord, FindingRecord, Manifest, RigRecord, RunVerdict, Status
from harness.metrics import Measured, TrialRow
from harness.model import Evidence, Finding
from harness.tables import TELEMETRY_COLUMNS, TIMELINE_COLUMNS, TRIAL_COLUMNS, from_columns, shown

FORMAT = 1
RESULTS = Path("results")
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,80}")
_LANE = re.compile(r"(\d{3,6})-([a-z0-9-]{1,40})\.csv(\.gz)?")
LANE_FILES = {
    "samples.csv": ".csv",
    "samples.csv.gz": ".csv.gz",
    "captures.jsonl": ".captures.jsonl",
    "summary.json": ".summary.json",
    "latency.hgrm": ".latency.hgrm",
    "service.hgrm": ".service.hgrm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A stored run, read; samples and evidence are read when asked for."""

    path: Path
    manifest: Manifest
    rows: tuple[TrialRow, ...]

    @property
    def run_id(self) -> str:
        """The folder's name."""
        return self.manifest.run_id

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings as they were stored."""
        return tuple(Finding(**record.model_dump()) for record in self.manifest.findings)

    def lanes(self, order: int) -> dict[str, Samples]:
        """Lane name -> samples of trial `order`. Raises FormatError for a damaged file."""
        lanes: dict[str, Samples] = {}
        folder = self.path / "samples"
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = _LANE.fullmatch(entry.name)
            if match and int(match[1]) == order and is_own(entry):
                try:
                    lanes[match[2]] = read_samples(entry)
                except (ValueError, OSError, EOFError, csv.Error, zlib.error) as error:
                    raise FormatError(f"{entry}: {error}", hint="the samples file is damaged") from error
        return lanes

    def summaries(self, order: int) -> dict[str, dict[str, Any]]:
        """Lane name -> what the load hosts said of it (harness/load/merge.py). Raises FormatError."""
        found: dict[str, dict[str, Any]] = {}
        for path in sorted((self.path / "samples").glob(f"{order:03d}-*.summary.json")):
            if is_own(path):
                try:
                    read = json.loads(read_text(path, MAX_TABLE_BYTES))
                except (ValueError, RecursionError) as error:
                    raise FormatError(f"{path}: {error}", hint="the summary file is damaged") from error
                if isinstance(read, dict):
                    found[path.name.removesuffix(".summary.json").split("-", 1)[1]] = read
        return found

    def histogram(self, order: int, lane: str, kind: Literal["latency", "service"]) -> hist.Counts:
        """A lane's measured phase as a histogram, empty where none is stored. Raises FormatError."""
        path = self.path / "samples" / f"{order:03d}-{lane}.{kind}.hgrm"
        if not is_own(path):
            return {}
        try:
            return hist.decode(read_text(path, MAX_HISTOGRAM_BYTES))
        except ValueError as error:
            raise FormatError(f"{path}: {error}", hint="the histogram is damaged") from error

    def evidence(self, order: int) -> Evidence | None:
        """What the layers said about trial `order`, or None where nothing is stored."""
        path = self.path / "evidence" / f"{order:03d}.json"
        if not is_own(path):
            return None
        try:
            raw = json.loads(read_text(path, MAX_TABLE_BYTES))
            _check_evidence(raw)
            ledger = raw.pop("ledger")
            return Evidence(
                ledger=None if ledger is None else {k: (str(v[0]), int(v[1])) for k, v in ledger.items()},
                notes=tuple(raw.pop("notes")),
                **raw,
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: {error}", hint="the evidence file is damaged") from error

    def measured(self) -> Iterator[Measured]:
        """The trials one by one with all that was recorded of them (only one trial's samples are held)."""
        roles = {host.name: host.role for host in self.manifest.rig.hosts}
        seen: dict[int, list[Moment]] = defaultdict(list)
        for moment in self.moments():
            seen[moment.order].append(moment)
        for row in self.rows:
            held_back = attribute(seen.pop(row.trial.order, ()), roles, row).line
            evidence = self.evidence(row.trial.order)
            if evidence is None:
                raise FormatError(
                    f"{self.path}: trial {row.trial.order} has no evidence",
                    hint="the run folder is incomplete",
                )
            yield Measured(row=row, lanes=self.lanes(row.trial.order), evidence=evidence, held_back=held_back)

    def moments(self) -> list[Moment]:
        """telemetry.csv by instant and host. Raises FormatError."""
        try:
            return moments(self.table("telemetry"))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"{self.path / 'telemetry.csv'}: {error}", hint="the table is damaged") from error

    def table(self, name: Literal["timeline", "telemetry"]) -> list[dict[str, str]]:
        """The rows of timeline.csv or telemetry.csv, as text."""
        return read_table(self.path / f"{name}.csv")


def _check_evidence(raw: Mapping[str, Any]) -> None:
    """Raises TypeError where a field is not of Evidence's shape; what `extra` holds is its scenario's to judge."""
    for name, kind in (("initial", int), ("final", int), ("counts", int), ("servers", int), ("unjudged", str)):
        found = raw.get(name, {})
        if not isinstance(found, dict) or not all(isinstance(value, kind) for value in found.values()):
            raise TypeError(f"{name} is not a table of {kind.__name__}")
    if not isinstance(raw.get("extra", {}), dict) or not isinstance(raw.get("notes"), list):
        raise TypeError("extra is no table, or notes is no list")


def now() -> str:
    """UTC, to the second, ISO 8601."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Recorder:
    """Writes a run while it is being made. Every write is complete or not there (temporary file, rename)."""

    def __init__(self, root: Path, manifest: Manifest, path: Path) -> None:
        self.root, self.manifest, self.path = root, manifest, path

    @property
    def began_s(self) -> float:
        """When the run began, in seconds since 1970: what its samples' and telemetry's times count from."""
        return dt.datetime.strptime(self.manifest.started, "%Y-%m-%dT%H:%M:%S%z").timestamp()

    @classmethod
    def start(cls, root: Path, *, code: CodeRecord, rig: RigRecord, options: Mapping[str, Any]) -> Self:
        """Makes results/<run-id>/ with `status: started` and points results/latest at it."""
        root.mkdir(parents=True, exist_ok=True)
        stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S")
        run_id = stamp
        while (root / run_id).exists():
            run_id = f"{stamp}-{secrets.token_hex(2)}"
        path = root / run_id
        (path / "samples").mkdir(parents=True)
        (path / "evidence").mkdir()
        manifest = Manifest(run_id=run_id, started=now(), code=code, rig=rig, options=dict(options))
        recorder = cls(root, manifest, path)
        recorder.save()
        point(root / "latest", run_id)
        return recorder

    @classmethod
    def resume(cls, run: Run) -> Self:
        """Goes on writing into a run that was interrupted; seconds of a trial that has no row are dropped.

        Raises FormatError where a folder of it leads elsewhere: nothing is written outside of the run.
        """
        for folder in (run.path / "samples", run.path / "evidence"):
            if folder.is_symlink() or not folder.is_dir():
                raise FormatError(f"{folder} is not a folder of the run itself", hint="start a new run")
        run.manifest.status = "started"
        recorder = cls(run.path.parent, run.manifest, run.path)
        done = {"", *(str(row.trial.order) for row in run.rows)}
        tables: tuple[Literal["timeline", "telemetry"], ...] = ("timeline", "telemetry")
        for name in tables:
            rows = run.table(name)
            kept = [row for row in rows if row.get("order", "") in done]
            if len(kept) < len(rows):
                (run.path / f"{name}.csv").unlink()
                recorder.append(name, kept)
        recorder.save()
        return recorder

    def save(self, status: Status | None = None) -> None:
        """Writes run.yml; `status` is set first where given."""
        if status is not None:
            self.manifest.status = status
        if status in ("finished", "aborted"):
            self.manifest.finished = now()
        data = self.manifest.model_dump(mode="json")
        text = yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=110)
        write_atomically(self.path / "run.yml", text)

    def findings(self, findings: Iterable[Finding], verdict: RunVerdict) -> None:
        """Replaces the manifest's findings and verdict (not yet saved)."""
        self.manifest.findings = [FindingRecord(**_plain(asdict(f))) for f in findings]
        self.manifest.verdict = verdict

    def evidence(self, order: int, evidence: Evidence) -> None:
        """Stores what the layers said about trial `order`."""
        text = json.dumps(asdict(evidence), separators=(",", ":"), default=str)
        write_atomically(self.path / "evidence" / f"{order:03d}.json", text)

    def lane(self, order: int, lane: str, folder: Path) -> None:
        """Moves a lane's collected results (see harness/load/merge.py) to samples/."""
        with disk(self.path):
            for name, suffix in LANE_FILES.items():
                if (folder / name).exists():
                    shutil.move(folder / name, self.path / "samples" / f"{order:03d}-{lane}{suffix}")

    def append(self, name: Literal["trials", "timeline", "telemetry"], rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends rows to one of the tables; the header comes with the first."""
        columns: Sequence[str] = {
            "trials": TRIAL_COLUMNS,
            "timeline": TIMELINE_COLUMNS,
            "telemetry": TELEMETRY_COLUMNS,
        }[name]
        append_rows(self.path / f"{name}.csv", columns, rows)


def _plain(value: Any) -> Any:
    """Mappings, tuples and floats as YAML takes them."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6)
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def find_run(which: str | None, root: Path = RESULTS) -> Path:
    """The folder of a run: a path, a run id under results/, or the newest. Raises UsageError."""
    if which:
        for candidate in (Path(which), root / which):
            with contextlib.suppress(OSError):  # a name too long, a folder that is not ours to enter
                if (candidate / "run.yml").is_file():
                    return candidate.resolve()
        known = sorted(p.parent.name for p in root.glob("*/run.yml") if p.parent.name != "latest")
        raise UsageError(
            f"no run at '{shown(which)}'",
            hint=f"the newest are: {', '.join(known[-5:])}" if known else "make one with: ./run bench",
        )
    latest = root / "latest"
    if (latest / "run.yml").is_file():
        return latest.resolve()
    raise UsageError(f"no run in {root}/ yet", hint="make one with: ./run bench")


def load_run(path: Path) -> Run:
    """Reads a run. Raises FormatError naming the file (and line) for anything that is not format 1."""
    manifest_path = path / "run.yml"
    try:
        if not manifest_path.exists():
            raise UsageError(f"no run.yml in {path}", hint="give a folder under results/")
        text = read_text(manifest_path, MAX_MANIFEST_BYTES)
        raw = parse_yaml(manifest_path, text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise FormatError(f"{manifest_path}: {shown(' '.join(str(error).split()))}", hint="not plain YAML") from error
    if not isinstance(raw, dict) or "format" not in raw:
        raise FormatError(f"{manifest_path}: no `format`", hint="this is not a run of pgcrucible")
    if raw["format"] != FORMAT:
        raise FormatError(
            f"{manifest_path}: format {shown(raw['format'])} is not {FORMAT}, the one this version reads",
            hint="update pgcrucible, or read the run with the version that wrote it",
        )
    try:
        manifest = Manifest.model_validate(raw, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise FormatError(
            f"{manifest_path}: {shown(where)}: {shown(first['msg'])}", hint=f"{error.error_count()} such problems"
        ) from None
    if not _RUN_ID.fullmatch(manifest.run_id):
        raise FormatError(f"{manifest_path}: run_id {shown(manifest.run_id)!r} is not a name")
    table = path / "trials.csv"
    rows = tuple(from_columns(table, line, raw) for line, raw in enumerate(read_table(table), start=2))
    orders = [row.trial.order for row in rows]
    if len(set(orders)) < len(orders) or min(orders, default=1) < 1:
        raise FormatError(f"{table}: the trials are not numbered 1, 2, 3 …, each once", hint="the table is damaged")
    return Run(path=path, manifest=manifest, rows=rows)
