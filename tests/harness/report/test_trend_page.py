"""The page of a trend: its claims are those of compare/trend, and few runs claim nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cli.runs import data_of, failed_cells
from harness.compare.cells import comparable_name
from harness.compare.rows import METRICS
from harness.compare.trend import trend
from harness.model import Cell
from harness.report.cards_page import CardsPage, render
from harness.report.page_model import Fold, Prose, Table
from harness.report.trend_page import build
from harness.report.trend_words import TrendSource, letter, lost_of
from harness.store.manifest import FindingRecord
from harness.store.run_reader import Run
from tests.harness.report.test_page import HOSTILE, Parsed, assert_sound
from tests.support.builders import CODE, RIG
from tests.support.light_runs import BURST, CLOSED, light_run

ELSEWHERE = RIG.model_copy(update={"hosts": [host.model_copy(update={"kernel": "7.0"}) for host in RIG.hosts]})


def page_of(runs: Sequence[Run], **more: Any) -> CardsPage:
    scenario = runs[0].rows[0].cell.scenario
    found = trend(list(map(data_of, runs)), wrong={run.run_id: failed_cells(run) for run in runs})
    return build(
        TrendSource(rig="local", scenario=scenario, runs=tuple(runs), trend=found, **more), command="./run report"
    )


def made(root: Path, *slower: float, prefix: str = "r", cells: Sequence[Cell] = (BURST,), **manifest: Any) -> list[Run]:
    """Runs of one after the other minute."""
    return [
        light_run(root, f"{prefix}{n:02}", slower=factor, cells=cells,
                  **{"started": f"2026-11-28T20:{n:02}:00Z"} | manifest)
        for n, factor in enumerate(slower)
    ]  # fmt: skip


def test_a_step_is_the_headline_with_its_run_and_size(tmp_path: Path) -> None:
    page = page_of(made(tmp_path, *[1.0] * 6, *[1.25] * 6))
    assert page.headline.word == "CHANGED"
    assert "with run r06" in page.headline.sentence
    assert page.cards[0].verdict == "slower"
    assert "Requests/s fell by " in page.cards[0].answer
    assert "p99 latency rose by " in page.cards[0].answer
    assert page.cards[0].blocks == (Prose(paragraphs=("No recorded fact differs between run r05 and run r06.",)),)


def test_what_differs_between_the_runs_beside_a_change_is_listed(tmp_path: Path) -> None:
    newer = CODE.model_copy(update={"commit": "f" * 40})
    runs = [*made(tmp_path, *[1.0] * 6), *made(tmp_path, *[1.25] * 6, prefix="s", code=newer)]
    (table,) = page_of(runs).cards[0].blocks
    assert isinstance(table, Table)
    assert table.caption == "What differs between run r05 and run s00"
    assert [row[0].text for row in table.rows] == ["code.commit"]


def test_without_a_step_no_change_is_shown_and_none_is_excluded(tmp_path: Path) -> None:
    page = page_of(made(tmp_path, *[1.0] * 8))
    assert page.headline.word == "NO CHANGE SHOWN"
    assert "is not excluded" in page.headline.sentence
    assert [picture.title for picture in page.cards[0].pictures] == [
        "Requests/s: no change is shown in 8 runs",
        "p99 latency: no change is shown in 8 runs",
    ]


@pytest.mark.parametrize("number", [1, 3])
def test_with_few_runs_the_page_says_so_and_claims_nothing(tmp_path: Path, number: int) -> None:
    page = page_of(made(tmp_path, *[1.0, 5.0, 9.0][:number]))
    assert (page.headline.verdict, page.headline.word) == ("not judged", "TOO FEW RUNS")
    assert f"at most {number} run" in page.headline.sentence
    assert page.cards[0].name == "Not judged"
    (fold,) = page.cards[0].blocks
    assert isinstance(fold, Fold)
    assert fold.open


def test_runs_of_another_environment_are_marked_and_not_mixed_in(tmp_path: Path) -> None:
    old = made(tmp_path, *[3.0] * 5, prefix="a", rig=ELSEWHERE)
    page = page_of([*old, *made(tmp_path, *[1.0] * 5, prefix="b")])
    assert page.headline.word == "NO CHANGE SHOWN"
    assert page.limits[0] == (
        "5 runs of environment b (◇) not compared with the newest: other app.kernel, db.kernel, lb.kernel, load.kernel"
    )
    (table,) = [block for block in page.cards[-1].blocks if isinstance(block, Table)]
    assert [row[3].text for row in table.rows] == ["b"] * 5 + ["a"] * 5


def test_a_failed_run_does_not_count_and_its_loss_is_shown(tmp_path: Path) -> None:
    runs = made(tmp_path, *[1.0] * 5)
    lost = FindingRecord(
        scenario="throughput", cell=BURST.name, check="final value", verdict="fail", detail="lost", numbers={"lost": 7}
    )
    runs.append(light_run(tmp_path, "bad", slower=0.2, verdict="fail", findings=[lost], started="2026-11-28T21:00:00Z"))
    page = page_of(runs)
    assert (page.headline.verdict, page.headline.word) == ("fail", "FAILED CHECKS")
    assert page.headline.sentence.startswith("the newest run bad has the verdict fail, ")
    assert "no change is shown" in page.headline.sentence
    (card,) = [card for card in page.cards if card.name == "Lost updates"]
    assert (card.verdict, card.answer) == ("fail", "7 acknowledged writes were lost, first in run bad.")
    assert "run bad has the verdict fail" in page.limits
    assert lost_of(runs[0], "throughput") is None
    assert card.pictures[0].subtitle == "5 of 6 runs did not judge them"


def test_a_measured_floor_is_named_and_an_unmeasured_one_too(tmp_path: Path) -> None:
    runs = made(tmp_path, *[1.0] * 4)
    assert "noise floor not measured" in page_of(runs).cards[0].pictures[0].subtitle
    name = comparable_name(BURST)
    for run in runs:
        run.manifest.noise_floor = {f"runs {name}": 5.0} | {f"{metric} {name}": 1.08 for metric in METRICS}
    assert "band: noise floor of 8.0%" in page_of(runs).cards[0].pictures[0].subtitle


def test_latencies_of_closed_loops_are_drawn_and_not_judged(tmp_path: Path) -> None:
    page = page_of(made(tmp_path, *[1.0] * 5, cells=(CLOSED,)))
    assert [picture.title for picture in page.cards[0].pictures] == [
        "Requests/s: no change is shown in 5 runs",
        "p99 latency: closed loop, drawn and not judged",
    ]


def test_other_revisions_and_unreadable_runs_are_told(tmp_path: Path) -> None:
    runs = made(tmp_path, *[1.0] * 4)
    runs[2].manifest.code = CODE.model_copy(update={"commit": "f" * 40})
    page = page_of(runs, unreadable=("run x could not be read: not plain YAML",))
    assert "run x could not be read: not plain YAML" in page.limits
    assert 'stroke-dasharray="1,4"' in page.cards[0].pictures[0].svg
    (table,) = [block for block in page.cards[-1].blocks if isinstance(block, Table)]
    assert [row[6].note for row in table.rows] == ["", "", "code.commit", "code.commit"]


def test_no_cell_id_reaches_a_reader_and_hostile_text_stays_text(tmp_path: Path) -> None:
    cell = Cell(scenario=HOSTILE, strategy=HOSTILE, requests=5, params={HOSTILE: HOSTILE})
    page = Parsed(render(page_of(made(tmp_path, *[1.0] * 4, cells=(cell,), started=HOSTILE, warnings=[HOSTILE]))))
    assert_sound(page)
    assert cell.name not in page.text


def test_environments_have_letters_and_then_numbers() -> None:
    assert [letter(n) for n in (0, 25, 26)] == ["a", "z", "26"]


def about(check: str, verdict: Any, **numbers: int) -> FindingRecord:
    return FindingRecord(
        scenario="throughput", cell=BURST.name, check=check, verdict=verdict, detail=check, numbers=numbers
    )


@pytest.mark.parametrize(
    ("findings", "lost", "verdict", "answer"),
    [
        (
            [about("final value", "unknown", lost=0), about("ledger", "fail")],
            None,
            "fail",
            "No run of this scenario judged lost updates. 1 run failed a check of the writes, first run r03.",
        ),
        (
            [about("final value", "unknown", lost=0)],
            None,
            "unknown",
            "No run of this scenario judged lost updates. In 1 run a check of the writes is unknown, first in run r03.",
        ),
        (
            [about("final value", "pass", lost=0), about("ledger", "fail")],
            0,
            "fail",
            "No acknowledged write was lost in 1 judged run. 1 run failed a check of the writes, first run r03.",
        ),
        (
            [about("nothing lost", "fail", lost=2), about("final value", "unknown", lost=0)],
            2,
            "fail",
            "2 acknowledged writes were lost, first in run r03. In 1 run",
        ),
        ([about("ledger", "pass")], None, "unknown", "No run of this scenario judged lost updates."),
        ([about("final value", "pass", lost=0)], 0, "pass", "No acknowledged write was lost in 1 judged run."),
    ],
)
def test_a_loss_that_is_not_known_is_no_pass(
    tmp_path: Path, findings: list[FindingRecord], lost: int | None, verdict: str, answer: str
) -> None:
    runs = made(tmp_path, *[1.0] * 4)
    runs[3].manifest.findings = findings
    assert lost_of(runs[3], "throughput") == lost
    page = page_of(runs)
    (card,) = [card for card in page.cards if card.name == "Lost updates"]
    assert card.verdict == verdict
    assert card.answer.startswith(answer) or answer.startswith(card.answer)
    (tile,) = [tile for tile in page.tiles if tile.label == "Lost updates"]
    assert tile.state == verdict


def test_a_failed_check_of_a_scenario_that_this_version_does_not_have_excludes_its_cell(tmp_path: Path) -> None:
    cell = Cell(scenario="of-a-later-version", requests=5)
    failed = FindingRecord(scenario=cell.scenario, cell=cell.name, check="x", verdict="fail", detail="x")
    run = light_run(tmp_path, "r", cells=(cell,), findings=[failed])
    assert failed_cells(run) == {comparable_name(cell)}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [({"verdict": "unknown"}, "unknown"), ({"verdict": "invalid"}, "invalid"), ({"status": "aborted"}, "unknown")],
)
@pytest.mark.parametrize("number", [2, 6])
def test_a_newest_run_that_is_no_pass_is_the_headline(
    tmp_path: Path, changed: dict[str, str], verdict: str, number: int
) -> None:
    runs = made(tmp_path, *[1.0] * number)
    for name, value in changed.items():
        setattr(runs[-1].manifest, name, value)
    headline = page_of(runs).headline
    assert (headline.verdict, headline.word) == (verdict, "CHECKS NOT PASSED")
    assert headline.sentence.startswith(f"the newest run {runs[-1].run_id} ")


def test_a_card_has_the_worst_verdict_of_the_newest_change(tmp_path: Path) -> None:
    runs = made(tmp_path, *[1.0] * 6, *[1.25] * 6)
    found = trend(list(map(data_of, runs)))
    series = [
        replace(one, changes=tuple(
            replace(change, row=replace(change.row, verdict="faster")) if one.metric == metric else change
            for change in one.changes
        ))
        for metric in ("rps",) for one in found.series
    ]  # fmt: skip
    for ordered in (series, series[::-1]):
        source = TrendSource(rig="local", scenario="throughput", runs=tuple(runs), trend=replace(found, series=ordered))
        assert build(source, command="./run report").cards[0].verdict == "slower"
