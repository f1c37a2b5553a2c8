"""Findings are merged by the worst verdict; a check that has no answer is unknown, never a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.checks import names
from harness.checks.evaluate import evaluate, judge_trial, verdict_of
from harness.checks.finding import finding, judged, merge, worst
from harness.checks.required_evidence import NEEDS, PARTS
from harness.checks.traffic import check_acknowledged
from harness.model import Cell, Finding, Trial, Verdict
from harness.plan.scenario import Scenario
from harness.record import Evidence, TrialRecord, TrialResult
from harness.scenarios.increment_workload import check_counters
from tests.support.histories import Columns, history, serial

CELL = Cell(scenario="s")


def scenario(check: Any = lambda _: [], judge: Any = lambda _: []) -> Scenario:
    return Scenario(
        name="s", question="?", criteria=(), cells=lambda *_: [], workload=lambda _: {}, check=check, judge=judge
    )


def trial(
    number: int = 1, *, name: str = "s", valid: bool = True, samples: Columns | None = None, **evidence: Any
) -> TrialRecord:
    row = TrialResult(
        trial=Trial(cell=Cell(scenario=name), number=number, order=number, seed=1),
        validity="valid" if valid else "broken",
        figures={"rps": 1.0},
    )
    lanes = {"main": history() if samples is None else samples}
    return TrialRecord(row=row, lanes=lanes, evidence=Evidence(**evidence))


def findings_of(*verdicts: Verdict, lost: Sequence[int] = ()) -> list[Finding]:
    numbers = [{"lost": n} for n in lost] or [{}] * len(verdicts)
    return [finding(CELL, "c", v, f"trial {i}", **n) for i, (v, n) in enumerate(zip(verdicts, numbers, strict=True), 1)]


@pytest.mark.parametrize(
    ("verdicts", "verdict", "detail"),
    [
        (("pass", "pass", "pass"), "pass", "3 of 3 trials pass: trial 1"),
        (("pass", "unknown", "pass"), "unknown", "1 of 3 trials unknown: trial 2"),
        (("unknown", "fail", "fail"), "fail", "2 of 3 trials fail: trial 2"),
        (("fail",), "fail", "trial 1"),
    ],
)
def test_the_worst_verdict_of_a_cells_trials_is_kept(verdicts: tuple[Verdict, ...], verdict: str, detail: str) -> None:
    (merged,) = merge(findings_of(*verdicts))
    assert (merged.verdict, merged.detail) == (verdict, detail)


def test_losses_of_all_trials_add_up() -> None:
    (merged,) = merge(findings_of("pass", "fail", "fail", lost=(0, 2, 3)))
    assert merged.numbers["lost"] == 5
    mixed = [*findings_of("fail", lost=(2,)), *findings_of("unknown")]
    assert merge(mixed)[0].numbers["lost"] == 2


def test_checks_and_cells_are_not_merged_with_others() -> None:
    other = Cell(scenario="s", hosts=2)
    found = merge([finding(CELL, "a", True, ""), finding(CELL, "b", False, ""), finding(other, "a", False, "")])
    assert [(f.cell, f.check, f.verdict) for f in found] == [
        (CELL.name, "a", "pass"), (CELL.name, "b", "fail"), (other.name, "a", "fail"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "invalid", "verdict"),
    [
        ((), 0, "unknown"),
        ((), 1, "invalid"),
        (("pass",), 0, "pass"),
        (("pass", "unknown"), 0, "unknown"),
        (("pass", "unknown"), 2, "invalid"),
        (("pass",), 1, "invalid"),
        (("pass", "unknown", "fail"), 0, "fail"),
        (("fail",), 5, "fail"),
    ],
)
def test_fail_before_invalid_before_unknown_before_pass(
    verdicts: tuple[Verdict, ...], invalid: int, verdict: str
) -> None:
    assert verdict_of(findings_of(*verdicts), invalid_trials=invalid) == verdict


def crash(_: object) -> list[Finding]:
    raise KeyError("main")


def test_a_check_that_raises_is_unknown_with_the_reason() -> None:
    (found,) = judge_trial(scenario(crash), trial())
    assert (found.check, found.verdict) == ("checks completed", "unknown")
    assert found.detail == "the check raised an error: KeyError: 'main'"


@pytest.mark.parametrize("check", names.NEED_A_GENERATOR)
def test_a_doubted_trial_does_not_fail_a_check_of_times(check: str) -> None:
    """Other programs used the machine, so the quick transactions were late."""
    checks = {"s": scenario(lambda m: [finding(m.cell, check, m.row.trial.number > 1, "late")])}
    doubted = replace(trial(1), row=replace(trial(1).row, validity="generator_bound", reasons=("used 40% of the CPU",)))
    (found,) = evaluate(checks, [doubted])
    assert (found.verdict, found.detail) == ("unknown", "its times are doubtful (used 40% of the CPU): late")
    assert [one.verdict for one in evaluate(checks, [trial(1)])] == ["fail"]
    assert [one.verdict for one in evaluate(checks, [doubted, trial(2)], replaced={1})] == ["pass"]
    lost = {"s": scenario(lambda m: [finding(m.cell, names.FINAL_VALUE, m.row.trial.number > 1, "lost")])}
    assert [one.verdict for one in evaluate(lost, [doubted, trial(2)], replaced={1})] == ["fail"], "data is data"


def test_findings_before_an_error_are_dropped() -> None:
    def half(measured: TrialRecord) -> Any:
        yield finding(measured.cell, "c", True, "fine")
        raise ValueError("but then")

    assert [f.verdict for f in judge_trial(scenario(half), trial())] == ["unknown"]


def test_a_comparison_that_raises_is_unknown_and_keeps_the_other_findings() -> None:
    found = evaluate({"s": scenario(lambda m: [finding(m.cell, "c", True, "")], crash)}, [trial()])
    assert [(f.check, f.verdict) for f in found] == [("c", "pass"), ("comparison completed", "unknown")]


def test_an_unknown_scenario_is_unknown() -> None:
    found = evaluate({"s": scenario(lambda m: [finding(m.cell, "c", True, "")])}, [trial(), trial(name="gone")])
    assert [(f.check, f.verdict) for f in found] == [("c", "pass"), ("checks completed", "unknown")]
    assert "no scenario 'gone'" in found[1].detail
    assert verdict_of(found, invalid_trials=0) == "unknown"


def test_the_comparison_of_trials_gets_no_samples() -> None:
    seen: list[TrialRecord] = []
    evaluate({"s": scenario(judge=lambda trials: seen.extend(trials) or [])}, [trial(1), trial(2, valid=False)])
    assert [(m.row.trial.number, m.row.valid, m.lanes) for m in seen] == [(1, True, {}), (2, False, {})]


def test_a_check_that_is_not_applicable_is_left_out_and_never_passes() -> None:
    checks = scenario(lambda m: [finding(m.cell, "a", True, ""), finding(m.cell, "b", False, "")])
    found = evaluate({"s": checks}, [trial(not_applicable={"b": "no counts"})])
    assert [f.check for f in found] == ["a"]
    everything = evaluate({"s": checks}, [trial(not_applicable={"a": "", "b": ""})])
    assert verdict_of(everything, invalid_trials=0) == "unknown"


class TestWithoutTheSamplesOfALoadHost:
    """Its requests are in the database, but not in the samples."""

    def findings(self, final: int) -> dict[str, Finding]:
        missing = ("load-2: the load agent died",)
        made = trial(valid=False, samples=serial([1, 2, 3]), final={"hot-0": final}, missing_hosts=missing)
        return {f.check: f for f in judge_trial(scenario(check_counters), made)}

    def test_its_increments_are_not_reported_as_invented(self) -> None:
        found = self.findings(6)
        assert {f.verdict for f in found.values()} == {"unknown"}
        assert found["final value"].detail.startswith("samples are missing (load-2: the load agent died): ")

    def test_no_check_passes(self) -> None:
        assert {f.verdict for f in self.findings(3).values()} == {"unknown"}

    def test_an_acknowledged_update_of_another_host_can_still_be_lost(self) -> None:
        found = self.findings(2)["final value"]
        assert (found.verdict, found.numbers["lost"]) == ("fail", 1)


@pytest.mark.parametrize("check", NEEDS)
def test_a_check_is_unknown_where_a_part_that_it_needs_was_not_measured(check: str) -> None:
    for part in NEEDS[check]:
        for verdict in (True, False):
            checks = scenario(lambda m, v=verdict: [finding(m.cell, check, v, "wrong")])
            (found,) = judge_trial(checks, trial(unread={part: "db-1: PostgreSQL does not answer"}))
            assert (found.verdict, found.detail) == ("unknown", "not measured: db-1: PostgreSQL does not answer")


def test_without_any_evidence_no_check_of_the_counters_fails_or_passes() -> None:
    measured = trial(samples=serial([1, 2, 3]), unread=dict.fromkeys(PARTS, "db-1 is down"), counts={"client": 3})
    found = {f.check: f.verdict for f in judge_trial(scenario(check_counters), measured)}
    assert found.pop("real-time order") == "pass", "it is about the samples only"
    assert set(found.values()) == {"unknown"}
    assert {"final value", "value sequence", "ledger", "counts agree"} <= found.keys()


@pytest.mark.parametrize(("check", "verdict"), [("final value", "fail"), ("spread", "unknown"), ("knee", "unknown")])
def test_a_trial_that_other_hosts_served_is_judged_by_its_data_only(check: str, verdict: str) -> None:
    checks = scenario(lambda m: [finding(m.cell, check, False, "not as it should be")])
    (found,) = judge_trial(checks, trial(valid=False, misrouted=("HAProxy sent requests to app-3",)))
    assert found.verdict == verdict


def test_no_recorded_request_is_unknown() -> None:
    assert check_acknowledged(CELL, history(), expected=0).verdict == "unknown"


def test_the_comparison_of_trials_gets_the_figures_extracted_from_the_samples() -> None:
    def together(trials: Sequence[TrialRecord]) -> list[Finding]:
        assert not any(each.lanes for each in trials)
        return [finding(CELL, "together", "pass", str([dict(each.extracted) for each in trials]))]

    counting = replace(scenario(judge=together), extract=lambda measured: {"n": float(len(measured.main))})
    whole, damaged = trial(samples=serial([1, 2, 3])), replace(trial(2), lanes={})
    (found,) = evaluate({"s": counting}, [whole, damaged])
    assert found.detail == "[{'n': 3.0}, {}]"


def test_figures_do_not_affect_the_verdict() -> None:
    """A figure (`shown`) neither makes a run pass nor counts as a check."""
    assert worst(["shown", "pass"]) == "pass"
    assert worst(["shown", "unknown", "pass"]) == "unknown"
    assert worst(["shown", "fail"]) == "fail"
    figure = finding(CELL, "knee", "shown", "knee at 10")
    good = finding(CELL, "final value", "pass", "no lost update")
    assert verdict_of([figure, good], invalid_trials=0) == "pass"
    assert verdict_of([figure], invalid_trials=0) == "unknown"
    assert judged([figure, good]) == [good]
    assert merge([figure, finding(CELL, "knee", "unknown", "?")])[0].verdict == "unknown"


def test_the_trials_of_each_variant_are_compared_with_each_other_only() -> None:
    """A speed-up of 8 hosts of one variant over 1 host of another would be the difference of the variants."""
    seen: list[list[str]] = []
    judge = scenario(judge=lambda trials: seen.append([one.cell.variant for one in trials]) or [])
    records = []
    for order, variant in enumerate(("a", "b", "b", "a"), 1):
        made = trial(order)
        cell = replace(CELL, params={"variant": variant})
        records.append(replace(made, row=replace(made.row, trial=replace(made.row.trial, cell=cell))))
    evaluate({"s": judge}, records)
    assert seen == [["a", "a"], ["b", "b"]]


def test_a_broken_trial_without_results_is_unknown_with_its_reason() -> None:
    """The checks would raise errors for want of samples, and hide the reason."""
    broken = replace(trial(valid=False), lanes={})
    broken = replace(broken, row=replace(broken.row, reasons=("the load agent died",)))
    (found,) = judge_trial(scenario(check=lambda measured: [measured.lanes["main"]]), broken)
    assert (found.verdict, found.detail) == ("unknown", "nothing to check: the load agent died")
    counted = replace(broken, outcome_counts={"main": {}})  # type: ignore[arg-type]
    assert judge_trial(scenario(check=lambda _: [finding(CELL, "c", "pass", "")]), counted)[0].verdict == "pass"


def test_the_oracles_counts_of_all_trials_add_up() -> None:
    each = [finding(CELL, names.FINAL_VALUE, True, "", ok=1000, unknown=n, applied=1000 + n, lost=0) for n in (0, 1)]
    assert merge(each)[0].numbers == {"ok": 2000, "unknown": 1, "applied": 2001, "lost": 0}
    each = [finding(CELL, names.ACKNOWLEDGED, True, "", ok=1000, expected=1000) for _ in range(2)]
    assert merge(each)[0].numbers == {"ok": 1000, "expected": 1000}, "of one trial, as its sentence"
