"""Writes report.html: one self-contained file for decision makers and for readers who want every number.

The page has no script and loads nothing. It stays readable without its style sheet (a content security policy may
block it), in print, on a phone, with a dark theme and with a screen reader. Building it is pure; the template does
the layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from harness.analysis.bottleneck import MEANING
from harness.checks.finding import judged
from harness.plan.scenario import Scenario
from harness.report.cell_labels import reading_order
from harness.report.charts.converter import converters
from harness.report.charts.drawing import checked
from harness.report.charts.rig import rig_drawing, rig_words
from harness.report.criteria import Answer
from harness.report.html import as_html
from harness.report.notices import Notices, notices
from harness.report.page_model import Fold, Picture, Section, Table
from harness.report.run_summary import Headline, RunSummary
from harness.report.scenario_extras import SCENARIO_EXTRAS, extras_of
from harness.report.section_input import SectionInput
from harness.report.sections.environment import environment_blocks, reproduction
from harness.report.sections.scenario import anchor_of, section
from harness.report.sections.sqlite_vs_postgres import wrote_to_sqlite
from harness.report.sections.validity import validity_tables
from harness.report.summary import ScenarioSummary, names_of
from harness.report.tiles import Tile, tiles
from harness.report.trial_data import read_trials
from harness.scenarios import SCENARIOS
from harness.store.files import write_atomically
from harness.store.manifest import RigRecord
from harness.store.rig_cores import created_hosts, shares_cores
from harness.text import plural

LARGE = 30
"""Trials from which the charts are drawn by processes of their own: their start takes half a second."""
WORK = "Most requests add 1 to a counter in the database, over HTTP."


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The content of the page, in reading order."""

    run_id: str
    started: str
    finished: str
    status: str
    command: str
    headline: Headline
    about: str
    """How much was measured, and for how long."""
    rig: Picture | None
    tiles: tuple[Tile, ...]
    answers: tuple[Answer, ...]
    notices: Notices
    sections: tuple[Section, ...]
    validity: tuple[Table | Fold, ...]
    environment: tuple[Table | Fold, ...]
    reproduction: tuple[str, ...]
    created_hosts: bool


def write_report(summary: RunSummary) -> Path:
    """Writes report.html into the run's folder and returns its path. Raises RigError on a full disk."""
    return write_page(build(summary), summary.run.path)


def write_page(page: Page, folder: Path) -> Path:
    """Writes report.html into `folder` and returns its path. Raises RigError on a full disk."""
    path = folder / "report.html"
    write_atomically(path, render(page))
    return path


def build(summary: RunSummary, scenarios: Mapping[str, Scenario] = SCENARIOS) -> Page:
    """Returns the page of a run. A damaged file costs the data in it, and the page names the file."""
    run, manifest = summary.run, summary.run.manifest
    data = read_trials(
        run,
        counts_by_key=[name for name, extras in SCENARIO_EXTRAS.items() if extras.counts_by_key],
        requests=[name for name, extras in SCENARIO_EXTRAS.items() if extras.shows_requests],
    )
    on_sqlite = [one.name for one in summary.scenarios if wrote_to_sqlite(one)]
    explains = sorted(on_sqlite, key=lambda name: not extras_of(name).explains_sqlite)[:1]

    def input_of(one: ScenarioSummary) -> SectionInput:
        trials = [trial for trial in data.trials if trial.row.cell.scenario == one.name]
        return SectionInput(
            summary=one,
            scenario=scenarios.get(one.name),
            trials=sorted(trials, key=lambda trial: reading_order(trial.row.cell, names_of(run))),
            series=data.series.get(one.name),
            within=summary.within,
            shared_cores=shares_cores(manifest.rig),
            explains_sqlite=one.name in explains,
        )

    inputs = [input_of(one) for one in summary.scenarios]
    shown = tiles(summary, inputs)
    return Page(
        run_id=run.run_id,
        started=manifest.started,
        finished=manifest.finished,
        status=manifest.status,
        command=manifest.code.command,
        headline=summary.headline,
        about=_about(summary),
        rig=_rig(manifest.rig),
        tiles=shown,
        answers=summary.answers,
        notices=notices(summary, shown, data.damage),
        sections=_in_rows(_sections(inputs, trials=len(run.rows))),
        validity=tuple(validity_tables(manifest, data.trials, summary.scenarios)),
        environment=tuple(environment_blocks(manifest)),
        reproduction=reproduction(manifest),
        created_hosts=created_hosts(manifest.rig),
    )


def _sections(inputs: Sequence[SectionInput], *, trials: int) -> list[Section]:
    """Returns the sections; those of a large run in parallel, because drawing takes most of the time."""
    if trials < LARGE:
        return [section(one) for one in inputs]
    with converters() as number, ThreadPoolExecutor(max_workers=max(number, 1)) as threads:
        return list(threads.map(section, inputs))


def _in_rows(sections: Sequence[Section]) -> tuple[Section, ...]:
    """Returns the sections with `wide` set: where a fold is open, and where a card would be alone in its row.

    Rows are then full, and the order of the cards is that of the navigation.
    """
    wide, alone = set[int](), list[int]()
    for index, one in enumerate(sections):
        if any(isinstance(block, Fold) and block.open for block in one.blocks):
            wide |= {index, *alone}
            alone = []
        else:
            alone = [] if alone else [index]
    return tuple(replace(one, wide=index in wide | set(alone)) for index, one in enumerate(sections))


def _about(summary: RunSummary) -> str:
    """Returns `47 trials of 9 scenarios in 312 s (sum of all stages), 88 checks`."""
    run = summary.run
    seconds = sum(run.manifest.stages.values())
    took = f" in {seconds:,.0f} s (sum of all stages)" if seconds >= 1 else ""
    measured = f"{plural(len(run.rows), 'trial')} of {plural(len(summary.scenarios), 'scenario')}{took}"
    return f"{measured}, {plural(len(judged(run.findings)), 'check')}"


def _rig(rig: RigRecord) -> Picture | None:
    """Returns the drawing of the rig; None for a run that knows no hosts."""
    shared = shares_cores(rig)
    drawing = rig_drawing(rig, shared_cores=shared)
    return (
        Picture(name="rig", caption=WORK, svg=checked(drawing), alt=rig_words(rig, shared_cores=shared))
        if drawing
        else None
    )


def render(page: Page) -> str:
    """Returns the page as HTML."""
    return as_html("page.html.j2", page=page, saturated=MEANING, anchor_of=anchor_of)
