"""Summaries of cells and scenarios, and the answer of a scenario."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.model import Cell
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.report.formatting import NOTHING
from harness.report.run_summary import summarise
from harness.store.manifest import VariantRecord
from tests.support.builders import Made, concurrent, found, store
from tests.support.pages import only_section


def test_medians_are_over_valid_trials_and_counts_over_all(tmp_path: Path) -> None:
    cell = concurrent()
    trials = [
        Made(cell=cell, number=n, seconds=s, valid=v, reason="" if v else "CPU")
        for n, s, v in ((1, 1.0, True), (2, 2.0, True), (3, 4.0, True), (4, 0.001, False))
    ]
    (summary,) = summarise(store(tmp_path, trials)).scenarios
    (one,) = summary.cells
    assert (one.trials, one.valid, one.sent, one.ok) == (4, 3, 4000.0, 4000.0)
    assert (one.medians["rps"], one.spans["rps"]) == (500.0, (250.0, 1000.0))
    assert one.reasons == ("CPU",)


def test_lost_updates_of_several_trials_are_a_lower_bound(tmp_path: Path) -> None:
    cell = concurrent()
    findings = [found(cell, "final value", "fail", "3 lost", lost=3)]
    for trials, text in ((1, "3"), (2, "≥ 3")):
        made = [Made(cell=cell, number=n, lost=3) for n in range(1, trials + 1)]
        (summary,) = summarise(store(tmp_path / str(trials), made, findings)).scenarios
        assert summary.cells[0].lost_text == text


def test_answer_leaves_long_explanations_to_the_findings(tmp_path: Path) -> None:
    cells = [Cell(scenario="scaling", hosts=n) for n in (1, 2)]
    detail = (
        "1.1x (no interval: 1 block); required: 1.8x (the number of waits that the pools allow, not the work itself)"
    )
    findings = [found(cells[1], "speed-up 2 hosts", "fail", detail)]
    section = only_section(store(tmp_path, [Made(cell=cell) for cell in cells], findings, verdict="fail"))
    assert section.answer == "speed-up 2 hosts: 1.1x (no interval: 1 block); required: 1.8x."
    assert section.findings[0].detail == detail


def test_answer_leaves_hosts_and_advice_to_the_findings(tmp_path: Path) -> None:
    cells = [Cell(scenario="scaling", hosts=n) for n in (1, 2)]
    used = "times are doubtful: other programs used 93% of the CPU{} (limit 10%)"
    detail = f"{used.format(' of the machine of db-1, app-1')}: end them, or measure when the machine is quiet"
    findings = [found(cells[1], "a claim", "unknown", f"{detail}; times are doubtful: {detail}")]
    section = only_section(store(tmp_path, [Made(cell=cell) for cell in cells], findings, verdict="unknown"))
    short = used.format("")
    assert section.answer == f"a claim: {short}; times are doubtful: {short}."


def test_answer_names_the_findings_that_decide(tmp_path: Path) -> None:
    cells = [Cell(scenario="scaling", hosts=n) for n in (1, 2)]
    findings = [*(found(cell, "spread") for cell in cells), found(cells[1], "speed-up 2 hosts", detail="1.9x")]
    assert only_section(store(tmp_path, [Made(cell=c) for c in cells], findings)).answer == ("speed-up 2 hosts: 1.9x.")
    claims = [found(cells[0], f"claim: {name}", held=held) for name, held in (("rate", True), ("errors", False))]
    assert only_section(store(tmp_path, [Made(cell=c) for c in cells], claims)).answer == (
        "claim: rate: as it should be; claim: errors: as it should be."
    )


def test_cells_of_variants_are_in_the_order_of_the_variants_with_the_baseline_first(tmp_path: Path) -> None:
    variants = parse_vary("vary", "strategy=upsert,for-update;app_retry_limit=9,1")
    base = Cell(scenario="throughput", params={"keys": "hot"})
    made = [
        Made(cell=with_variant(replace(cell, strategy=v.settings["strategy"]), v, varied_keys(variants)))
        for cell in (replace(base, params={"keys": "1000"}), base)
        for v in reversed(variants)
    ]
    stored = [VariantRecord(name=v.name, settings=dict(v.settings)) for v in variants]
    (summary,) = summarise(store(tmp_path, made, variants=stored)).scenarios
    assert [(one.cell.params["keys"], one.cell.variant) for one in summary.cells] == [
        (keys, v.name) for keys in ("hot", "1000") for v in variants
    ]


@pytest.mark.parametrize(
    ("check", "verdict", "lost", "text"),
    [
        ("final value", "pass", 0, "0"),
        ("final value", "fail", 3, "3"),
        ("final value", "fail", 0, NOTHING),
        ("final value", "unknown", 0, NOTHING),
        ("negative control", "shown", 211, "211"),
        ("negative control", "unknown", 0, NOTHING),
        ("nothing lost", "fail", 2, "2"),
        ("nothing lost", "unknown", 0, NOTHING),
    ],
)
def test_lost_updates_are_known_only_where_a_check_judged_them(
    tmp_path: Path, check: str, verdict: str, lost: int, text: str
) -> None:
    cell = concurrent()
    run = store(tmp_path, [Made(cell=cell)], [found(cell, check, verdict, lost=lost, ok=1000)])
    (one,) = summarise(run).scenarios[0].cells
    assert one.lost_text == text
    assert (one.compared is None) == (one.lost is None)


def test_a_loss_that_one_check_proves_counts_though_another_is_unknown(tmp_path: Path) -> None:
    cell = concurrent()
    findings = [found(cell, "final value", "unknown", lost=0), found(cell, "nothing lost", "fail", lost=4)]
    (one,) = summarise(store(tmp_path, [Made(cell=cell)], findings)).scenarios[0].cells
    assert one.lost == 4
    findings = [found(cell, "final value", "pass", lost=0), found(cell, "nothing lost", "unknown", lost=0)]
    (one,) = summarise(store(tmp_path / "b", [Made(cell=cell)], findings)).scenarios[0].cells
    assert one.lost is None
