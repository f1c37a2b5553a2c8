"""Runs and pages of each kind, also with hostile text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli import runs
from harness.cli.report_pages import run_comparison_page, run_trend_page
from harness.compare.cells import comparable_name
from harness.errors import InvalidMeasurement
from harness.model import Cell
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.store.manifest import CodeRecord, VariantRecord
from harness.store.run_reader import Run, load_run
from tests.support.builders import RIG, SETTINGS, Made, concurrent, found, quickstart, store
from tests.support.light_runs import BURST, CLOSED, light_run
from tests.support.suite import suite

ROOT = Path(__file__).parents[2]
HOSTILE = "<script>alert(1)</script>\"' onload=x </style></svg> \x1b[31m\u202e " + "w" * 300


def failed(root: Path) -> Run:
    cell = concurrent(strategy="unsafe")
    detail = "137 lost updates; key 'hot-000': 1,000 acknowledged and 0 unknown, but the value went from 0 to 863"
    return store(
        root, [Made(cell=cell, lost=137)], [found(cell, "final value", "fail", detail, lost=137)], verdict="fail"
    )


def hostile(root: Path) -> Run:
    cell = Cell(scenario=HOSTILE, strategy=HOSTILE, hosts=2, params={HOSTILE: HOSTILE, "n" * 500: {"a": "<b>"}})
    other = replace(concurrent(), strategy=HOSTILE)
    return store(
        root,
        [Made(cell=cell, fail=3, errors={HOSTILE: 3}, valid=False, reason=HOSTILE), Made(cell=other, lost=3)],
        [found(cell, HOSTILE, "fail", HOSTILE), found(other, "final value", "fail", HOSTILE, lost=3)],
        verdict="fail",
        code=CodeRecord(commit=HOSTILE, dirty=True, command=HOSTILE, seed=7),
        warnings=[HOSTILE],
        skipped={HOSTILE: HOSTILE},
        settings={HOSTILE: {HOSTILE: HOSTILE}},
    )


def aborted(root: Path) -> Run:
    return store(root, [Made(cell=concurrent())], status="aborted", warnings=["aborted: no space left on app-1"])


def varied(root: Path) -> Run:
    """Variants with long names of settings, whose names differ at the end only."""
    made = parse_vary("vary", "postgres.log_autovacuum_min_duration=1000,250;app_idempotency_retention_seconds=9,99")
    load = {"hosts": 4, "clients": 64, "seconds": 8.0, "params": {"keys": "hot"}}
    cells = [
        with_variant(Cell(scenario="throughput", strategy="upsert", **load, **model), variant, varied_keys(made))
        for model in ({}, {"mode": "open", "rate": 500.0})
        for variant in made
    ]
    return store(
        root,
        [Made(cell=cell, number=number, timeline_s=8) for cell in cells for number in (1, 2)],
        [found(cell, "final value", lost=0) for cell in cells],
        variants=[VariantRecord(name=one.name, settings=dict(one.settings)) for one in made],
    )


RUNS: dict[str, Callable[[Path], Run]] = {
    "suite": suite,
    "one scenario": quickstart,
    "failed": failed,
    "varied": varied,
    "hostile": hostile,
    "aborted": aborted,
    "empty": store,
    "the example": lambda _: load_run(ROOT / "results" / "example"),
    "of the flat layout": lambda _: load_run(ROOT / "tests" / "data" / "run_of_the_flat_layout"),
}


def comparison(root: Path) -> Path:
    """The page of two runs against a third, one of them on another kind of machine."""
    rig = RIG.model_copy(update={"hosts": [host.model_copy(update={"cpu_model": "another"}) for host in RIG.hosts]})
    for name, slower, machines in (("base", 1.0, RIG), ("slower", 3.0, RIG), ("elsewhere", 1.0, rig)):
        light_run(root, name, cells=(BURST, CLOSED), slower=slower, rig=machines)
    with contextlib.suppress(InvalidMeasurement):  # the page names the refusal
        compare_into(root, "base", "slower", "elsewhere")
    return root / "page.html"


def hostile_comparison(root: Path) -> Path:
    cell = Cell(scenario=HOSTILE, strategy=HOSTILE, hosts=2, params={HOSTILE: HOSTILE, "n" * 500: {"a": "<b>"}})
    settings = SETTINGS | {HOSTILE: {HOSTILE: HOSTILE}}
    light_run(root, "base", cells=(cell, BURST), settings=settings)
    code = CodeRecord(commit=HOSTILE, dirty=True, command=HOSTILE, seed=7)
    light_run(root, "other", cells=(cell,), slower=3.0, code=code, verdict="fail")
    compare_into(root, "base", "other")
    return root / "page.html"


def compare_into(root: Path, *names: str) -> None:
    sides = [str(root / name) for name in names]
    run_comparison_page(sides, None, anyway=False, out=str(root / "page.html"))


def trended(root: Path, *, scenario: str, rig: str) -> Path:
    """The page of all runs below `root`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", root)
        run_trend_page(scenario, rig, out=None)
    return next(root.glob("trend-*.html"))


def trend(root: Path) -> Path:
    """A change, runs of another machine, a failed run, and a damaged one."""
    rig = RIG.model_copy(update={"hosts": [host.model_copy(update={"cpu_model": "another"}) for host in RIG.hosts]})
    name = comparable_name(BURST)
    floor = {f"runs {name}": 5.0, f"rps {name}": 1.06, f"p99_ms {name}": 1.1}
    for number, slower in enumerate([2.0] * 3 + [1.0] * 5 + [1.3] * 5):
        machines, started = rig if number < 3 else RIG, f"2026-11-{number + 1:02}T20:00:00Z"
        light_run(root, f"run-{number:02}", cells=(BURST, CLOSED), slower=slower, rig=machines, started=started,
                  noise_floor=floor)  # fmt: skip
    (root / "damaged").mkdir()
    (root / "damaged" / "run.yml").write_text("format: [\n", encoding="utf-8")
    return trended(root, scenario="throughput", rig="local")


def hostile_trend(root: Path) -> Path:
    cell = Cell(scenario=HOSTILE, strategy=HOSTILE, hosts=2, requests=9, params={HOSTILE: HOSTILE})
    rig = RIG.model_copy(update={"name": HOSTILE})
    for number in range(5):
        code = CodeRecord(commit=HOSTILE * number, dirty=True, command=HOSTILE, seed=7)
        light_run(root, f"r{number}", cells=(cell,), rig=rig, code=code, started=HOSTILE, verdict="fail")
    return trended(root, scenario=HOSTILE, rig=HOSTILE)


PAGES: dict[str, Callable[[Path], Path]] = {
    "comparison": comparison,
    "hostile comparison": hostile_comparison,
    "trend": trend,
    "hostile trend": hostile_trend,
}
"""Pages about several runs."""
