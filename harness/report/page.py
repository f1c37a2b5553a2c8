"""report.html: one file that needs nothing else, for who has to decide and for who wants to see every figure.

The page is static: no script, nothing loaded, readable without its style sheet (a CSP may take that away), in
print, on a phone, in the dark, by ear. It is built pure from what was read of a run; the template lays it out.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from harness.analysis.bottleneck import MEANING
from harness.plan.scenario import Scenario
from harness.report.cell_labels import place
from harness.report.charts.select import pictures
from harness.report.criteria import Answer, answers
from harness.report.formatting import SYMBOLS
from harness.report.page_model import Fold, Section, Table
from harness.report.sections.bottleneck import behind
from harness.report.sections.environment import environment_tables, hosts_are_ours, reproduction, shares_cores
from harness.report.sections.scenario import SectionInput, section
from harness.report.sections.sqlite_vs_postgres import written
from harness.report.sections.validity import validity_tables
from harness.report.summary import Headline, ScenarioSummary, headline, summarise
from harness.report.trial_data import read
from harness.scenarios import SCENARIOS
from harness.store.files import write_atomically
from harness.store.run_reader import Run
from harness.text import printable

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the template shows, in the order a reader wants it."""

    run_id: str
    started: str
    finished: str
    status: str
    command: str
    headline: Headline
    answers: tuple[Answer, ...]
    warnings: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    validity: tuple[Table | Fold, ...]
    environment: tuple[Table, ...]
    reproduction: tuple[str, ...]
    hosts_are_ours: bool
    damage: tuple[str, ...] = ()


def write_report(run: Run) -> Path:
    """Writes report.html into the run's folder and returns its path. Raises RigError on a full disk."""
    path = run.path / "report.html"
    write_atomically(path, render(build(run)))
    return path


def build(run: Run, scenarios: Mapping[str, Scenario] = SCENARIOS) -> Page:
    """The page of a run. A damaged samples or evidence file costs what stood in it, and the page says so."""
    summaries = summarise(run)
    seen = read(run)
    manifest = run.manifest

    on_file = [summary.name for summary in summaries if written(summary)]
    explains = "sqlite-vs-postgres" if "sqlite-vs-postgres" in on_file else next(iter(on_file), "")

    def of(summary: ScenarioSummary) -> SectionInput:
        of_it = [reading for reading in seen.readings if reading.row.cell.scenario == summary.name]
        mine = sorted(of_it, key=lambda reading: place(reading.row.cell))
        return SectionInput(
            summary=summary,
            scenario=scenarios.get(summary.name),
            readings=mine,
            pictures=pictures(summary, mine, shared_cores=shares_cores(manifest.rig)),
            explains=summary.name == explains,
            behind=behind(summary, of_it, seen.courses.get(summary.name)),
        )

    return Page(
        run_id=run.run_id,
        started=manifest.started,
        finished=manifest.finished,
        status=manifest.status,
        command=manifest.code.command,
        headline=headline(run, summaries),
        answers=answers(run),
        warnings=tuple(manifest.warnings),
        skipped=tuple(manifest.skipped.items()),
        sections=tuple(section(of(summary)) for summary in summaries),
        validity=tuple(validity_tables(manifest, seen.readings, summaries)),
        environment=tuple(environment_tables(manifest)),
        reproduction=reproduction(manifest),
        hosts_are_ours=hosts_are_ours(manifest.rig),
        damage=seen.damage,
    )


def render(page: Page) -> str:
    """The page as HTML. Every text is escaped, and stripped of what cannot be printed."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    text = environment.get_template("page.html.j2").render(
        page=page, style=style, style_hash=f"sha256-{digest}", symbols=SYMBOLS, saturated=MEANING
    )
    return text.encode("utf-8", "replace").decode("utf-8")
