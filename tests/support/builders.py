"""Runs for the tests of the report, written by the real RunWriter and read by the real run_reader."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.load.results import histogram, samples
from harness.load.results.summary import LaneSummary
from harness.model import Cell, Finding, Host, RunVerdict, Trial
from harness.provision.image import role_defaults
from harness.record import Evidence, TrialResult, Validity
from harness.rig.state import ROLES_DIR, RigState
from harness.store.csv_rows import as_columns
from harness.store.manifest import CodeRecord, HostRecord, RigRecord, Status
from harness.store.run_reader import Run, load_run
from harness.store.run_writer import RunWriter
from tests.support.summaries import histogram_of, lane_summary, phase, process, window

CODE = CodeRecord(
    commit="3f2a9c1d5e7b8a6f4c2d1e0f9a8b7c6d5e4f3a2b",
    dirty=False,
    command="./run bench --hosts 4 --scenario concurrent-writes",
    seed=1,
)
RIG = RigRecord(
    name="local",
    provider="podman",
    image="pgcrucible-host:4be1d2",
    code_hash="9c0ffee1",
    hosts=[
        HostRecord(
            name=name,
            role=role,
            cpus=cpus,
            memory=memory,
            kernel="6.1.0-31-amd64",
            cpu_model="AMD EPYC 7B13",
            versions=versions,
        )
        for name, role, cpus, memory, versions in (
            ("db", "db", 1.0, 2 * 2**30, {"postgresql": "15.13", "debian": "12.11"}),
            *((f"app-{n}", "app", 0.25, 2**29, {"python": "3.11.2", "debian": "12.11"}) for n in range(1, 5)),
            ("lb", "lb", 0.5, 2**28, {"haproxy": "2.6.12", "debian": "12.11"}),
            ("load", "load", 1.0, 2**30, {"python": "3.11.2", "debian": "12.11"}),
        )
    ],
)
SETTINGS = {
    "postgres": {"server_version": "15.13", "max_connections": "100", "shared_buffers": "327688kB"},
    "app": {"app-1": {"pool_size": 5, "statement_timeout_ms": 60000, "prepare": True}},
}  # fmt: skip


def rig_state(hosts: tuple[Host, ...] = (), **changes: Any) -> RigState:
    """The stored state of a rig that exists in the test alone; `changes` replace its fields."""
    fields: dict[str, Any] = {"name": "paper", "provider": "static", "inventory": "", "network": "", "hosts": hosts}
    variables = role_defaults(ROLES_DIR) | changes.pop("variables", {})
    return RigState(**fields | changes, variables=variables)


@dataclass(kw_only=True)
class Made:
    """A trial to be stored: its cell, and how it came out."""

    cell: Cell
    ok: int = 1000
    fail: int = 0
    unknown: int = 0
    lost: int = 0
    median_ms: float = 40.0
    seconds: float = 1.2
    number: int = 1
    valid: bool = True
    reason: str = ""
    steady: bool | None = None
    errors: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float | None] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    driven: bool = True
    timeline_s: int = 0
    """Seconds in timeline.csv."""


def store(
    root: Path,
    trials: Sequence[Made] = (),
    findings: Sequence[Finding] = (),
    *,
    verdict: RunVerdict = "pass",
    status: Status = "finished",
    code: CodeRecord = CODE,
    rig: RigRecord = RIG,
    **manifest: Any,
) -> Run:
    """Stores a run under `root` and loads it; `manifest` replaces fields of the manifest."""
    recorder = RunWriter.start(root, code=code, rig=rig, options={})
    recorder.manifest.settings = SETTINGS
    recorder.manifest.stages = {"settle": 3.1, "load": 2.6, "store": 0.4, "judge": 0.05}
    for name, value in manifest.items():
        setattr(recorder.manifest, name, value)
    for order, made in enumerate(trials, start=1):
        _store(recorder, order, made)
    recorder.findings(findings, verdict)
    recorder.save(status)
    return load_run(recorder.path)


def _store(recorder: RunWriter, order: int, made: Made) -> None:
    trial = Trial(cell=made.cell, number=made.number, order=order, seed=order)
    if not made.driven:
        recorder.evidence(order, made.evidence)
        recorder.append("trials", [as_columns(TrialResult(trial=trial, figures={}))])
        return
    rows = _samples(made, random.Random(order))
    summary = _summary(made, rows)
    folder = recorder.path / "scratch"
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary.to_json()), encoding="utf-8")
    for name, counts in (("latency", _latency(rows)), ("service", _latency(rows))):
        (folder / f"{name}.hgrm").write_text(histogram.encode(counts), encoding="utf-8")
    samples.write(folder / "samples.csv", rows)
    recorder.lane(order, "main", folder)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    final: dict[str, int] = {}
    for row in rows:
        if row.outcome == "ok":
            final[row.key] = final.get(row.key, 0) + 1
    for _ in range(made.lost):
        final[max(final, key=lambda key: final[key])] -= 1
    hosts = {f"app-{n}": len(rows) // made.cell.hosts for n in range(1, made.cell.hosts + 1)}
    recorder.evidence(order, replace(made.evidence, final=final, servers=hosts, counts={"client": len(rows)}))
    recorder.append("trials", [as_columns(_row(trial, made, summary))])
    recorder.append(
        "timeline",
        [
            {
                "order": order, "lane": "main", "phase": "measure", "second": second, "sent": 900 + second,
                "ok": 900 + second, "fail": 0, "unknown": 0, "p50_ms": 11.0, "p95_ms": 14.0 + second, "p99_ms": 22.0,
            }
            for second in range(made.timeline_s)
        ],
    )  # fmt: skip


def _samples(made: Made, rng: random.Random) -> list[samples.Sample]:
    outcomes = ["ok"] * made.ok + ["fail"] * made.fail + ["unknown"] * made.unknown
    names = [name for name, count in made.errors.items() for _ in range(count)]
    rng.shuffle(outcomes)
    keys = 100 if made.cell.params.get("keys") == "spread" else 1
    rows = []
    for seq, outcome in enumerate(outcomes):
        took = round(1e3 * made.median_ms * rng.lognormvariate(0, 0.4))
        error = "" if outcome == "ok" else names.pop() if names else "timeout"
        rows.append(
            samples.Sample(
                seq=seq, op="increment", key=f"{made.cell.params.get('keys', 'hot')}-{seq % keys:03d}",
                host=f"app-{1 + seq % made.cell.hosts}", due_us=1000, sent_us=1000 + seq, done_us=1000 + seq + took,
                outcome=outcome, status=200 if outcome == "ok" else 503, value=seq + 1 if outcome == "ok" else None,
                error=error, id="", load_host="load", phase="measure",
            )
        )  # fmt: skip
    return rows


def _latency(rows: Sequence[samples.Sample]) -> histogram.Counts:
    return histogram_of(row.done_us - row.due_us for row in rows)


def _summary(made: Made, rows: Sequence[samples.Sample]) -> LaneSummary:
    summary = lane_summary(
        mode=made.cell.mode,
        measure=phase(made.ok, fail=made.fail, unknown=made.unknown, errors=dict(made.errors)),
        window=window(made.ok, fail=made.fail, unknown=made.unknown),
        measure_to_us=round(made.seconds * 1e6),
        busy_us=None,
        stalls=((0, 34_000),),
        watch=(process(cpu=0.31, cpu_wait=0.02, stalled=0.0, longest_stall_ms=1.4, in_flight=61.0),),
    )
    refused = _latency([row for row in rows if row.outcome != "ok"])
    return summary.with_percentiles(
        {"latency": _latency(rows), "service": _latency(rows), "refused": refused, "lag": {}}
    )


def _row(trial: Trial, made: Made, summary: LaneSummary) -> TrialResult:
    latency, measure = summary.latency_ms, summary.measure
    figures: dict[str, float | None] = {
        "sent": float(measure.sent), "ok": float(measure.ok), "fail": float(measure.fail),
        "unknown": float(measure.unknown),
    }  # fmt: skip
    figures |= {"seconds": made.seconds, "rps": made.ok / made.seconds}
    figures |= {name: getattr(latency, name) for name in ("mean_ms", "p50_ms", "p95_ms", "p99_ms", "p999_ms", "max_ms")}
    figures |= {f"service_{name}": getattr(latency, name) for name in ("p50_ms", "p95_ms", "p99_ms")}
    for name, of in (("ok", summary.ok_ms), ("refused", summary.refused_ms)):
        figures |= {f"{name}_{percent}": getattr(of, percent) for percent in ("p50_ms", "p95_ms", "p99_ms")}
    figures |= {"lag_p99_ms": 0.8, "stall_ms": summary.stall_ms}
    doubted: Validity = "timing_doubtful" if made.reason else "valid"
    return TrialResult(
        trial=trial,
        validity=doubted if made.valid else "broken",
        reasons=(made.reason,) if made.reason else (),
        steady=made.steady,
        figures=figures | dict(made.figures),
    )


def concurrent(keys: str = "hot", **more: Any) -> Cell:
    """A cell of concurrent-writes as the scenario plans it."""
    settings: dict[str, Any] = {"hosts": 4, "clients": 1000, "requests": 1000, "params": {"keys": keys}}
    return Cell(scenario="concurrent-writes", **(settings | more))


def found(
    cell: Cell | str, check: str, verdict: Any = "pass", detail: str = "as it should be", **numbers: Any
) -> Finding:
    """A finding about a cell, or about the scenario of that name."""
    scenario, name = (cell, cell) if isinstance(cell, str) else (cell.scenario, cell.name)
    return Finding(scenario=scenario, cell=name, check=check, verdict=verdict, detail=detail, numbers=numbers)


def passing(cell: Cell) -> list[Finding]:
    """What concurrent-writes finds when all is well."""
    wanted = cell.requests or 0
    return [
        found(
            cell, "acknowledged", detail=f"{wanted:,} of {wanted:,} acknowledged (100 %)", ok=wanted, expected=wanted
        ),
        found(
            cell,
            "final value",
            detail=f"final - initial = {wanted:,} for {wanted:,} acknowledged over 1 key: no lost update",
            lost=0,
            invented=0,
        ),
        found(cell, "value sequence", detail=f"{wanted:,} values, each returned exactly once"),
        found(
            cell, "real-time order", detail=f"{wanted:,} values respect real-time order: the counter is linearizable"
        ),
        found(cell, "spread", detail=f"even over {cell.hosts} hosts: app-1 250, app-2 250, app-3 250, app-4 250"),
        found(
            cell,
            "counts agree",
            detail=f"client {wanted:,} = haproxy {wanted:,} = app {wanted:,} = database {wanted:,}",
        ),
    ]


def quickstart(root: Path) -> Run:
    """The run of the README: two cells, all well."""
    cells = [concurrent("hot"), concurrent("spread")]
    return store(
        root,
        [Made(cell=cells[0], median_ms=310, seconds=0.94), Made(cell=cells[1], median_ms=190, seconds=0.61)],
        [finding for cell in cells for finding in passing(cell)],
    )
