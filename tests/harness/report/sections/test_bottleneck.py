"""Saturated parts of cells, and the fold with the telemetry of a scenario."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.analysis.bottleneck import Attribution
from harness.analysis.telemetry_totals import TelemetryReading
from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.report.page import write_report
from harness.report.page_model import Fold, Picture, Table, Value
from harness.report.run_summary import summarise
from harness.report.sections.bottleneck import saturated_parts, telemetry_fold
from harness.report.trial_data import TrialData
from harness.store.run_reader import Run
from harness.store.run_writer import RunWriter
from tests.support.builders import Made, concurrent, store
from tests.support.pages import page_of

ROLES = {"db": "db", "app-1": "app", "app-2": "app", "lb": "lb", "load": "load"}
CELL = Cell(scenario="throughput", hosts=1)


def host(second: float, name: str = "app-1", order: int = 1, **metrics: float) -> TelemetryReading:
    """A reading of one second of a host at half its cap."""
    usual = {"host_seconds": 1.0, "cpu_used_cores": 0.5, "cpu_cap_cores": 1.0, "machine_cpu_share": 0.25}
    return TelemetryReading(second=second, order=order, host=name, metrics={**usual, **metrics})


def trial(number: int = 1, *, cell: Cell = CELL, valid: bool = True, **attribution: object) -> TrialData:
    figures = {"sent": 9.0, "mean_ms": 40.0, "pool_wait_ms": 30.0}
    row = TrialResult(
        trial=Trial(cell=cell, number=number, order=number, seed=1),
        validity="valid" if valid else "broken",
        figures=figures,
    )
    return TrialData(row=row, attribution=Attribution(line="text", **attribution))  # type: ignore[arg-type]


def test_saturated_parts_of_a_cell() -> None:
    both, one = trial(1, saturated=("app CPU", "pool waiting")), trial(2, saturated=("app CPU",))
    assert saturated_parts([both, one], CELL.name) == Value("app CPU, pool waiting in 1 of 2")
    idle = trial(3, levels={"app CPU": 0.614, "machine": 0.3, "lock waits": 0.4})
    assert saturated_parts([idle], CELL.name) == Value("nothing saturated", "app CPU 61 % at most")
    assert saturated_parts([trial(4, valid=False, saturated=("machine",)), idle], CELL.name).text == "nothing saturated"


def test_unknown_bottleneck_has_a_reason() -> None:
    short = trial(1, unknown="it ran only 0.6 s")
    why = "because it ran only 0.6 s; 75 % of the service time was waiting for a connection"
    assert saturated_parts([short], CELL.name) == Value("not known", why)
    long = saturated_parts([trial(1, unknown="no readings of " + "app-1, " * 30)], CELL.name)
    assert len(long.note) < 140, "the table of trials has it whole"
    assert saturated_parts([trial(1, valid=False)], CELL.name) == Value("not known", "because no trial is valid")
    assert saturated_parts([short, trial(2, saturated=("machine",))], CELL.name) == Value("machine")


def observed(run: Run) -> Run:
    """Returns the run with ten seconds of telemetry in its first trial."""
    rows = [
        {"second": second, "order": 1, "host": name, "metric": metric, "value": value}
        for second in range(1, 11)
        for name in ("app-1", "db", "lb", "load")
        for metric, value in host(second, name).metrics.items()
    ]
    RunWriter(run.path.parent, run.manifest, run.path).append("telemetry", rows)
    return run


def test_telemetry_is_folded_with_a_row_per_trial(tmp_path: Path) -> None:
    run = observed(store(tmp_path, [Made(cell=concurrent(), seconds=9.0), Made(cell=concurrent(), number=2)]))
    (fold,) = [
        block for block in page_of(run).sections[0].blocks if isinstance(block, Fold) and block.title == "Telemetry"
    ]
    picture, trials = fold.blocks
    assert isinstance(picture, Picture)
    assert isinstance(trials, Table)
    assert [row[0].text for row in trials.rows] == ["1", "2"]
    line = trials.rows[0][-1].text
    assert line.startswith(
        "not known, because there is no telemetry of db, app-2, app-3, app-4; not saturated: load CPU 50%"
    )
    assert trials.rows[1][-1].text == "not known, because there is no telemetry of it"
    text = write_report(summarise(run)).read_text(encoding="utf-8")
    assert text.count("<details>") == text.count("</details>") >= 2


def test_without_telemetry_there_is_no_fold(tmp_path: Path) -> None:
    (summary,) = summarise(store(tmp_path, [Made(cell=concurrent())])).scenarios
    assert telemetry_fold(summary, [], None) == ()


@pytest.mark.parametrize(
    "damage", ["second,order,host,metric,value\n1,1,db,pg_commits,many\n", "a,b\n1,2\n", "\x00\xff"]
)
def test_damaged_telemetry_is_named_and_the_page_written(tmp_path: Path, damage: str) -> None:
    run = store(tmp_path, [Made(cell=concurrent())])
    (run.path / "telemetry.csv").write_text(damage, encoding="latin-1")
    page = page_of(run)
    assert any("telemetry.csv" in one.text for one in page.notices.limiting)
    assert page.sections[0].findings == ()
