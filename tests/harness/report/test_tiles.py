"""The figures of the first screen: what they are of, when they are not measured, and which warnings limit them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.checks import names
from harness.model import Cell, Finding
from harness.report.page import Page, render
from harness.report.tiles import Tile
from tests.support.builders import Made, concurrent, found, quickstart, store
from tests.support.pages import page_of

DASH = "\N{EN DASH}"
OPEN = Cell(scenario="throughput", mode="open", rate=900.0, seconds=2.0, params={"keys": "hot"})
CLOSED = Cell(scenario="throughput", clients=64, seconds=2.0, params={"keys": "hot"})


def page(root: Path, trials: Sequence[Made], findings: Sequence[Finding] = (), **manifest: object) -> Page:
    return page_of(store(root, trials, findings, **manifest))  # type: ignore[arg-type]


def tiles(page: Page) -> Mapping[str, Tile]:
    return {tile.label: tile for tile in page.tiles}


def test_acknowledged_and_lost_are_of_the_burst(tmp_path: Path) -> None:
    tile = tiles(page_of(quickstart(tmp_path)))["Acknowledged / lost"]
    assert (tile.value, tile.state, tile.see) == ("2,000 / 0", "pass", "concurrent-writes")
    assert tile.note == "of 2,000 writes, 1,000 at once; none of 2,000 lost"


def test_losses_are_counted_among_the_writes_that_the_oracle_compared(tmp_path: Path) -> None:
    """Those of the warm-up too, as in the criterion."""
    findings = [found(concurrent(), "final value", lost=0, ok=1000), found(CLOSED, "final value", lost=0, ok=7500)]
    shown = page(tmp_path, [Made(cell=concurrent()), Made(cell=CLOSED, ok=5000)], findings)
    assert tiles(shown)["Acknowledged / lost"].note.endswith("none of 8,500 lost")
    assert "0 of 8,500 lost" in shown.answers[1].because


def test_a_lost_update_of_any_scenario_fails_the_tile(tmp_path: Path) -> None:
    made = [Made(cell=concurrent()), Made(cell=CLOSED)]
    findings = [found(concurrent(), "final value", lost=0), found(CLOSED, "final value", "fail", "3 lost", lost=3)]
    tile = tiles(page(tmp_path, made, findings))["Acknowledged / lost"]
    assert (tile.value, tile.state) == ("1,000 / 3", "fail")


def test_losses_of_sqlite_and_of_the_negative_control_are_not_those_of_postgresql(tmp_path: Path) -> None:
    control = replace(CLOSED, strategy="unsafe", params={"keys": "hot", "control": True})
    made = [Made(cell=concurrent()), Made(cell=concurrent(backend="sqlite-naive"), ok=50, fail=950), Made(cell=control)]
    findings = [
        found(concurrent(), "final value", lost=0),
        found(made[1].cell, "final value", lost=4),
        found(control, "negative control", "shown", lost=211),
    ]
    tile = tiles(page(tmp_path, made, findings))["Acknowledged / lost"]
    assert (tile.value, tile.state) == ("1,000 / 0", "pass")


def test_loss_that_no_check_judged_is_unknown(tmp_path: Path) -> None:
    tile = tiles(page(tmp_path, [Made(cell=concurrent())]))["Acknowledged / lost"]
    assert (tile.value, tile.state) == ("1,000 / ?", "unknown")


def test_refused_writes_of_the_burst_fail(tmp_path: Path) -> None:
    made = [Made(cell=concurrent(), ok=990, fail=10)]
    tile = tiles(page(tmp_path, made, [found(concurrent(), "final value", lost=0)]))["Acknowledged / lost"]
    assert (tile.value, tile.state) == ("990 / 0", "fail")


def test_rate_is_of_the_fastest_closed_loop_that_lost_nothing(tmp_path: Path) -> None:
    fast = replace(CLOSED, strategy="unsafe")
    made = [Made(cell=CLOSED, seconds=2.0), Made(cell=fast, seconds=1.0), Made(cell=OPEN, seconds=0.5)]
    findings = [found(CLOSED, "final value", lost=0), found(fast, "final value", "fail", lost=9)]
    tile = tiles(page(tmp_path, made, findings))["Requests/s"]
    assert tile.value == "500"
    assert tile.cells == (CLOSED.name,)


def test_rate_and_latency_need_a_trial_whose_times_hold(tmp_path: Path) -> None:
    made = [Made(cell=cell, reason="sent late") for cell in (CLOSED, OPEN)]
    shown = tiles(page(tmp_path, made))
    assert (shown["Requests/s"].value, shown["Requests/s"].state) == (DASH, "not measured")
    assert "whose times hold" in shown["Requests/s"].note
    assert shown["p50 / p99, ms"].note == "no trial of an open load whose times hold"


def test_latency_is_of_an_open_load_only(tmp_path: Path) -> None:
    closed = tiles(page(tmp_path / "closed", [Made(cell=CLOSED)]))["p50 / p99, ms"]
    assert (closed.value, closed.state) == (DASH, "not measured")
    made = [Made(cell=CLOSED), Made(cell=OPEN, figures={"p50_ms": 12.5, "p99_ms": 40.0, "rps": 880.0}, steady=True)]
    shown = tiles(page(tmp_path / "open", made))["p50 / p99, ms"]
    assert (shown.value, shown.cells) == ("12.5 / 40.0", (OPEN.name,))
    assert shown.note.startswith("at 880 requests/s offered")


def test_latency_of_a_load_that_was_never_steady_says_so(tmp_path: Path) -> None:
    tile = tiles(page(tmp_path, [Made(cell=OPEN, steady=False)]))["p50 / p99, ms"]
    assert tile.note.endswith("not in a steady state")


def test_speed_up_is_of_the_most_hosts_with_its_interval(tmp_path: Path) -> None:
    cells = [Cell(scenario="scaling", hosts=n, params={"bound": "pool"}) for n in (1, 2, 8)]
    findings = [
        found(cells[1], names.SPEED_UP.format(2), speedup=1.9, wanted=1.8),
        found(cells[2], names.SPEED_UP.format(8), "fail", speedup=6.5, low=6.1, high=6.9, wanted=7.0),
    ]
    tile = tiles(page(tmp_path, [Made(cell=cell) for cell in cells], findings))["Speed-up, 8 hosts"]
    assert (tile.value, tile.state) == ("6.50x", "fail")
    assert tile.note == "pool-bound [6.10, 6.90], required 7x"


def test_tiles_about_faults_and_sqlite_are_only_where_they_were_measured(tmp_path: Path) -> None:
    without = tiles(page_of(quickstart(tmp_path / "without")))
    assert len(without) == 4
    naive = concurrent(backend="sqlite-naive")
    fault = Cell(scenario="faults", mode="open", rate=90.0, params={"fault": "db-crash"})
    made = [Made(cell=naive, ok=80, fail=920, errors={"SQLITE_BUSY": 920}), Made(cell=concurrent()), Made(cell=fault)]
    shown = tiles(page(tmp_path / "with", made, [found(fault, names.AVAILABILITY, "shown", gap_s=4.5)]))
    assert (shown["Longest outage"].value, shown["Longest outage"].note) == (
        "4.5 s",
        "without a success, db-crash, upsert",
    )
    assert shown["Naive SQLite"].value == "8.00 %"
    assert shown["Naive SQLite"].note == (
        "acknowledged of 1,000 at once; 920 x SQLITE_BUSY: one writer locks the file; PostgreSQL 100 %"
    )


def test_an_empty_run_has_tiles_that_say_why(tmp_path: Path) -> None:
    empty = page_of(store(tmp_path))
    assert all(tile.state == "not measured" and tile.note for tile in empty.tiles)
    shown = re.findall("<strong>(.*?)</strong>", render(empty).split('class="tiles"')[1].split("</ul>")[0])
    assert [re.sub("<.*?>", "", text).count(DASH) for text in shown] == [1] * len(empty.tiles), "one dash each"


@pytest.mark.parametrize(
    ("warning", "limits"),
    [
        (f"{CLOSED.name}: times are doubtful", True),
        (f"{OPEN.name}: times are doubtful", False),
        ("hosts changed during the trials: CPU canary app-1 6.76 ms, then 4.64 ms", True),
        ("aborted: no space left", True),
        ("'ledger' is not judged: the service has none", False),
    ],
)
def test_a_warning_is_shown_if_it_limits_a_figure_of_the_first_screen(
    tmp_path: Path, warning: str, *, limits: bool
) -> None:
    made = [Made(cell=CLOSED), Made(cell=replace(CLOSED, clients=8))]
    shown = page(tmp_path, made, warnings=[warning]).notices
    (notice,) = shown.limiting if limits else shown.others
    assert "p5.c64" not in notice.text


def test_names_of_cells_are_labels_in_warnings(tmp_path: Path) -> None:
    made = [Made(cell=CLOSED), Made(cell=replace(CLOSED, params={"keys": "1000"}))]
    (notice,) = page(tmp_path, made, warnings=[f"{CLOSED.name}: not steady"]).notices.limiting
    assert notice.text == "throughput (1 hot key): not steady"


@pytest.mark.parametrize(
    ("findings", "value", "state", "note"),
    [
        ([("final value", "unknown", {"lost": 0, "ok": 1000})], "1,000 / ?", "unknown", "some loss is not judged"),
        ([("final value", "fail", {"lost": 0, "invented": 400})], "1,000 / ?", "fail", "'final value' fails"),
        ([("final value", "pass", {"lost": 0}), ("ledger", "fail", {})], "1,000 / 0", "fail", "'ledger' fails"),
        (
            [("final value", "pass", {"lost": 0, "ok": 1000}), ("value sequence", "unknown", {})],
            "1,000 / 0",
            "unknown",
            "none of 1,000 lost, but 'value sequence' is unknown",
        ),
        ([("final value", "fail", {"lost": 2, "ok": 1000})], "1,000 / 2", "fail", "2 of 1,000 acknowledged in the run "
         "are lost"),
    ],
)  # fmt: skip
def test_only_checks_that_pass_show_that_nothing_is_lost(
    tmp_path: Path, findings: Sequence[tuple[str, str, Mapping[str, int]]], value: str, state: str, note: str
) -> None:
    made = [found(concurrent(), check, verdict, **numbers) for check, verdict, numbers in findings]
    tile = tiles(page(tmp_path, [Made(cell=concurrent())], made))["Acknowledged / lost"]
    assert (tile.value, tile.state) == (value, state)
    assert tile.note.endswith(f"; {note}")


@pytest.mark.parametrize(
    ("verdict", "lost", "value", "state"), [("fail", 3, "1,000 / 3", "fail"), ("unknown", 0, "1,000 / ?", "unknown")]
)
def test_a_fault_without_a_final_value_is_judged_by_its_account(
    tmp_path: Path, verdict: str, lost: int, value: str, state: str
) -> None:
    """A trial whose load host is killed has no `final value`."""
    fault = Cell(scenario="faults", mode="open", rate=90.0, params={"fault": "load-host-kill"})
    findings = [found(concurrent(), "final value", lost=0), found(fault, "nothing lost", verdict, lost=lost)]
    tile = tiles(page(tmp_path, [Made(cell=concurrent()), Made(cell=fault)], findings))["Acknowledged / lost"]
    assert (tile.value, tile.state) == (value, state)


def test_a_rate_whose_writes_fail_a_check_is_not_the_fastest_and_an_unjudged_one_says_so(tmp_path: Path) -> None:
    fast = replace(CLOSED, strategy="for-update")
    made = [Made(cell=CLOSED, seconds=2.0), Made(cell=fast, seconds=1.0)]
    findings = [found(CLOSED, "final value", "unknown", lost=0), found(fast, "final value", "fail", invented=9, lost=0)]
    tile = tiles(page(tmp_path, made, findings))["Requests/s"]
    assert (tile.value, tile.cells) == ("500", (CLOSED.name,))
    assert tile.note.endswith("lost updates not judged")
