"""What a trial may be used for, what its results add to the evidence, and which trials are measured once more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.foreign_load import ForeignLoad, MachineLoad
from harness.fault_record import FaultRecord, PlannedFault
from harness.load import generator_checks
from harness.load.results.summary import ConnectionTotals, LaneSummary
from harness.measure.load_controller import LoadResults
from harness.measure.trial_result import (
    NO_SAMPLES,
    add_client_counts,
    leave_out_per_request_checks,
    read_captures,
    trial_result,
    trials_to_measure,
    trials_to_remeasure,
    with_faults,
)
from harness.model import Cell, Trial
from harness.plan.load_share import open_cell
from harness.plan.planner import Plan
from harness.plan.variants import parse_vary, varied_keys, with_variant
from harness.record import Evidence, TrialResult, Validity
from tests.harness.analysis.test_figures import summary

SHORT = Cell(scenario="counting", clients=4, requests=40)
ONE_TRIAL = Plan(trials=(Trial(cell=SHORT, number=1, order=1, seed=1),))

CLEAN = summary()
OUT_OF_STEP = ConnectionTotals(opened=4, reopened=0, out_of_step=3)


def result_and_repeats(
    summaries: dict[str, LaneSummary], *, timing_matters: bool, doubts: Sequence[str] = (), died: Sequence[str] = ()
) -> Any:
    """The result of a trial with the lanes `main` and `other`, and the trials to measure once more."""
    results = LoadResults(folders={}, summaries=summaries, failures=tuple(died), total=summaries.get("main"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generator_checks, "reasons", lambda *_: list(doubts))
        row = trial_result(ONE_TRIAL.trials[0], "main", results, timing_matters=timing_matters)
    return row, trials_to_remeasure([row], ONE_TRIAL)


@pytest.mark.parametrize("timing_matters", [True, False])
@pytest.mark.parametrize("lane", ["main", "other"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interrupted": True}, "the load was interrupted"),
        ({"connections": OUT_OF_STEP}, "3 responses came without a request: others may belong to the wrong request"),
    ],
)
def test_a_broken_lane_makes_any_trial_invalid(
    lane: str, change: dict[str, Any], message: str, *, timing_matters: bool
) -> None:
    row, again = result_and_repeats(
        {"main": CLEAN, "other": CLEAN} | {lane: replace(CLEAN, **change)}, timing_matters=timing_matters
    )
    assert (row.valid, row.reason, again) == (False, f"lane {lane}: {message}", [])


@pytest.mark.parametrize("timing_matters", [True, False])
def test_a_trial_without_results_of_its_main_lane_has_no_figures(*, timing_matters: bool) -> None:
    row, again = result_and_repeats(
        {"other": CLEAN}, timing_matters=timing_matters, died=["load-1: the load agent died: killed"]
    )
    assert (row.valid, row.figures, again) == (False, {}, [])
    assert row.reason == "load-1: the load agent died: killed; no results of lane main"


def test_doubtful_times_are_a_reason_but_not_invalid_where_timing_does_not_matter() -> None:
    doubt = "requests were noticed late"
    row, again = result_and_repeats({"main": CLEAN}, timing_matters=False, doubts=[doubt])
    assert (row.valid, row.reason, again) == (True, f"times are doubtful: {doubt}", [])
    row, again = result_and_repeats({"main": CLEAN}, timing_matters=True, doubts=[doubt])
    assert (row.valid, row.reason, len(again)) == (False, doubt, 1)
    row, again = result_and_repeats({"main": CLEAN}, timing_matters=True)
    assert (row.valid, row.reason, again) == (True, "", [])


def test_client_counts_and_captures_are_added(tmp_path: Path) -> None:
    (tmp_path / "captures.jsonl").write_text('{"ids": [1]}\n{"ids": [2]}\n')
    lanes = {"main": replace(CLEAN, not_sent=2), "other": CLEAN}
    results = LoadResults(folders={"main": tmp_path}, summaries=lanes, failures=("load-2: gone",))
    evidence = add_client_counts(Evidence(counts={"app": 7}), results, read_captures(results))
    assert evidence.counts == {"client": 2 * (CLEAN.warmup.sent + CLEAN.measure.sent) - 2, "app": 7}
    assert evidence.captures == {"main": [json.loads('{"ids": [1]}'), {"ids": [2]}]}
    assert evidence.missing_hosts == ("load-2: gone",)


@pytest.mark.parametrize("ledger", [True, False])
def test_checks_that_need_samples_are_left_out(*, ledger: bool) -> None:
    evidence = leave_out_per_request_checks(Evidence(not_applicable={"spread": "one host"}), ledger=ledger)
    assert evidence.not_applicable["value sequence"] == NO_SAMPLES
    assert ("ledger" in evidence.not_applicable) == ledger
    assert evidence.not_applicable["spread"] == "one host"


FORTY_TRIALS = Plan(trials=tuple(Trial(cell=SHORT, number=n, order=n, seed=n) for n in range(1, 41)))


def test_a_trial_beside_other_programs_is_doubted_and_measured_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator_checks, "reasons", lambda _: [])
    machine = MachineLoad(hosts=("db-1", "app-1"), foreign=0.31, stolen=0.0, pressure=None)
    results = LoadResults(folders={}, summaries={"main": CLEAN}, failures=(), total=CLEAN)
    trial = ONE_TRIAL.trials[0]
    for timing_matters, valid in ((True, False), (False, True)):
        row = trial_result(
            trial, "main", results, timing_matters=timing_matters, foreign=ForeignLoad(machines=(machine,))
        )
        assert (row.valid, row.times_valid, row.figure("foreign_cpu")) == (valid, False, 0.31)
        assert "other programs used 31% of the CPU of the machine of db-1, app-1" in row.reason
        assert len(trials_to_remeasure([row], ONE_TRIAL)) == (not valid)
    quiet = replace(machine, foreign=0.09)
    row = trial_result(trial, "main", results, timing_matters=True, foreign=ForeignLoad(machines=(quiet,)))
    assert (row.valid, row.reason, row.figure("foreign_cpu")) == (True, "", 0.09)


def test_all_trials_that_other_programs_disturbed_are_measured_once_more() -> None:
    """A limited generator is the rig's own fault, and more than one in twenty are not repeated; a neighbour ends."""
    trials = tuple(Trial(cell=SHORT, number=n, order=n, seed=n) for n in range(1, 11))
    rows = [
        TrialResult(
            trial=trial, validity="generator_bound", figures={"foreign_cpu": 0.5 if trial.number <= 6 else 0.02}
        )
        for trial, share in zip(trials, [0.5] * 6 + [0.02] * 4, strict=True)
    ]
    again = trials_to_remeasure(rows, Plan(trials=trials))
    assert [(trial.number, trial.order) for trial in again] == [(n, 10 + n) for n in range(1, 7)]


def test_an_open_trial_follows_the_closed_one_that_is_measured_once_more_at_its_new_rate() -> None:
    """However many they are, and though nothing disturbed the open one itself."""
    cells = [SHORT, open_cell(SHORT, 1.0)]
    trials = [
        Trial(cell=cell, number=n, order=2 * n - 1 + at, seed=n) for n in range(1, 7) for at, cell in enumerate(cells)
    ]
    rows = [
        TrialResult(
            trial=replace(trial, cell=replace(trial.cell, rate=trial.cell.rate_share and 350.0)),
            validity="generator_bound",
            figures={"foreign_cpu": 0.0 if trial.cell.rate_share else 0.5},
        )
        for trial in trials
    ]
    again = trials_to_remeasure(rows, Plan(trials=tuple(trials)))
    assert [(trial.number, trial.cell.mode, trial.cell.rate) for trial in again] == [
        *((n, "closed", None) for n in range(1, 7)),
        *((n, "open", None) for n in range(1, 7)),
    ]


def result(number: int, validity: Validity = "generator_bound", *, order: int = 0) -> TrialResult:
    trial = replace(FORTY_TRIALS.trials[number - 1], order=order or number)
    return TrialResult(trial=trial, validity=validity, reasons=("why",), figures={})


@pytest.mark.parametrize(
    ("rows", "again"),
    [
        ([], []),
        ([result(1, "broken")], []),
        ([result(1, "timing_doubtful")], []),
        ([result(7), result(3), result(4, "broken")], [(7, 41), (3, 42)]),
        ([result(n) for n in (1, 2, 3)], []),
        ([result(1), result(1, "valid", order=41)], []),
        ([result(1), result(1, order=41)], []),
        ([result(1), result(2), result(1, "valid", order=41)], [(2, 42)]),
        ([*(result(n) for n in (1, 2, 3)), result(1, "valid", order=41)], []),
    ],
    ids=[
        "none", "broken", "valid", "limited", "too many", "measured again", "limited again", "one left", "too many now",
    ],
)  # fmt: skip
def test_trials_to_remeasure(rows: list[TrialResult], again: list[tuple[int, int]]) -> None:
    assert [(trial.number, trial.order) for trial in trials_to_remeasure(rows, FORTY_TRIALS)] == again


VARIANTS = parse_vary("vary", "app_pool_size=5,20")
BLOCKS = Plan(
    trials=tuple(
        Trial(cell=with_variant(SHORT, variant, varied_keys(VARIANTS)), number=n, order=2 * n - 1 + at, seed=10 * n)
        for n in range(1, 21)
        for at, variant in enumerate(VARIANTS)
    ),
    variants=VARIANTS,
)


def measured(order: int, validity: Validity = "valid") -> TrialResult:
    return TrialResult(trial=BLOCKS.trials[order - 1], validity=validity, reasons=("why",), figures={})


def brief(trials: list[Trial]) -> list[tuple[str, int, int, int]]:
    return [(trial.cell.variant, trial.number, trial.order, trial.seed) for trial in trials]


def test_the_whole_block_of_a_limited_trial_is_measured_once_more() -> None:
    """Its other variants were measured at another time than the new trial."""
    again = trials_to_remeasure([measured(7, "generator_bound")], BLOCKS)
    assert brief(again) == [("pool_size=5", 4, 41, 41), ("pool_size=20", 4, 42, 41)]
    assert len(trials_to_remeasure([measured(7, "generator_bound")], replace(BLOCKS, variants=()))) == 1


def test_a_block_that_was_interrupted_is_measured_again_as_a_whole() -> None:
    """The ratio of its trials would be one between two sessions."""
    left = trials_to_measure([measured(order) for order in range(1, 38)], BLOCKS)
    assert brief(left) == [
        ("pool_size=5", 20, 39, 200), ("pool_size=20", 20, 40, 200), ("pool_size=5", 19, 41, 191),
        ("pool_size=20", 19, 42, 191),
    ]  # fmt: skip
    earlier = [measured(order) for order in range(1, 38)]
    once = [replace(measured(order), trial=trial) for order, trial in zip((39, 40, 37), left, strict=False)]
    assert brief(trials_to_measure([*earlier, *once], BLOCKS)) == [
        ("pool_size=5", 19, 42, 192), ("pool_size=20", 19, 43, 192),
    ]  # fmt: skip
    done = [replace(measured(order), trial=trial) for order, trial in zip((39, 40, 37, 38), left, strict=True)]
    assert trials_to_measure([*earlier, *done], BLOCKS) == []
    assert trials_to_measure([], BLOCKS) == list(BLOCKS.trials)


def test_a_resumed_run_without_variants_measures_what_it_lacks() -> None:
    left = trials_to_measure([result(1), result(3)], FORTY_TRIALS)
    assert [trial.order for trial in left] == [2, *range(4, 41)]


def test_an_open_block_waits_for_the_closed_block_that_was_interrupted() -> None:
    """Its rate is a share of what the baseline reaches in that block."""
    closed, opened = ([with_variant(cell, variant, varied_keys(VARIANTS)) for variant in VARIANTS]
                      for cell in (SHORT, open_cell(SHORT, 1.0)))  # fmt: skip
    made = Plan(
        trials=tuple(
            Trial(cell=cell, number=n, order=4 * n - 3 + at, seed=10 * n + at // 2)
            for n in (1, 2, 3)
            for at, cell in enumerate((*closed, *opened))
        ),
        variants=VARIANTS,
    )

    def stored(trials: Sequence[Trial]) -> list[TrialResult]:
        return [TrialResult(trial=trial, figures={"rps": 1000.0}) for trial in trials]

    earlier = stored(made.trials[:5])  # the second closed block is half done
    left = trials_to_measure(earlier, made)
    assert [(t.number, t.order, t.cell.mode) for t in left] == [
        (3, 9, "closed"), (3, 10, "closed"), (3, 11, "open"), (3, 12, "open"),
        (2, 13, "closed"), (2, 14, "closed"), (2, 15, "open"), (2, 16, "open"),
    ]  # fmt: skip
    assert trials_to_measure([*earlier, *stored(left)], made) == []
    half = [*stored(made.trials[:4]), *stored(made.trials[4:7])]  # an open block is half done: its rate is known
    assert [(t.number, t.cell.mode) for t in trials_to_measure(half, made)] == [(3, "closed")] * 2 + [
        (3, "open")
    ] * 2 + [(2, "open")] * 2


def test_counts_of_layers_that_a_fault_restarts_are_not_compared() -> None:
    fault = FaultRecord(planned=PlannedFault(fault="app-kill", at_s=1.0, hold_s=1.0))
    unread = {"app": "app-1 restarted", "transactions": "app-1 restarted", "ledger": "no answer"}
    evidence = with_faults(Evidence(unread=unread), [fault], [], busy="app-1.1 was still busy 30 s after the load")
    assert evidence.unread == {"ledger": "no answer"}
    assert evidence.faults == (fault,)
    assert list(evidence.not_applicable) == ["counts agree"]
    assert evidence.notes == (
        "app-1.1 was still busy 30 s after the load: what was applied later counts as not applied",
    )
