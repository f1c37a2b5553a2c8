"""What a run compared within blocks, in the printed summary and on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.model import Cell, Trial
from harness.report import terminal
from harness.report.page import build, render
from harness.report.run_summary import summarise
from harness.store.manifest import VariantRecord
from harness.store.run_reader import Run
from tests.support import builders
from tests.support.builders import Made, found, store
from tests.support.pages import only_section, rows_of


def stored(root: Path, repeats: int, *, slower: float = 1.2, verdict: str = "pass") -> Run:
    trials, findings = [], []
    for strategy, factor in (("for-update", 1.0), ("upsert", slower)):
        cell = Cell(scenario="throughput", strategy=strategy, params={"keys": "hot"})
        findings.append(found(cell, "final value", verdict if strategy == "upsert" else "pass", lost=0))
        for number in range(1, repeats + 1):
            seconds = factor * (1 + number / 1000)
            trials.append(Made(cell=cell, ok=1000, seconds=seconds, median_ms=10 * seconds, number=number))
    return store(root, trials, findings)


def printed(run: Run) -> list[str]:
    return list(terminal.lines(summarise(run)))


def test_summary_has_each_pair_with_its_verdicts(tmp_path: Path) -> None:
    output = printed(stored(tmp_path, 8))
    assert max(map(len, output)) <= 80
    start = next(n for n, line in enumerate(output) if line.startswith("compared within 8 blocks"))
    text = " ".join(" ".join(output[start : start + 12]).split())
    assert "A is the baseline): signed rank test, p corrected over 1 row" in text
    assert "they are shown, not compared; --rate R measures an open load" in text
    assert "B: upsert; A: for-update" in text
    assert "0.833 0.833 … 0.833 0.008 slower by 16.7%" in text
    assert [line.split()[-1] for line in output if line.strip().startswith("p50_ms")] == ["shown"]


@pytest.mark.parametrize(("repeats", "mentioned"), [(1, False), (2, True), (5, True)])
def test_few_blocks_are_one_line_and_one_block_is_none(tmp_path: Path, repeats: int, *, mentioned: bool) -> None:
    text = " ".join(" ".join(printed(stored(tmp_path, repeats))).split())
    assert ("no difference can be claimed: " in text) == mentioned
    assert ("a claim needs 6 or more" in text) == mentioned
    assert "slower by" not in text


def test_page_has_a_table_of_pairs(tmp_path: Path) -> None:
    run = stored(tmp_path, 8)
    rows = rows_of(only_section(run), "Compared within blocks")
    assert [row["metric"].text for row in rows] == ["rps", "p50_ms", "p95_ms", "p99_ms"]
    assert (rows[0]["pair"].text, rows[0]["blocks"].text) == ("B: upsert; A: for-update", "8")
    assert rows[0]["verdict"].text == "slower by 16.7%"
    assert (rows[1]["verdict"].text, rows[1]["verdict"].note) == ("shown", "closed loop: omits stalls")
    assert "Compared within blocks" in render(build(summarise(run)))
    assert "Compared within blocks" not in render(build(summarise(stored(tmp_path / "one", 1))))


def test_strategy_that_failed_a_check_has_no_speed(tmp_path: Path) -> None:
    text = " ".join(" ".join(printed(stored(tmp_path, 8, verdict="fail"))).split())
    assert "upsert failed a check" in text
    assert "slower by" not in text


def variants_of(root: Path, *, valid: bool = True) -> Run:
    """Nine blocks of the variants `on` and `off`, of which `off` is faster; the baseline is `on`."""
    trials, findings = [], []
    for name, factor in (("off", 0.8), ("on", 1.0)):
        params = {"keys": "hot", "variant": name, "varied": "postgres.fsync", "postgres_fsync": name}
        cell = Cell(scenario="throughput", strategy="upsert", params=params)
        findings.append(found(cell, "final value", lost=0))
        for number in range(1, 10):
            seconds = factor * (1 + number / 1000)
            made = Made(cell=cell, ok=1000, seconds=seconds, median_ms=10 * seconds, number=number, valid=valid)
            trials.append(made)
    settings = [VariantRecord(name=name, settings={"postgres.fsync": name}) for name in ("on", "off")]
    return store(root, trials, findings, variants=settings)


@pytest.fixture
def block_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trials of a block have one seed, as the planner gives it."""

    def trial(**columns: Any) -> Trial:
        return Trial(**columns | {"seed": columns["number"]})

    monkeypatch.setattr(builders, "Trial", trial)


@pytest.mark.usefixtures("block_seeds")
def test_variants_are_compared_with_the_first_of_the_manifest(tmp_path: Path) -> None:
    text = " ".join(" ".join(printed(variants_of(tmp_path))).split())
    assert "compared within 9 blocks" in text
    assert "B: off; A: on" in text
    assert "1.250 1.250 … 1.250 0.004 faster by 25.0%" in text


@pytest.mark.usefixtures("block_seeds")
def test_headline_and_card_of_variants_answer_which_is_faster_and_how_sure(tmp_path: Path) -> None:
    page = build(summarise(variants_of(tmp_path)))
    answer = "a variant is faster than its baseline in 1 of 1 row, most in requests/s of off: 25.0%"
    assert page.headline.sentence.startswith(answer)
    (card,) = page.sections
    assert card.answer.lower().startswith(answer)
    assert "Most requests/s" not in card.answer
    assert card.picture
    assert card.picture.title == "Requests/s: the variant is faster in 1 of 1 row"
    assert "1.250 [1.250 … 1.250]" in card.picture.svg


@pytest.mark.usefixtures("block_seeds")
def test_variants_that_were_not_compared_are_not_called_fastest(tmp_path: Path) -> None:
    page = build(summarise(variants_of(tmp_path, valid=False)))
    assert "could not be judged" in page.headline.sentence
    assert "Most requests/s" not in page.sections[0].answer


@pytest.mark.usefixtures("block_seeds")
def test_variants_without_a_valid_block_are_mentioned(tmp_path: Path) -> None:
    text = " ".join(" ".join(printed(variants_of(tmp_path, valid=False))).split())
    assert "no block in which both trials are valid" in text
