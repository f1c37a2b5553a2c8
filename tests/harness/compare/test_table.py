"""The text of a comparison."""

from __future__ import annotations

import pytest

from harness.compare.compare import compare
from harness.compare.rows import Row
from harness.compare.table import HEAD, figure, text, texts
from tests.support.comparisons import compared, run, trial


def test_footer_of_a_comparison_without_tests() -> None:
    assert "p: no row was tested; with --repeat 5 on both sides each row is." in text(compared(trials=1))
    assert "p: no row was tested." in text(compare(run([trial(1)]), run([trial(1, valid="false")], "B")))


@pytest.mark.parametrize(("trials", "shown"), [(1, "-"), (4, "-"), (5, "1.000 … 1.000")])
def test_interval_is_shown_if_there_are_enough_trials(trials: int, shown: str) -> None:
    same = run([trial(n) for n in range(trials)])
    assert {texts(row)[4] for row in compare(same, same).rows} == {shown}
    assert {texts(row)[3] for row in compare(same, same).rows} == {"1.000"}


def test_text_shows_every_row_and_reason() -> None:
    a = run([trial(n) for n in range(5)])
    b = run([trial(n, rps=2000.0, p50_ms=5.1) for n in range(5)] + [trial(1, scenario="new")], "B")
    shown = text(compare(a, b))
    (line,) = (line for line in shown.splitlines() if line.lstrip().startswith("rps "))
    assert line.split() == [
        "rps",
        "3,000",
        "2,000",
        "0.667",
        "0.667",
        "…",
        "0.667",
        "0.032",
        "5",
        "/",
        "5",
        "slower",
        "by",
        "33.3%",
    ]
    assert "~ (within the noise floor of 4.0%)" in shown
    assert "MISSING (not in A, run A)" in shown
    assert "Noise floor, at most: rps 4.0%" in shown
    assert "Holm-corrected over the 4 rows tested." in shown


def test_control_characters_of_a_file_do_not_reach_the_terminal() -> None:
    hostile = run([trial(1, scenario="\x1b[2Jgone\n")], "run\x07")
    shown = text(compare(hostile, hostile))
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "?[2Jgone?" in shown


def test_row_has_a_text_for_each_head() -> None:
    for row in compared(cells=2).rows:
        assert len(texts(row)) == len(HEAD)
    assert texts(Row(cell="c", metric="all", n_a=0, n_b=1, verdict="MISSING"))[1] == "-"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.123456, "0.1235"), (999.94, "999.9"), (12345.6, "12,346")]
)
def test_figures_have_four_digits(value: float | None, shown: str) -> None:
    assert figure(value) == shown
