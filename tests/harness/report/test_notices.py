"""Warnings by cause: one sentence for many cells, with all warnings behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.model import Cell
from harness.report.notices import Notices, brief_warnings
from harness.report.outputs.data import as_data
from harness.report.page import build, render
from harness.report.run_summary import summarise
from harness.report.terminal import lines
from tests.support.builders import Made, store
from tests.support.pages import page_of

CELLS = [Cell(scenario="throughput", clients=clients, seconds=2.0, params={"keys": "hot"}) for clients in (8, 64, 256)]
LABEL = "PostgreSQL, upsert, 1 hot key"
TO = "\N{EN DASH}"
HOSTS = "db-1, app-1, lb-1"
BUSY = (
    "other programs used {used}% of the CPU of the machine of {hosts} (limit 10%): end them, or measure when the "
    "machine is quiet"
)
STOLEN = BUSY.replace(" (limit", ", of which a hypervisor took 2% (limit").format(used=31, hosts="db-1")


def busy(used: int, hosts: str = HOSTS) -> str:
    return BUSY.format(used=used, hosts=hosts)


def notices(root: Path, warnings: Sequence[str]) -> Notices:
    return page_of(store(root, [Made(cell=cell) for cell in CELLS], warnings=list(warnings))).notices


def test_doubtful_times_of_one_cause_are_one_sentence_with_number_and_range(tmp_path: Path) -> None:
    warnings = [
        f"{cell.name}: times are doubtful: {busy(used)}" for cell, used in zip(CELLS, (76, 31, 50), strict=True)
    ]
    (one,) = (shown := notices(tmp_path, warnings)).limiting
    assert one.text == f"times of 3 cells are doubtful: other programs used 31{TO}76 % of the CPU (limit 10 %)"
    assert one.details[0] == f"throughput ({LABEL}, 8 clients): times are doubtful: {busy(76)}"
    assert len(one.details) == 3
    assert not shown.others


def test_other_hosts_and_stolen_time_do_not_part_a_cause(tmp_path: Path) -> None:
    texts = [busy(76), busy(50, "app-1 and 6 other hosts"), STOLEN]
    warnings = [f"{cell.name}: times are doubtful: {text}" for cell, text in zip(CELLS, texts, strict=True)]
    (one,) = notices(tmp_path, warnings).limiting
    assert one.text.startswith(f"times of 3 cells are doubtful: other programs used 31{TO}76 % of the CPU (limit 10 %)")


def test_a_cell_is_in_each_of_its_causes(tmp_path: Path) -> None:
    late = "the load generator sent late: send lag p90 {} ms (limit 14.7 ms, a tenth of the service time)"
    warnings = [
        f"{CELLS[0].name}: times are doubtful: {late.format(14.8)}; times are doubtful: {busy(91)}",
        f"{CELLS[1].name}: times are doubtful: {late.format('1,020')}",
        f"{CELLS[2].name}: times are doubtful: {busy(91)}",
    ]
    first, second = notices(tmp_path, warnings).limiting
    assert first.text == f"times of 2 cells are doubtful: {late.format('14.8' + TO + '1,020')}"
    assert second.text == "times of 2 cells are doubtful: other programs used 91 % of the CPU (limit 10 %)"


def test_one_warning_is_short_and_other_causes_stay_apart(tmp_path: Path) -> None:
    shown = notices(tmp_path, [f"{CELLS[0].name}: times are doubtful: {busy(76)}", "app-3 is slow", "app-4 is slow"])
    (one,) = shown.limiting
    assert one.text.endswith("8 clients): times are doubtful: other programs used 76% of the CPU (limit 10%)")
    assert one.details == (f"throughput ({LABEL}, 8 clients): times are doubtful: {busy(76)}",)
    assert [(other.text, other.details) for other in shown.others] == [("app-3 is slow", ()), ("app-4 is slow", ())]


def test_hosts_that_changed_are_counted_by_canary(tmp_path: Path) -> None:
    warnings = [
        "hosts changed during the trials: CPU canary app-1 6 ms, then 4 ms; app-2 6 ms, then 2 ms; "
        "db-1 4 ms, then 6 ms",
        "hosts changed during the trials: fsync app-1 1 ms, then 5.5 ms",
    ]
    (one,) = notices(tmp_path, warnings).limiting
    assert one.text == (
        "hosts changed during the trials: CPU canary on 3 hosts, by at most 3.00x; fsync on 1 host, by at most 5.50x"
    )
    assert one.details == tuple(warnings)


def test_a_group_limits_the_first_screen_if_one_of_its_cells_does(tmp_path: Path) -> None:
    others = [replace(CELLS[0], scenario="else", clients=n) for n in (8, 64)]
    made = [Made(cell=cell) for cell in (*CELLS, *others)]
    names = [cell.name for cell in (*others, CELLS[0])]
    shown = page_of(store(tmp_path, made, warnings=[f"{name}: times are doubtful: x" for name in names])).notices
    assert [one.text for one in shown.limiting] == ["times of 3 cells are doubtful: x"]


def test_the_terminal_has_a_line_per_cause_of_warnings_and_of_invalid_trials(tmp_path: Path) -> None:
    made = [Made(cell=cell, valid=False, reason=busy(used)) for cell, used in zip(CELLS, (69, 80, 71), strict=True)]
    warnings = [f"{cell.name}: times are doubtful: {busy(70)}" for cell in CELLS]
    assert brief_warnings(summarise(store(tmp_path, made, warnings=warnings))) == [
        "times of 3 cells are doubtful: other programs used 70 % of the CPU (limit 10 %)",
        f"invalid trials of 3 cells: other programs used 69{TO}80 % of the CPU (limit 10 %)",
    ]


def test_page_and_data_have_every_warning_of_a_group(tmp_path: Path) -> None:
    warnings = [
        f"{cell.name}: times are doubtful: {busy(used)}" for cell, used in zip(CELLS, (76, 31, 50), strict=True)
    ]
    summary = summarise(store(tmp_path, [Made(cell=cell) for cell in CELLS], warnings=warnings))
    made = build(summary)
    in_full = [f"throughput ({LABEL}, {cell.clients} clients): times are doubtful:" for cell in CELLS]
    assert [
        text[: len(start)] for text, start in zip(as_data(made, summary)["warnings"]["limiting"], in_full, strict=True)
    ] == in_full
    assert all(start in render(made) for start in in_full)


def test_no_line_of_the_terminal_begins_with_a_per_cent_sign(tmp_path: Path) -> None:
    made = [Made(cell=CELLS[0], valid=False, reason="x" * padding + " used 76 % of it") for padding in range(20, 60)]
    text = list(lines(summarise(store(tmp_path, made)), width=80))
    assert not [line for line in text if line.strip().startswith("%")]


@pytest.mark.parametrize(
    "texts",
    [
        ("a # 5", "a 3 #"),
        ("a # #", "a 3 5"),
        ("a 3 \0", "a \0 3", "a 4 \0"),
    ],
)
def test_text_of_another_host_is_no_figure(tmp_path: Path, texts: Sequence[str]) -> None:
    warnings = [f"{cell.name}: {text}" for cell, text in zip(CELLS, texts, strict=False)]
    shown = notices(tmp_path, warnings)
    causes = [one.text for one in (*shown.limiting, *shown.others)]
    assert len(causes) == 2


@pytest.mark.parametrize("figures", ["e ms, then - ms", "1.2.3 ms, then 4 ms", "1e999 ms, then 1e999 ms"])
def test_a_change_of_a_host_whose_figures_are_damaged_is_shown_as_it_is(tmp_path: Path, figures: str) -> None:
    warnings = [f"hosts changed during the trials: fsync app-{n} {figures}" for n in (1, 2)]
    shown = notices(tmp_path, warnings)
    (one,) = (*shown.limiting, *shown.others)
    assert one.text.startswith("hosts changed during the trials: fsync")


def test_data_has_every_limiting_warning_as_such_though_the_page_folds_some(tmp_path: Path) -> None:
    texts = [f"{CELLS[0].name}: cause {word}" for word in ("one", "two", "three", "four")]
    run = store(tmp_path, [Made(cell=cell) for cell in CELLS[:1]], warnings=[*texts, "harmless"])
    summary = summarise(run)
    page = build(summary)
    assert len(page.notices.limiting) == 2
    warnings = as_data(page, summary)["warnings"]
    assert [text.rsplit(" ", 1)[1] for text in warnings["limiting"]] == ["one", "two", "three", "four"]
    assert warnings["others"] == ["harmless"]
