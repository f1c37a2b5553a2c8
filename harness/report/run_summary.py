"""The result of a run: verdict, reason, success criteria and scenarios, computed once for terminal and page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.trial_validity import unreplaced
from harness.checks.finding import discredits, judged
from harness.compare.variants import VariantComparison, compare_within
from harness.errors import FormatError
from harness.model import Finding
from harness.plan.scenario import Scenario
from harness.record import TrialResult
from harness.report.comparison_words import sentence as sentence_of
from harness.report.comparison_words import tally
from harness.report.criteria import Answer, answers
from harness.report.scenario_extras import extras_of
from harness.report.summary import NO_REASON, ScenarioSummary, summarise_scenarios
from harness.scenarios import SCENARIOS
from harness.store.run_reader import Run
from harness.text import plural

MOST_NAMED = 4
"""A headline names at most this many scenarios in which something fails, or else their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The verdict in a word, and the reason in a sentence."""

    verdict: str
    word: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A stored run with its scenarios, the answers to the success criteria, and its headline."""

    run: Run
    scenarios: tuple[ScenarioSummary, ...]
    answers: tuple[Answer, ...]
    headline: Headline
    within: VariantComparison
    """What the run measured side by side, compared within blocks."""


def summarise(run: Run, scenarios: Mapping[str, Scenario] = SCENARIOS) -> RunSummary:
    """Returns the summary of a run. It reads no file besides those that `run` has already read."""
    summaries, within = summarise_scenarios(run, scenarios), compared_within(run)
    return RunSummary(
        run=run,
        scenarios=summaries,
        answers=answers(run),
        headline=headline(run, summaries, within),
        within=within,
    )


def compared_within(run: Run) -> VariantComparison:
    """Returns the comparisons within a run; none where a figure cannot have been measured: `compare` names it."""
    failed = {finding.cell for finding in run.findings if discredits(finding)}
    try:
        variants = [variant.name for variant in run.manifest.variants]
        return compare_within(run.rows, run_id=run.run_id, variants=variants, failed=failed)
    except FormatError:
        return VariantComparison()


def headline(run: Run, scenarios: Sequence[ScenarioSummary], within: VariantComparison) -> Headline:
    """Returns `PASS` with what was shown, or the verdict with the first reason for it.

    What was shown is first how the variants differ, where the run was made to compare them.
    """
    manifest, findings = run.manifest, run.findings
    verdict: str = manifest.verdict
    if manifest.status == "aborted":
        kept = f"{plural(len(run.rows), 'trial')} and {plural(len(findings), 'finding')} are kept"
        reasons = (w.removeprefix("aborted: ") for w in manifest.warnings if w.startswith("aborted: "))
        shown = verdict if verdict == "fail" else "unknown"  # what is kept may pass, the run did not
        return Headline(verdict=shown, word="ABORTED", sentence=f"{next(reasons, 'interrupted')}; {kept}")
    if manifest.status != "finished":
        sentence = f"the run's status is '{manifest.status}': not judged"
        return Headline(verdict="unknown", word="UNFINISHED", sentence=sentence)
    sentence = {
        "pass": lambda: _passed(scenarios, findings),
        "fail": lambda: _against(findings, "fail"),
        "unknown": lambda: _against(findings, "unknown"),
        "invalid": lambda: _invalid(run.rows),
    }[manifest.verdict]()
    if manifest.gate and manifest.gate.code and verdict == "pass":
        how = "fails" if manifest.gate.code == 1 else "is not decided"
        sentence = f"but --fail-if {manifest.gate.fail_if} {how}: {manifest.gate.sentence}; {sentence}"
    elif manifest.gate and verdict == "pass":
        sentence = f"{sentence}; --fail-if {manifest.gate.fail_if} passes"
    elif verdict == "pass" and (differ := _variants(scenarios, within)):
        sentence = f"{differ}; {sentence}"
    return Headline(verdict=verdict, word=verdict.upper(), sentence=sentence)


def _passed(scenarios: Sequence[ScenarioSummary], findings: Sequence[Finding]) -> str:
    number = len(judged(findings))
    checks = f"all {number:,} checks pass" if number != 1 else "the check passes"
    shown = next((text for one in scenarios if (text := extras_of(one.name).headline(one))), "")
    if not shown:
        return checks
    return f"{shown}; {checks} in {len(scenarios)} scenarios" if len(scenarios) > 1 else shown


def _variants(scenarios: Sequence[ScenarioSummary], within: VariantComparison) -> str:
    """Returns how the variants differ from their baseline; empty for a run without variants."""
    rows = [row for pair in within.pairs if pair.by == "variant" for row in pair.rows]
    labels = {name: label for one in scenarios for name, label in one.labels.items()}
    return sentence_of(tally(rows), "a variant", labels, "its baseline") if rows else ""


def _against(findings: Sequence[Finding], verdict: str) -> str:
    against = [finding for finding in findings if finding.verdict == verdict]
    if not against:
        return "no finding gives the reason" if findings else "no check was made"
    verb = {"fail": "fail" if len(against) > 1 else "fails", "unknown": "could not be answered"}[verdict]
    first, where = against[0], list(dict.fromkeys(finding.scenario for finding in against))
    lead = "first: " if len(against) > 1 else ""
    among = f" ({', '.join(where)})" if len(where) <= MOST_NAMED else f" in {len(where)} scenarios"
    among = among if len(where) > 1 else ""
    return (
        f"{len(against)} of {plural(len(judged(findings)), 'check')} {verb}{among}; "
        f"{lead}{first.scenario}, {first.check}: {first.detail.split('; ')[0]}"
    )


def _invalid(rows: Sequence[TrialResult]) -> str:
    invalid = unreplaced(rows)
    reason = f"; first: {invalid[0].reason or NO_REASON}" if invalid else ""
    verb, them = ("is", "it") if len(invalid) == 1 else ("are", "them")
    return f"{len(invalid)} of {plural(len(rows), 'trial')} {verb} invalid; no claim is based on {them}{reason}"
