"""Writes a run to results/ while it is measured. No other module does; run_reader.py describes the files."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import yaml

from harness.errors import FormatError, RigError
from harness.model import Finding, RunVerdict
from harness.plan.variants import Variant
from harness.record import Evidence
from harness.store import evidence_file, waits_file
from harness.store.csv_rows import TELEMETRY_COLUMNS, TIMELINE_COLUMNS, TRIAL_COLUMNS
from harness.store.files import append_rows, disk_errors, keep_rows, update_symlink, write_atomically
from harness.store.manifest import CodeRecord, FindingRecord, Manifest, RigRecord, Status, VariantRecord
from harness.store.run_reader import Run

LANE_FILES = {
    "samples.csv": ".csv",
    "samples.csv.gz": ".csv.gz",
    "keys.csv": ".keys.csv",
    "captures.jsonl": ".captures.jsonl",
    "history.json": ".history.json",
    "summary.json": ".summary.json",
    "latency.hgrm": ".latency.hgrm",
    "service.hgrm": ".service.hgrm",
    "refused.hgrm": ".refused.hgrm",
}


NAMES = 100
"""Attempts to find a name for a run's folder."""


def now() -> str:
    """The time in UTC to the second, as ISO 8601."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class RunWriter:
    """Writes a run while it is measured. Every write is atomic (temporary file, rename)."""

    def __init__(self, root: Path, manifest: Manifest, path: Path) -> None:
        self.root, self.manifest, self.path = root, manifest, path

    @property
    def began_s(self) -> float:
        """The start of the run in seconds since 1970; the times of samples and telemetry count from it."""
        return dt.datetime.strptime(self.manifest.started, "%Y-%m-%dT%H:%M:%S%z").timestamp()

    @classmethod
    def start(cls, root: Path, *, code: CodeRecord, rig: RigRecord, options: Mapping[str, object]) -> Self:
        """Creates results/<run-id>/ with `status: started` and points results/latest at it.

        Raises RigError, and leaves nothing, where the folder of the results cannot be written.
        """
        with disk_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            path = _make_folder(root, dt.datetime.now(dt.UTC).strftime("%Y%m%d-%H%M%S"))
        run_id = path.name
        manifest = Manifest(run_id=run_id, started=now(), code=code, rig=rig, options=dict(options))
        recorder = cls(root, manifest, path)
        try:
            with disk_errors(path):
                (path / "samples").mkdir()
                (path / "evidence").mkdir()
            recorder.save()
            update_symlink(root / "latest", run_id)
        except RigError:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return recorder

    @classmethod
    def resume(cls, run: Run) -> Self:
        """Continues an interrupted run. The seconds of a trial without a row are dropped.

        Raises FormatError if a folder of it is a symbolic link: nothing is written outside of the run.
        """
        for folder in (run.path / "samples", run.path / "evidence"):
            if folder.is_symlink() or not folder.is_dir():
                raise FormatError(f"{folder} is not a folder of the run", hint="start a new run")
        run.manifest.status = "started"
        recorder = cls(run.path.parent, run.manifest, run.path)
        done = {"0", "", *(str(row.trial.order) for row in run.rows)}
        for name, columns in (("timeline", TIMELINE_COLUMNS), ("telemetry", TELEMETRY_COLUMNS)):
            keep_rows(run.path / f"{name}.csv", columns, lambda row: row.get("order", "") in done)
        recorder.save()
        return recorder

    def save(self, status: Status | None = None) -> None:
        """Writes run.yml, with a new `status` if one is given."""
        if status is not None:
            self.manifest.status = status
        if status in ("finished", "aborted"):
            self.manifest.finished = now()
        data = self.manifest.model_dump(mode="json")
        text = yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=110)
        write_atomically(self.path / "run.yml", text)

    def warn(self, *warnings: str) -> None:
        """Adds warnings to the manifest (not yet saved); one that is there already is not added again."""
        for warning in warnings:
            if warning not in self.manifest.warnings:
                self.manifest.warnings.append(warning)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time spent in the context to the manifest's `stages` (not yet saved)."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self.manifest.stages.get(name, 0.0) + time.monotonic() - started
            self.manifest.stages[name] = round(seconds, 3)

    def settings(self, settings: Mapping[str, object]) -> None:
        """Adds settings by component to the manifest (not yet saved)."""
        self.manifest.settings |= settings

    def variants(self, variants: Iterable[Variant]) -> None:
        """Stores the variants that the run compares (not yet saved)."""
        self.manifest.variants = [VariantRecord(name=each.name, settings=dict(each.settings)) for each in variants]

    def skipped(self, reasons: Mapping[str, str]) -> None:
        """Stores which scenarios the plan leaves out, and why (not yet saved)."""
        self.manifest.skipped = dict(reasons)

    def canaries(self, when: Literal["before", "after"], canaries: Mapping[str, Mapping[str, float]]) -> None:
        """Stores every host's canaries, measured before or after the trials (not yet saved)."""
        self.manifest.canaries[when] = {host: dict(values) for host, values in canaries.items()}

    def noise_floor(self, floor: Mapping[str, float]) -> None:
        """Stores the rig's noise floor (not yet saved)."""
        self.manifest.noise_floor = dict(floor)

    def findings(self, findings: Iterable[Finding], verdict: RunVerdict) -> None:
        """Replaces the manifest's findings and verdict; `save` writes them."""
        self.manifest.findings = [FindingRecord(**_plain(asdict(f))) for f in findings]
        self.manifest.verdict = verdict

    def evidence(self, order: int, evidence: Evidence) -> None:
        """Writes the evidence of trial `order`."""
        write_atomically(self.path / "evidence" / f"{order:03d}.json", evidence_file.dump(evidence))

    def waits(self, order: int, rows: Iterable[waits_file.Row]) -> None:
        """Writes what the database's sessions waited for in trial `order`."""
        waits_file.write(waits_file.path_of(self.path, order), rows)

    def lane(self, order: int, lane: str, folder: Path) -> None:
        """Moves a lane's merged results (load/results/merge.py) to samples/ and replaces older ones.

        An interrupted trial may have left compressed samples, which would be read instead of the new ones.
        """
        with disk_errors(self.path):
            for name, suffix in LANE_FILES.items():
                target = self.path / "samples" / f"{order:03d}-{lane}{suffix}"
                target.unlink(missing_ok=True)
                if (folder / name).exists():
                    shutil.move(folder / name, target)

    def append(self, name: Literal["trials", "timeline", "telemetry"], rows: Iterable[Mapping[str, object]]) -> None:
        """Appends rows to one of the tables."""
        columns: Sequence[str] = {
            "trials": TRIAL_COLUMNS,
            "timeline": TIMELINE_COLUMNS,
            "telemetry": TELEMETRY_COLUMNS,
        }[name]
        append_rows(self.path / f"{name}.csv", columns, rows)


def _make_folder(root: Path, stamp: str) -> Path:
    """Makes the folder of a run and returns it: named by its second, with a suffix if another run has that name.

    mkdir(2) decides, because other sessions start runs as well.
    """
    for suffix in ("", *(f"-{secrets.token_hex(2)}" for _ in range(NAMES))):
        with contextlib.suppress(FileExistsError):
            (root / f"{stamp}{suffix}").mkdir()
            return root / f"{stamp}{suffix}"
    raise RigError(f"{root}: {NAMES} runs started in the second {stamp}", hint="start the bench again")


def _plain(value: Any) -> Any:
    """The value as plain YAML data; floats rounded to six digits."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6)
    return value if isinstance(value, str | int | bool) or value is None else str(value)
