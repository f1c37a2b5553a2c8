"""Commands about stored runs, and how each ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.compare.cells import comparable_name
from harness.model import Cell, Trial
from harness.record import TrialResult
from harness.store.run_reader import FORMAT
from tests.support.light_runs import light_run

CELL = Cell(scenario="throughput", strategy="upsert", hosts=4, clients=64, requests=64, params={"keys": "hot"})
OTHER = Cell(scenario="throughput", strategy="for-update", hosts=4, clients=64, requests=64, params={"keys": "hot"})
ROW = TrialResult(trial=Trial(cell=CELL, number=1, order=1, seed=1), figures={})
FLOOR = {
    f"{name} {comparable_name(cell)}": value
    for cell in (CELL, OTHER)
    for name, value in ({"runs": 5.0} | dict.fromkeys(("rps", "p50_ms", "p95_ms", "p99_ms"), 1.03)).items()
}
"""As `bench --aa 5` stores it."""


def stored(
    root: Path, name: str, *, slower: float = 1.0, trials: int = 8, other: bool = False, **manifest: Any
) -> None:
    """Stores a run whose rig has a noise floor; `other`: with a second cell."""
    cells = (CELL, OTHER)[: 1 + other]
    light_run(root, name, cells=cells, slower=slower, trials=trials, **{"noise_floor": FLOOR} | manifest)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


CASES: dict[str, tuple[tuple[str, ...], int, str]] = {
    # name: (arguments, exit code, part of the output: of stderr where the code is not 0)
    "alike": (("compare", "base", "same"), 0, "~"),
    "alike passes the gate": (("compare", "base", "same", "--fail-if", "slower:5%"), 0, "~"),
    "slower": (("compare", "base", "slower"), 0, "slower by 11."),
    "faster": (("compare", "slower", "base"), 0, "faster by "),
    "slower fails the gate": (
        ("compare", "base", "slower", "--fail-if", "slower:5%"), 1, "4 of 4 rows are slower by 5% or more, most ",
    ),
    "wrong fails the gate": (("compare", "base", "wrong", "--fail-if", "slower:5%"), 1, "has the verdict fail"),
    "slower by less than the gate": (("compare", "base", "slower", "--fail-if", "slower:30%"), 0, "slower by"),
    "faster passes the gate": (("compare", "slower", "base", "--fail-if", "slower:5%"), 0, "faster by"),
    "report --compare": (("report", "--run", "slower", "--compare", "base"), 0, "slower by 11."),
    "below the noise floor": (("compare", "base", "slightly"), 0, "within the noise floor of 3.0%"),
    "below the rig's own noise floor": (("compare", "base", "noisy"), 0, "within the noise floor of 30.0%"),
    "one session a side": (("compare", "alone-1", "alone-2"), 0, "~ (one session a side: shown beyond 2.00x)"),
    "one session a side cannot pass": (
        ("compare", "alone-1", "alone-2", "--fail-if", "slower:5%"), 4, "4 of 4 rows may be slower by 5% or more",
    ),
    "several runs a side": (("compare", "base,same,alone-1", "slower,slower-2,slower-3"), 0, "slower by 1"),
    "several runs pass the gate": (
        ("compare", "base,same,alone-1", "alone-2,alone-3", "--fail-if", "slower:5%"), 0, "Student's t over the",
    ),
    "several runs fail the gate": (
        ("compare", "base,same,alone-1", "slower,slower-2,slower-3", "--fail-if", "slower:5%"), 1, "4 of 4 rows are",
    ),
    "a run twice": (("compare", "base,base", "slower"), 2, "is named twice"),
    "an empty name": (("compare", "base,", "slower"), 2, "'base,' has an empty name of a run"),
    "missing": (("compare", "both", "base"), 0, "MISSING (not in B, run "),
    "missing fails the gate": (("compare", "both", "base", "--fail-if", "slower:5%"), 4, "1 of 5 rows have no verdict"),
    "too few": (("compare", "base", "few"), 0, "too few trials ("),
    "too few fails the gate": (("compare", "base", "few", "--fail-if", "slower:5%"), 4, "too few trials, "),
    "elsewhere": (("compare", "base", "elsewhere"), 4, "settings.postgres.fsync: on against off"),
    "report elsewhere": (("report", "--run", "elsewhere", "--compare", "base"), 4, "different environments"),
    "elsewhere anyway": (("compare", "base", "forced", "--anyway"), 0, "--anyway): this proves nothing"),
    "elsewhere anyway cannot pass": (
        ("compare", "base", "forced", "--anyway", "--fail-if", "slower:30%"), 4, "in different environments",
    ),
    "with a rate that was changed by hand": (
        ("compare", "base", "edited"), 2, "the figures of trial 1 are not those of its samples",
    ),
    "of a cell that lost updates": (("compare", "base", "lossy"), 0, "invalid (B failed a check: its speed does not"),
    "of a cell that is too slow": (("compare", "base", "late"), 0, "slower by 11."),
    "check of a run with --slo": (("check", "--run", "held"), 0, "passed"),
    "check of a run that breaks its --slo": (("check", "--run", "broken"), 1, "does not meet every criterion"),
    "report elsewhere anyway": (("report", "--run", "again", "--compare", "base", "--anyway"), 0, "proves nothing"),
    "anyway with nothing to compare": (("report", "--run", "base", "--anyway"), 2, "--anyway needs --compare"),
    "as JSON": (("compare", "base", "slower", "--json"), 0, '"verdict": "slower"'),
    "report of two": (("report", "--compare", "base", "slower"), 0, "compare-base-slower.html"),
    "report of three": (("report", "--compare", "base", "same", "slower"), 0, "compare-base-same-slower.html"),
    "report of several a side": (("report", "--compare", "base,same", "slower,slower-2"), 0, "compare-base-4-runs-"),
    "report of three as JSON": (("report", "--compare", "base", "same", "slower", "--json"), 0, '[{"run_a": "base"'),
    "report of three, one elsewhere": (
        ("report", "--compare", "base", "elsewhere", "slower"), 4, "settings.postgres.fsync: on against off",
    ),
    "report of an unknown run": (("report", "--compare", "base", "slowr"), 2, "no run at 'slowr'"),
    "report of two with --run": (("report", "--compare", "base", "same", "--run", "slower"), 2, "--run is not needed"),
    "report into a folder": (("report", "--compare", "base", "same", "--out", "."), 2, "is a folder"),
    "report into no folder": (("report", "--compare", "base", "same", "--out", "none/x.html"), 2, "there is no folder"),
    "out with nothing to compare": (("report", "--run", "base", "--out", "x.html"), 2, "--out needs --compare"),
    "trend": (("report", "--trend", "throughput"), 0, "trend-local-throughput.html"),
    "trend as JSON": (("report", "--trend", "throughput", "--json"), 0, '{"runs": [{"run_id": "'),
    "trend of an unknown rig": (("report", "--trend", "throughput", "--rig", "nosy"), 2, "no stored run of rig 'nosy'"),
    "rig without a trend": (("report", "--run", "base", "--rig", "local"), 2, "--rig needs --trend"),
    "rig with --compare": (("report", "--compare", "base", "same", "--rig", "local"), 2, "--rig needs --trend"),
    "trend of a scenario without runs": (
        ("report", "--trend", "bank", "--rig", "nosy"), 2, "no stored run of rig 'nosy' has trials of 'bank'",
    ),
    "trend of an unknown scenario": (
        ("report", "--trend", "througput"), 2, "no stored run of rig 'local' has trials of 'througput'",
    ),
    "a page of a trend as JSON": (
        ("report", "--trend", "throughput", "--json", "--out", "F"), 2, "--out does not go with --json",
    ),
    "a page of a comparison as JSON": (
        ("report", "--compare", "base", "--compare", "same", "--json", "--out", "F"), 2, "--out does not go with",
    ),
    "three as JSON, one refused": (
        ("report", "--compare", "base", "--compare", "elsewhere", "--compare", "slower", "--json"), 4,
        "were measured in different environments",
    ),
    "trend and compare": (("report", "--trend", "throughput", "--compare", "base"), 2, "--trend is about all runs"),
    "report as JSON": (("report", "--run", "slower", "--compare", "base", "--json"), 0, '"verdict": "slower"'),
    "empty": (("compare", "base", "empty"), 2, "no trials"),
    "another format": (("compare", "base", "future"), 2, f"format 99; this version reads format {FORMAT}"),
    "no such run": (("compare", "base", "nowhere"), 2, "no run at 'nowhere'"),
    "no such gate": (("compare", "base", "same", "--fail-if", "faster:5%"), 2, "--fail-if 'faster:5%'"),
    "an empty gate": (("compare", "base", "same", "--fail-if", ""), 2, "--fail-if is empty"),
    "no percentage": (("compare", "base", "same", "--fail-if", "slower:5"), 2, "--fail-if 'slower:5'"),
    "check of an empty run": (("check", "--run", "empty"), 2, "no trials"),
    "recheck of an empty run": (("check", "--recheck", "empty"), 2, "no trials"),
    "recheck": (("check", "--recheck", "example"), 0, "verdict now pass, stored pass"),
    "recheck of doctored samples": (("check", "--recheck", "doctored"), 1, "current checks give the verdict fail"),
    "negative rate": (("bench", "--rate", "-5"), 2, "--rate -5 is out of range"),
    "no clients": (("bench", "--clients", "0"), 2, "--clients 0 is out of range"),
    "rate with a closed load": (
        ("bench", "--rate", "5", "--clients", "3"), 2, "mutually exclusive",
    ),
}  # fmt: skip
