"""The page of a comparison: it shows the verdicts of harness/compare, and nothing that they do not say."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.cli.runs import compare_stored
from harness.compare.cells import RunData, comparable_name
from harness.compare.comparable import environment_differences
from harness.compare.rows import METRICS
from harness.compare.table import texts
from harness.model import Cell
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.report.cards_page import CardsPage, render
from harness.report.comparison_facts import Compared
from harness.report.comparison_page import MOST_LIMITS, build
from harness.report.page_model import Fold, Prose, Table
from harness.store.manifest import VariantRecord
from harness.store.run_reader import Run
from tests.harness.report.test_page import HOSTILE, Parsed, assert_sound
from tests.support.builders import RIG, SETTINGS
from tests.support.light_runs import BURST, CLOSED, light_run


def page_of(*sides: Sequence[Run], anyway: bool = False) -> CardsPage:
    """The page of sides against the first one."""
    baseline, *others = sides
    compared = []
    for letter, runs in zip("BCD", others, strict=False):
        data = [RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), rows=()) for run in (*baseline, *runs)]
        comparison = compare_stored(baseline, runs, anyway=anyway, comparisons=len(others))
        unlike = environment_differences(data)
        compared.append(Compared(name=letter, runs=tuple(runs), comparison=comparison, differences=unlike))
    return build(baseline, compared, command="./run report --compare A B")


def rows_of(page: CardsPage, card: str) -> list[list[str]]:
    """The texts of all rows of a card's table."""
    (found,) = [one for one in page.cards if one.name == card]
    folds = [block for block in found.blocks if isinstance(block, Fold)]
    (table,) = [block for fold in folds for block in fold.blocks if isinstance(block, Table)]
    return [[value.text for value in row] for row in table.rows]


def canaries(cpu_ms: float) -> dict[str, dict[str, dict[str, float]]]:
    return {when: {host.name: {"cpu_ms": cpu_ms} for host in RIG.hosts} for when in ("before", "after")}


def floor(ratio: float, *runs: Run) -> None:
    """Sets the noise floor of all cells, as `bench --aa 5` does."""
    for run in runs:
        names = {comparable_name(row.cell) for row in run.rows}
        run.manifest.noise_floor = {
            f"{metric} {name}": value
            for name in names
            for metric, value in (("runs", 5.0), *((metric, ratio) for metric in METRICS))
        }


def test_each_row_of_the_table_is_what_compare_prints(tmp_path: Path) -> None:
    a, b = light_run(tmp_path, "a", cells=(BURST, CLOSED)), light_run(tmp_path, "b", cells=(BURST, CLOSED), slower=1.3)
    floor(1.05, a, b)
    page = page_of([a], [b])
    printed = [texts(row) for row in compare_stored([a], [b]).rows]
    shown = rows_of(page, "throughput")
    assert sorted(row[2:-1] for row in shown) == sorted(list(row[1:-1]) for row in printed)
    assert {row[-1] for row in shown} == {row[-1].partition(" (")[0] for row in printed}
    assert page.headline.verdict == "slower"
    assert page.headline.sentence.startswith("B is slower than A in 5 of 5 rows, most in ")
    assert [(tile.label, tile.value) for tile in page.tiles][:2] == [("Slower", "5"), ("Faster", "0")]


def test_a_metric_that_is_only_shown_has_no_plot(tmp_path: Path) -> None:
    a, b = (light_run(tmp_path, name, cells=(CLOSED,)) for name in "ab")
    (card, *_) = page_of([a], [b]).cards
    assert [picture.title for picture in card.pictures] == ["Requests/s: no difference is shown in 1 row"]
    assert {row[-1] for row in rows_of(page_of([a], [b]), "throughput")} == {"~", "shown"}


def test_one_session_a_side_is_said_beside_the_plot(tmp_path: Path) -> None:
    page = page_of([light_run(tmp_path, "a")], [light_run(tmp_path, "b", slower=1.4)])
    assert page.headline.word == "NO DIFFERENCE SHOWN"
    assert all("shown beyond 2.00x" in picture.subtitle for picture in page.cards[0].pictures)
    assert any("how far sessions of this rig differ was not measured" in text for text in page.limits)


def test_a_missing_cell_is_named_and_is_no_verdict(tmp_path: Path) -> None:
    a, b = light_run(tmp_path, "a", cells=(BURST, CLOSED)), light_run(tmp_path, "b", cells=(BURST,))
    page = page_of([a], [b])
    assert page.headline.word == "NOT JUDGED"
    (prose,) = [block for block in page.cards[0].blocks if isinstance(block, Prose)]
    assert prose.points == ("MISSING (not in B, run b): for-update, 64 clients, 2 s",) or "MISSING" in prose.points[0]


def test_a_cell_that_only_the_other_side_has_is_no_loss(tmp_path: Path) -> None:
    a, b = light_run(tmp_path, "a", cells=(BURST,)), light_run(tmp_path, "b", cells=(BURST, CLOSED))
    assert page_of([a], [b]).headline.word == "NO DIFFERENCE SHOWN"


def test_machines_that_were_not_equally_fast_are_the_first_limit(tmp_path: Path) -> None:
    a = light_run(tmp_path, "a", canaries=canaries(4.0))
    b = light_run(tmp_path, "b", canaries=canaries(8.0), slower=1.5)
    floor(1.05, a, b)
    page = page_of([a], [b])
    assert page.headline.word == "NOT JUDGED"
    assert "the machines were not equally fast" in page.limits[0]


def test_what_takes_away_all_claims_of_any_comparison_is_never_folded(tmp_path: Path) -> None:
    a = light_run(tmp_path, "a", canaries=canaries(4.0))
    others = []
    for name in "bcd":
        run = light_run(tmp_path, name, canaries=canaries(8.0), rig=RIG.model_copy(update={"tls": True}))
        run.manifest.status = "aborted"
        run.manifest.findings = []
        others.append(run)
    page = page_of([a], *([one] for one in others), anyway=True)
    proves_nothing = [text for text in page.limits if text.endswith("(--anyway): this proves nothing")]
    moved = [text for text in page.limits if "the machines were not equally fast" in text]
    assert [text.split(" were ")[0] for text in proves_nothing] == ["A and B", "A and C", "A and D"]
    assert page.limits[:15] == (*proves_nothing, *moved)
    assert {letter for letter in "BCD" for text in moved if f" in {letter}:" in text} == set("BCD")
    assert 0 < len(page.limits[15:]) <= MOST_LIMITS


def test_a_side_that_failed_its_checks_is_said_before_its_speed(tmp_path: Path) -> None:
    a, b = light_run(tmp_path, "a"), light_run(tmp_path, "b", slower=0.5, verdict="fail")
    floor(1.05, a, b)
    page = page_of([a], [b])
    assert (page.headline.verdict, page.headline.word) == ("fail", "FAILED CHECKS")
    assert page.headline.sentence.startswith("B has the verdict fail, so its speed does not count; B is faster")


def test_an_environment_that_differs_is_named(tmp_path: Path) -> None:
    careless = copy.deepcopy(SETTINGS)
    careless["postgres"]["fsync"] = "off"  # type: ignore[index]
    a, b = light_run(tmp_path, "a"), light_run(tmp_path, "b", settings=careless)
    page = page_of([a], [b], anyway=True)
    assert (
        page.limits[0]
        == "A and B were compared although settings.postgres.fsync differ (--anyway): this proves nothing"
    )
    unlike = environment_differences(
        [RunData(run_id=run.run_id, manifest=run.manifest.model_dump(), rows=()) for run in (a, b)]
    )
    refused = build([a], [Compared(name="B", runs=(b,), refusal="unlike", differences=unlike)], command="./run")
    assert refused.headline.word == "REFUSED"
    assert "settings.postgres.fsync" in refused.headline.sentence
    assert refused.cards[0].verdict == "refused"


def test_of_several_sides_each_has_its_letter_and_the_number_is_said(tmp_path: Path) -> None:
    a, b = light_run(tmp_path, "a", cells=(BURST, CLOSED)), light_run(tmp_path, "b", cells=(BURST, CLOSED))
    c = light_run(tmp_path, "c", verdict="fail")
    page = page_of([a], [b], [c])
    assert [card.name for card in page.cards[:2]] == ["throughput, B", "throughput, C"]
    words = Parsed(render(page)).text
    assert "MISSING (not in C, run c)" in words
    assert "C (c) has the verdict fail" in words
    assert "2 comparisons were made with A" in words


def test_several_runs_a_side(tmp_path: Path) -> None:
    side_a, side_b = ([light_run(tmp_path, f"{n}-{i}", slower=s) for i in range(3)] for n, s in (("a", 1), ("b", 1.2)))
    page = page_of(side_a, side_b)
    assert page.headline.sentence.startswith("B is slower than A in 4 of 4 rows")
    assert all("…" in row[5] for row in rows_of(page, "throughput"))
    assert "Student's t over the medians of the runs" in Parsed(render(page)).text


def test_variants_of_a_run_are_compared_within_it(tmp_path: Path) -> None:
    made = parse_vary("vary", "app_pool_size=5,20")
    cells = [with_variant(BURST, variant, varied_keys(made)) for variant in made]
    variants = [VariantRecord(name=variant.name) for variant in made]
    run = light_run(tmp_path, "varied", cells=cells, variants=variants)
    page = page_of([run], [light_run(tmp_path, "other", cells=cells)])
    within = next(card for card in page.cards if card.name == "throughput, within varied")
    assert [picture.title[:10] for picture in within.pictures] == [
        "Requests/s",
        "p50 latenc",
        "p95 latenc",
        "p99 latenc",
    ]


def test_no_cell_id_reaches_a_reader(tmp_path: Path) -> None:
    a = light_run(tmp_path, "a", cells=(BURST, CLOSED))
    b = light_run(tmp_path, "b", cells=(BURST, CLOSED), trials=3)
    words = Parsed(render(page_of([a], [b]))).text
    for cell in (BURST, CLOSED):
        assert cell.name not in words
        assert comparable_name(cell) not in words


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    cell = Cell(scenario=HOSTILE, strategy=HOSTILE, params={HOSTILE: HOSTILE})
    rig = RIG.model_copy(update={"name": HOSTILE})
    a, b = (light_run(tmp_path, name, cells=(cell, BURST), rig=rig, warnings=[HOSTILE]) for name in "ab")
    page = Parsed(render(page_of([a], [b])))
    assert_sound(page)
    assert "<script>" in page.text


@pytest.mark.parametrize("trials", [1, 3])
def test_too_few_trials_are_no_verdict_and_no_interval(tmp_path: Path, trials: int) -> None:
    a, b = (light_run(tmp_path, name, trials=trials) for name in "ab")
    page = page_of([a], [b])
    assert page.headline.word == "NOT JUDGED"
    assert {row[5] for row in rows_of(page, "throughput")} == {"-"}
    assert page.cards[0].pictures == ()
    fold = page.cards[0].blocks[0]
    assert isinstance(fold, Fold)
    assert fold.title == "Ratios that could not be judged"


def test_a_run_against_itself_and_scenarios_of_like_names_make_a_sound_page(tmp_path: Path) -> None:
    made = parse_vary("vary", "app_pool_size=5,20")
    cells = [
        with_variant(replace(BURST, scenario=scenario), variant, varied_keys(made))
        for scenario in ("a b", "a-b")
        for variant in made
    ]
    run = light_run(tmp_path, "a", cells=cells, variants=[VariantRecord(name=variant.name) for variant in made])
    page = Parsed(render(page_of([run], [run])))
    assert_sound(page)
    assert "A and B are the same run" in page.text
