"""Whether runs can be compared at all, and what a reader must know about each of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harness.analysis.host_drift import drifted_hosts
from harness.compare.cells import RunData
from harness.compare.environment import Difference, differences, moved_canaries
from harness.errors import FormatError, UsageError


def require_comparable(a: Sequence[RunData], b: Sequence[RunData]) -> None:
    """Raises UsageError for a run without trials and for one that is named twice, FormatError for unlike formats.

    A single run compared with itself is allowed: the comparison says so, and no gate passes it.
    """
    runs = (*a, *b)
    for run in runs:
        if not run.rows:
            raise UsageError(f"run {run.run_id} has no trials: nothing to compare", hint="start a new run: ./run bench")
    twice = [run_id for run_id, count in Counter(run.run_id for run in runs).items() if count > 1]
    if twice and len(runs) > 2:
        raise UsageError(f"run {twice[0]} is named twice: it is one observation", hint="name each run once")
    other = next((run for run in runs if run.manifest.get("format") != runs[0].manifest.get("format")), None)
    if other:
        raise FormatError(
            f"run {runs[0].run_id} has format {runs[0].manifest.get('format')}, "
            f"run {other.run_id} has format {other.manifest.get('format')}",
            hint="repeat the older run with this version",
        )


def environment_differences(runs: Sequence[RunData]) -> tuple[Difference, ...]:
    """Returns the differences of all runs from the first, each once, those that forbid first."""
    first, *others = runs
    found = dict.fromkeys(one for other in others for one in differences(first.manifest, other.manifest))
    return tuple(sorted(found, key=lambda one: not one.forbids))


def unequal_machines(a: Sequence[RunData], b: Sequence[RunData]) -> Iterator[str]:
    """Returns a sentence for each canary that differs between the sides, or between start and end of a single run.

    With several runs a side, a machine that changed during one of them is a part of their spread.
    """
    yield from moved_canaries([run.manifest for run in a], [run.manifest for run in b])
    if len(a) == len(b) == 1:
        for side, run in (("A", a[0]), ("B", b[0])):
            canaries = run.manifest.get("canaries") or {}
            if isinstance(canaries, Mapping) and canaries.keys() >= {"before", "after"}:
                for sentence in drifted_hosts(canaries["before"], canaries["after"]):
                    yield f"{side} ({run.run_id}): {sentence}"


def warnings(a: Sequence[RunData], b: Sequence[RunData]) -> Iterator[str]:
    """Returns sentences about each run, and about the records that all of them lack."""
    for side, run in (*(("A", run) for run in a), *(("B", run) for run in b)):
        status, verdict = run.manifest.get("status"), run.manifest.get("verdict")
        if status not in (None, "finished"):
            yield f"{side} ({run.run_id}) is {status}: only its finished trials are compared"
        if verdict in ("fail", "unknown"):
            findings = run.manifest.get("findings") or ()
            failed = sorted({str(one.get("cell")) for one in findings if one.get("verdict") == verdict})
            where = f" in {', '.join(failed)}" if failed else ""
            yield f"{side} ({run.run_id}) has the verdict {verdict}{where}: its speed does not count"
        invalid = sum(not row.valid for row in run.rows)
        if invalid:
            yield f"{side} ({run.run_id}): {invalid} of {len(run.rows)} trials are invalid and left out"
        timed = [row for row in run.rows if row.times_valid]
        if doubtful := len(run.rows) - invalid - len(timed):
            yield f"{side} ({run.run_id}): {doubtful} of {len(run.rows)} trials are left out: their times are doubtful"
        if unsteady := sum(row.steady is False for row in timed):
            yield f"{side} ({run.run_id}): {unsteady} of {len(run.rows)} trials were not in a steady state"
    if {run.run_id for run in a} & {run.run_id for run in b}:
        yield "A and B are the same run"
    if not any((run.manifest.get("rig") or {}).get("hosts") for run in (*a, *b)):
        yield "no run has a record of its hosts: their environments could not be compared"
